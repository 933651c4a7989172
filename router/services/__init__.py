"""The services. A new one is a file in this package and a line in `SERVICES`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from router.config import Config, load, parse
from router.services.base import (
    DEFAULT_TERMS,
    SCP,
    Allowance,
    Change,
    ConversationEnded,
    DeliveryPolicy,
    NegotiatedTerms,
    Prelude,
    Proposal,
    Replies,
    Request,
    Sender,
    Service,
    ServiceContext,
)
from router.services.commitment.scp import StorageCommitment
from router.services.mpps.instance_availability import InstanceAvailability
from router.services.mpps.notification import MPPSNotification
from router.services.mpps.retrieve import MPPSRetrieve
from router.services.mpps.scp import MPPSRelay
from router.services.peers import (
    ContextRefused,
    PeerContext,
    PeerConversation,
    PeerRequest,
    PeerResponse,
    Peers,
    PeerUnanswered,
)
from router.services.query.scp import Query
from router.services.query.worklist import Worklist
from router.services.relay import Relay, RelayPlan
from router.services.retrieve.scp import Retrieve
from router.services.storage import Storage
from router.services.verification import VERIFICATION, Verification

__all__ = [
    "DEFAULT_TERMS",
    "OPTIONS",
    "ROUTED",
    "SCP",
    "SERVICES",
    "VERIFICATION",
    "Allowance",
    "Change",
    "ContextRefused",
    "ConversationEnded",
    "DeliveryPolicy",
    "MPPSRelay",
    "NegotiatedTerms",
    "PeerContext",
    "PeerConversation",
    "PeerRequest",
    "PeerResponse",
    "PeerUnanswered",
    "Peers",
    "Prelude",
    "Proposal",
    "Relay",
    "RelayPlan",
    "Replies",
    "Request",
    "Sender",
    "Service",
    "ServiceContext",
    "load_config",
    "parse_config",
    "services_of",
]

# In the order in which they are asked for the transfer syntax of a presentation context and for who performs an
# operation. Storage stands last: it accepts every SOP class that the dictionary does not know.
SERVICES: Final[tuple[type[Service], ...]] = (
    Verification,
    MPPSRelay,
    MPPSRetrieve,
    MPPSNotification,
    InstanceAvailability,
    StorageCommitment,
    Query,
    Worklist,
    Retrieve,
    Relay,
    Storage,
)

OPTIONS: Final = {service.name: service.options for service in SERVICES}
"""What each service registers with the configuration."""

ROUTED: Final[tuple[str, ...]] = tuple(name for name, options in OPTIONS.items() if options.route is not None)
"""The names that `service` in a route may have."""


def load_config(path: Path) -> Config:
    """Read a configuration file with the options of all services.

    Raises:
        ConfigError: the file has faults; it names them all.
    """
    return load(path, services=OPTIONS)


def parse_config(content: str, base: Path) -> Config:
    """As `load_config`, from text; `base` is the base of relative paths."""
    return parse(content, base, services=OPTIONS)


def services_of(context: ServiceContext, services: Sequence[type[Service]] = SERVICES) -> tuple[Service, ...]:
    """Return the services of one router, in the order of their registration."""
    return tuple(service(context) for service in services)
