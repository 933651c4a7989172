"""The service classes. A new one is a file in this folder and a line in `services_of`."""

from router.config import Config
from router.services.service import Request, Sender, Service
from router.services.storage import Storage
from router.services.verification import VERIFICATION, Verification
from router.spool import Spool

__all__ = ["VERIFICATION", "Request", "Sender", "Service", "services_of"]


def services_of(config: Config, spool: Spool) -> tuple[Service, ...]:
    """All service classes, in the order in which they are asked whether a presentation context is theirs.

    Storage stands last: it takes every SOP class that the dictionary does not know.
    """
    return (
        Verification(),
        Storage(config, spool),
    )
