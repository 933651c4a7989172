"""router.toml as frozen values: `load` gives a `Config` without a fault, or raises all its faults at once."""

from router.config.conditions import Condition
from router.config.identifiers import Endpoint
from router.config.load import load, parse
from router.config.patterns import Globs, Networks, UIDs, parse_address
from router.config.reading import ConfigError, Fault
from router.config.require import Require
from router.config.statuses import STANDARD as STANDARD_STATUSES
from router.config.statuses import Statuses
from router.config.values import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    SERVICES,
    TLS,
    AccessSettings,
    AdminSettings,
    CommitmentSettings,
    Config,
    Limits,
    Listener,
    Peer,
    PeerCommitment,
    Retry,
    Route,
    RouterSettings,
    StorageSettings,
    Timeouts,
    Verification,
    visitor,
)

__all__ = [
    "IMPLEMENTATION_CLASS_UID",
    "IMPLEMENTATION_VERSION_NAME",
    "SERVICES",
    "STANDARD_STATUSES",
    "TLS",
    "AccessSettings",
    "AdminSettings",
    "CommitmentSettings",
    "Condition",
    "Config",
    "ConfigError",
    "Endpoint",
    "Fault",
    "Globs",
    "Limits",
    "Listener",
    "Networks",
    "Peer",
    "PeerCommitment",
    "Require",
    "Retry",
    "Route",
    "RouterSettings",
    "Statuses",
    "StorageSettings",
    "Timeouts",
    "UIDs",
    "Verification",
    "load",
    "parse",
    "parse_address",
    "visitor",
]
