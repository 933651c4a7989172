"""Options of procedure steps in router.toml: [mpps], and keys of the routes for two services."""

from collections.abc import Iterator
from typing import Annotated, Final, Literal

from attrs import frozen

from router.config import Config, RouteOptions, ServiceOptions
from router.config.identifiers import one_of, text
from router.config.keys import ANYTHING, Flag, Patterns, RankedTransferSyntaxes, Wait
from router.config.quantities import shown
from router.config.reading import One

ROUTER: Final = "router"
"""The value of `answer` that does not name a peer."""


@frozen(kw_only=True)
class MPPSSettings:
    """[mpps]: access to procedure steps, and how they are answered and kept."""

    calling_ae: Patterns = ANYTHING
    retrieve_ae: Patterns = ANYTHING
    prefer: RankedTransferSyntaxes = ()
    retransmissions: Flag = True
    answer_within: Wait = 10.0
    keep: Wait = 30 * 86400.0


@frozen(kw_only=True)
class MPPSRouteOptions(RouteOptions):
    """The AE that answers the modality, and the validation of its requests."""

    answer: Annotated[str, One(text)] = ROUTER
    validation: Annotated[Literal["lenient", "strict"], One(one_of("lenient", "strict"))] = "lenient"

    def faults(self, to: tuple[str, ...], config: Config) -> Iterator[tuple[str, str]]:
        """Yield a fault if `answer` names a peer that the route does not lead to."""
        if self.answer not in (ROUTER, *to):
            yield "answer", f'must be "router" or one of the peers in `to`, not {shown(self.answer)}'


@frozen(kw_only=True)
class AvailabilityRouteOptions(RouteOptions):
    """The time that a notification waits for instances, and what it says of missing ones."""

    patience: Wait = 3600.0
    missing: Annotated[Literal["omit", "unavailable"], One(one_of("omit", "unavailable"))] = "omit"

    def faults(self, to: tuple[str, ...], config: Config) -> Iterator[tuple[str, str]]:
        """Yield a fault if deliveries are forgotten before `patience` has passed."""
        if self.patience > config.spool.history:
            yield "patience", "is longer than spool.history remembers deliveries"


MPPS_OPTIONS: Final = ServiceOptions(route=MPPSRouteOptions, tables={"mpps": MPPSSettings})
AVAILABILITY_OPTIONS: Final = ServiceOptions(route=AvailabilityRouteOptions)
