"""Options of storage commitment in router.toml: [commitment], keys of its routes, and `commitment` of a peer."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Final, Literal

from attrs import frozen

from router.config import Config, Peer, RouteOptions, ServiceAE, ServiceOptions
from router.config.identifiers import one_of
from router.config.keys import ANYTHING, Duration, Flag, Patterns, RankedTransferSyntaxes, Wait
from router.config.quantities import between, shown
from router.config.reading import One

SERVICE: Final = "storage-commitment"


@frozen
class Require:
    """How many of the archives of a route must commit an instance: `at_least`, by default all.

    With `archives`, only those count.
    """

    at_least: int | None = None
    archives: tuple[str, ...] = ()

    def of(self, to: tuple[str, ...]) -> tuple[tuple[str, ...], int]:
        """Return the archives that count and how many of them must commit, for a route to these destinations."""
        among = self.archives or to
        return among, len(among) if self.at_least is None else self.at_least


def requirement(value: object) -> Require:
    """Read "all", "any", { at_least = 2 }, or a list of peers.

    Raises:
        ValueError: it is none of these.
    """
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


@frozen(kw_only=True)
class CommitmentSettings:
    """[commitment]: access to storage commitment, and the times of a transaction.

    `deadline` and `grace` are for requests that no route matches.
    """

    calling_ae: Patterns = ANYTHING
    prefer: RankedTransferSyntaxes = ()
    deadline: Wait = 86400.0
    grace: Duration = 30.0
    keep: Wait = 30 * 86400.0


@frozen(kw_only=True)
class CommitmentRouteOptions(RouteOptions):
    """The archives that must commit, and the times of a transaction."""

    require: Annotated[Require, One(requirement)] = Require()
    deadline: Wait = 86400.0
    grace: Duration = 30.0

    def faults(self, to: tuple[str, ...], config: Config) -> Iterator[tuple[str, str]]:
        """Yield a fault if the policy can never be met."""
        if self.require.at_least is not None and self.require.at_least > len(to):
            yield "require", f"asks for {self.require.at_least} archives, and `to` names {len(to)}"
        for name in self.require.archives:
            if name not in to:
                yield "require", f"{shown(name)} is not one of the peers in `to`"


@frozen(kw_only=True)
class PeerCommitment(ServiceAE):
    """peers.NAME.commitment: storage commitment with this peer, as archive and as modality.

    `request` and the numbers are for the router's own requests.
    """

    service: ClassVar[str] = SERVICE

    request: Flag = False
    batch: Annotated[int, One(between(1, 10_000))] = 500
    after: Wait = 300.0
    within: Wait = 86400.0
    attempts: Annotated[int, One(between(1, 1000))] = 5
    reply: Annotated[Literal["new", "same"], One(one_of("new", "same"))] = "new"


@frozen(kw_only=True)
class CommitmentPeerOptions:
    """The key that storage commitment adds to [peers.NAME]."""

    RENAMED: ClassVar = {
        "commit": "commitment.request",
        "commit_batch": "commitment.batch",
        "commit_after": "commitment.after",
        "commit_within": "commitment.within",
        "commit_attempts": "commitment.attempts",
        "commitment_reply": "commitment.reply",
    }

    commitment: PeerCommitment = PeerCommitment()


OPTIONS: Final = ServiceOptions(
    route=CommitmentRouteOptions, peer=CommitmentPeerOptions, tables={"commitment": CommitmentSettings}
)


def commitment_of(peer: Peer) -> PeerCommitment:
    """Return `commitment` of a peer."""
    return peer.options[CommitmentPeerOptions].commitment


def commitment_ae(peer: Peer) -> Peer:
    """Return the AE that storage commitment with a peer goes to: itself, or another AE of the same system."""
    return peer.ae_for(commitment_of(peer))
