"""The instances that the router has asked archives for, so that a C-STORE which brings one is recognised.

What comes for a retrieve does not go through the routes. An archive that answers a C-GET sends on the association of
the C-GET; one that answers a C-MOVE to ourselves opens an association to us, and names our AE title and the Message ID
of our C-MOVE as Move Originator (PS3.7 9.1.1.1), or does not. Not here: asking (`router.services.retrieve`).
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

import trio
from attrs import frozen

from router.dimse import Command, Status, StatusClass, status_class
from router.spool import Incoming


@frozen(kw_only=True)
class Arrival:
    """A C-STORE-RQ as it came."""

    command: Command
    transfer_syntax: str
    calling_ae: str
    called_ae: str
    peer: str
    """The sender's IP address."""

    @property
    def instance_uid(self) -> str:
        return self.command.sop_instance_uid


Accept = Callable[[Arrival, Incoming], Awaitable[int]]
"""Accept an instance that was asked for, and return the status to answer."""


class Expected:
    """The instances that one archive was asked for, until each has come."""

    def __init__(
        self, uids: Iterable[str], accept: Accept, *, titles: Iterable[str], host: str, originator: str
    ) -> None:
        """`titles`, `host`: the archive's AE titles and address. `originator`: the title that we asked it under."""
        self.missing: Final = set(uids)
        self.message_id: int | None = None
        """The Message ID of our request, as soon as it is known."""
        self.performing = 0
        """C-STOREs that have come and are not answered."""
        self.last = trio.current_time()
        """When the last C-STORE began or was answered."""
        self.is_closed = False
        """Whether nothing is accepted any more."""
        self._asked: Final = frozenset(self.missing)
        self._accept: Final = accept
        self._titles: Final = frozenset(titles)
        self._host: Final = host
        self._originator: Final = originator
        self._storing: Final[set[str]] = set()
        self._stored: Final = trio.lowlevel.ParkingLot()

    def names(self, arrival: Arrival) -> bool:
        """Whether the Move Originator of a C-STORE is our request, and the instance one that was asked for."""
        command = arrival.command
        return (
            command.move_originator_ae_title == self._originator
            and command.move_originator_message_id in (self.message_id, None)
            and arrival.instance_uid in self._asked
        )

    def resembles(self, arrival: Arrival) -> bool:
        """Whether a C-STORE without a Move Originator comes from the archive and brings what is missing."""
        return (
            arrival.command.move_originator_ae_title is None
            and arrival.instance_uid in self.missing
            and (arrival.calling_ae in self._titles or arrival.peer == self._host)
        )

    def wants(self, uid: str) -> bool:
        """Whether an instance is missing, and not about to be there."""
        return uid in self.missing and uid not in self._storing and not self.is_closed

    async def bring_in(self, arrival: Arrival, data: Incoming) -> int:
        """Accept an instance, and return the status to answer. One that has come before is not wanted again."""
        uid = arrival.instance_uid
        if self.is_closed or uid not in self._asked:
            return Status.CANNOT_UNDERSTAND
        if uid not in self.missing:
            return Status.SUCCESS
        if uid in self._storing:
            return Status.OUT_OF_RESOURCES
        self._storing.add(uid)
        self.performing += 1
        self.last = trio.current_time()
        try:
            status = await self._accept(arrival, data)
        finally:
            self._storing.discard(uid)
            self.performing -= 1
            self.last = trio.current_time()
            self._stored.unpark_all()
        if status_class(status) in (StatusClass.SUCCESS, StatusClass.WARNING):
            self.missing.discard(uid)
        return status

    async def wait_until_performed(self) -> None:
        """Wait until every C-STORE that has come is answered."""
        while self.performing:
            await self._stored.park()

    async def wait_for_late_ones(self, seconds: float) -> None:
        """Wait until nothing is missing, or nothing has come for so long."""
        while self.missing:
            began = trio.current_time() if self.performing else self.last
            with trio.move_on_at(began + seconds) as waiting:
                await self._stored.park()
            if waiting.cancelled_caught and not self.performing:
                return


class Arrivals:
    """What is expected from all archives."""

    def __init__(self) -> None:
        self._open: list[Expected] = []

    def __bool__(self) -> bool:
        """Whether anything is expected."""
        return bool(self._open)

    @contextmanager
    def expect(self, expected: Expected) -> Iterator[Expected]:
        """Recognise what is expected, wherever it comes in, while the block lasts."""
        self._open.append(expected)
        try:
            yield expected
        finally:
            expected.is_closed = True
            self._open.remove(expected)

    def find(self, arrival: Arrival) -> Expected | None:
        """Return the request that a C-STORE on an association of its own belongs to; None if it was not asked for.

        Of several that it may belong to, the one that wants the instance: requests to several archives, or for several
        retrieves of one archive, can have the same Message ID.
        """
        named = [one for one in self._open if one.names(arrival)] or [
            one for one in self._open if one.resembles(arrival)
        ]
        return next((one for one in named if one.wants(arrival.instance_uid)), named[0] if named else None)
