"""Values of the keys that services register, found by class; and the AE that a peer's system has for one service.

Not here: the registration (`registration`).
"""

from typing import Annotated, ClassVar

import attrs
from attrs import frozen

from router.config.keys import OptionalAddress, OptionalAETitle
from router.config.reading import T


@frozen
class Options:
    """Values of registered classes, at most one of each class."""

    values: tuple[attrs.AttrsInstance, ...] = ()

    def __getitem__(self, cls: type[T]) -> T:
        """Return the value of class `cls`, by default one with the defaults of all its keys."""
        for value in self.values:
            if isinstance(value, cls):
                return value
        return cls()


Registered = Annotated[Options, "not a key: read from the other keys of its table"]
"""Type of the attribute that holds what services add to a table."""


@frozen(kw_only=True)
class ServiceAE:
    """A table of [peers.NAME] for one service: the AE of the peer's system that provides it, if it has its own."""

    service: ClassVar[str]
    """Name of the service."""

    ae_title: OptionalAETitle = ""
    """Empty: the peer's."""
    address: OptionalAddress = None
    """None: the peer's."""
