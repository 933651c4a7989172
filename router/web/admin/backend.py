"""What the admin API may touch of a running router."""

from collections.abc import Awaitable, Callable
from typing import Any

from attrs import frozen

from router.spool import Spool
from router.state_store import StateStore


@frozen(kw_only=True)
class Controls:
    """Given by the supervisor; the API reaches nothing else."""

    status: Callable[[], Awaitable[dict[str, Any]]]
    """What /api/status answers."""
    spool: Spool
    state: StateStore
    discard_step: Callable[[str, str], Awaitable[None]]
    """Forget the procedure step of a UID, for a reason. Raises NotDiscarded, OutOfSpace."""
    rescan: Callable[[], None]
    """To be called after every change of the queue, so that the destinations hear of it."""
