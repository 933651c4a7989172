"""Registration of a service's keys of router.toml, as attrs classes that live with the service.

There are up to three places: its routes, [peers.NAME], and tables of its own. `load` reads each class with the table
that it extends and keeps the value in `Options`, where the service finds it by its class.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import ClassVar

import attrs
from attrs import field, frozen

from router.config.values import Config


@frozen(kw_only=True)
class RouteOptions:
    """The keys that one service adds to its routes; this class itself adds none."""

    WHEN: ClassVar[frozenset[str] | None] = None
    """The keys that `when` may have; None: all."""
    OWN_KEYS: ClassVar[frozenset[str]] = frozenset()
    """The keys of `conditions.SERVICE_KEYS` that `when` may have, too."""

    def faults(self, to: tuple[str, ...], config: Config) -> Iterable[tuple[str, str]]:
        """Yield key and message of each key that does not fit the rest of the configuration.

        `to` are the destinations of the route as the file names them, known or not. `config` has no routes yet.
        """
        return ()


def _unchanged(config: Config) -> Config:
    return config


@frozen(kw_only=True)
class ServiceOptions:
    """What one service registers with the configuration."""

    route: type[RouteOptions] | None = None
    """The keys of its routes; None if no route can be for this service."""
    peer: type[attrs.AttrsInstance] | None = None
    """Keys of [peers.NAME], tables included. Every key has a default."""
    tables: Mapping[str, type[attrs.AttrsInstance]] = field(factory=dict)
    """Tables of its own, by name. Every key has a default."""
    complete: Callable[[Config], Config] = _unchanged
    """Return the configuration with what the service's keys mean for other parts of it. Called when all is read."""
