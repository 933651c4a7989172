"""How many archives must have committed an instance before a modality is told so: `require` of a route.

"all", "any", { at_least = 2 }, or the names of those that must. Not here: the merge itself, which is the storage
commitment service's.
"""

from attrs import frozen

from router.config.quantities import shown


@frozen
class Require:
    """So many of the archives that the route names; all of them where it does not say. With `archives`, of those."""

    at_least: int | None = None
    archives: tuple[str, ...] = ()

    def of(self, to: tuple[str, ...]) -> tuple[tuple[str, ...], int]:
        """The archives that count, and how many of them must commit, of a route that leads `to` these."""
        among = self.archives or to
        return among, len(among) if self.at_least is None else self.at_least


def requirement(value: object) -> Require:
    """As it stands in a route."""
    match value:
        case "all":
            return Require()
        case "any":
            return Require(1)
        case {"at_least": int(count), **rest} if not rest and not isinstance(count, bool) and count > 0:
            return Require(count)
        case [*names] if names and all(isinstance(name, str) for name in names):
            return Require(None, tuple(dict.fromkeys(map(str, names))))
    raise ValueError(f'must be "all", "any", {{ at_least = 2 }} or a list of peers, not {shown(value)}')
