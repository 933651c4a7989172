"""Read a router for the admin API and the command line: the running router itself, or its files.

`RunningBackend` is the router of this process; `StoppedBackend` reads the spool and the state that a router has left. A
`Resource` reads either of them, so that `dicom-router steps list` prints the same JSON whether or not the router runs.
"""

import sqlite3
import time
from collections.abc import Awaitable, Callable, Container, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Protocol, TypeVar

from attrs import frozen

from router.config import Config
from router.model import Purpose
from router.services.conversations import Conversations
from router.services.mpps import step_store
from router.services.mpps.options import MPPSSettings
from router.services.retrieve.locate import Wanted
from router.spool import InstanceDelivery, MessageDetail, QueueRow, ReadOnlySpool, Selection, Spool
from router.state_file import look_into
from router.state_store import StateStore, StateTransaction
from router.web.admin.queue_views import shown_name
from router.web.admin.requests import Query

T = TypeVar("T")


class Backend(Protocol):
    """A router, as far as resources may read it."""

    @property
    def conversations(self) -> Conversations:
        """The conversations of the process; a stopped router has none."""
        ...

    def status(self) -> Awaitable[dict[str, Any]]:
        """Return what `dicom-router status` shows."""
        ...

    async def read(self, work: Callable[[StateTransaction], T]) -> T:
        """Return the result of `work` on the services' state."""
        ...

    async def queue(self, selection: Selection, *, after: int = 0, limit: int = 100) -> Sequence[QueueRow]:
        """Return deliveries by message id, of ids greater than `after`; all of the last message, beyond `limit`."""
        ...

    async def message(self, message_id: int) -> MessageDetail:
        """Return one message with its deliveries.

        Raises:
            UnknownMessage: the ledger has no such id.
        """
        ...

    async def instances(self, uids: Sequence[str]) -> Mapping[str, Sequence[InstanceDelivery]]:
        """Return the newest C-STORE delivery of each instance to each destination, by SOP Instance UID."""
        ...


@frozen(kw_only=True)
class Resource:
    """One GET of the admin API; of a stopped router, the command line answers it from the files."""

    path: str
    """As Starlette writes it: "/api/steps" or "/api/steps/{item}"."""
    read: Callable[[Backend, Query], Awaitable[dict[str, Any]]]
    """Return the JSON object.

    Raises:
        BadRequest: the query is not valid.
        NotFound, UnknownMessage: there is no such item.
    """


@frozen(kw_only=True)
class RunningBackend:
    """The router of this process: what the supervisor gives to the admin API, which uses nothing else."""

    status: Callable[[], Awaitable[dict[str, Any]]]
    spool: Spool
    state: StateStore
    destinations: Callable[[], Container[str]]
    """Names of the peers that deliveries can go to."""
    discard_step: Callable[[str, str], Awaitable[None]]
    """Forget the procedure step of a UID, for a reason. Raises NotDiscarded, OutOfSpace."""
    conversations: Conversations
    fetch: Callable[[str, Wanted, str | None], Awaitable[int]]
    """Fetch from a peer to another one, or with None through the routes; return the number of the conversation.

    Raises NotFetched, TooManyFetches.
    """
    cancel_fetch: Callable[[int], bool]
    """Cancel the fetch of a conversation; return whether it was running."""
    rescan: Callable[[], None]
    """Make the destinations read the queue again: to be called after each change of it."""

    async def read(self, work: Callable[[StateTransaction], T]) -> T:
        return await self.state.read(work)

    async def queue(self, selection: Selection, *, after: int = 0, limit: int = 100) -> Sequence[QueueRow]:
        return await self.spool.queue.list_deliveries(selection, after=after, limit=limit)

    async def message(self, message_id: int) -> MessageDetail:
        return await self.spool.queue.show(message_id)

    async def instances(self, uids: Sequence[str]) -> Mapping[str, Sequence[InstanceDelivery]]:
        return await self.spool.queue.instances(uids)


class StoppedBackend:
    """The files that a stopped router has left. Everything is read in the event loop's thread."""

    def __init__(self, config: Config) -> None:
        """Open the ledger, read-only and without the spool's lock.

        Raises:
            SpoolUnusable: the ledger cannot be read, or is of another version.
        """
        self._config = config
        self._spool = ReadOnlySpool(config.router.spool)
        self.conversations = Conversations()

    async def status(self) -> dict[str, Any]:
        totals = {
            shown_name(name, purpose): numbers
            for purpose in Purpose
            for name, numbers in self._spool.queue.totals(purpose).items()
        }
        return {
            "running": False,
            "ae_title": self._config.router.ae_title,
            "steps": await self._step_counts(),
            "destinations": {
                name: {
                    "waiting": numbers.waiting,
                    "in_flight": 0,
                    "delivered": numbers.delivered,
                    "held": numbers.held,
                    "discarded": numbers.discarded,
                }
                for name, numbers in sorted(totals.items())
            },
        }

    async def _step_counts(self) -> dict[str, int]:
        """Return the counts of steps; none if the state cannot be read, so that the queue can still be seen."""
        with suppress(sqlite3.Error):
            stale_before = time.time() - self._config.options[MPPSSettings].keep
            return {
                "in_progress": await self.read(step_store.count_in_progress),
                "stale": await self.read(partial(step_store.count_in_progress, before=stale_before)),
            }
        return {}

    async def read(self, work: Callable[[StateTransaction], T]) -> T:
        with look_into(self._config.router.spool) as connection:
            return work(connection)

    async def queue(self, selection: Selection, *, after: int = 0, limit: int = 100) -> Sequence[QueueRow]:
        return self._spool.queue.list_deliveries(selection, after, limit)

    async def message(self, message_id: int) -> MessageDetail:
        return self._spool.queue.show(message_id)

    async def instances(self, uids: Sequence[str]) -> Mapping[str, Sequence[InstanceDelivery]]:
        return self._spool.queue.instances(uids)
