"""router.toml as frozen values: `load` returns a `Config` without faults, or raises all of its faults at once.

Services register the keys that they add (`ServiceOptions`). Not here: what a service does with its keys.
"""

from router.config.conditions import Condition
from router.config.identifiers import Endpoint
from router.config.load import load, parse
from router.config.options import Options, ServiceAE
from router.config.patterns import Globs, Networks, UIDs, parse_address
from router.config.reading import ConfigError, Fault
from router.config.service_options import RouteOptions, ServiceOptions
from router.config.statuses import STANDARD as STANDARD_STATUSES
from router.config.statuses import Statuses
from router.config.values import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    TLS,
    AccessSettings,
    AdminSettings,
    Config,
    Limits,
    Listener,
    Peer,
    Retry,
    Route,
    RouterSettings,
    Timeouts,
    unconfigured_peer,
)

__all__ = [
    "IMPLEMENTATION_CLASS_UID",
    "IMPLEMENTATION_VERSION_NAME",
    "STANDARD_STATUSES",
    "TLS",
    "AccessSettings",
    "AdminSettings",
    "Condition",
    "Config",
    "ConfigError",
    "Endpoint",
    "Fault",
    "Globs",
    "Limits",
    "Listener",
    "Networks",
    "Options",
    "Peer",
    "Retry",
    "Route",
    "RouteOptions",
    "RouterSettings",
    "ServiceAE",
    "ServiceOptions",
    "Statuses",
    "Timeouts",
    "UIDs",
    "load",
    "parse",
    "parse_address",
    "unconfigured_peer",
]
