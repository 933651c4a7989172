"""Open stored messages, and remember where they lie, so that opening one need not ask the writer. Event loop only."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping

from router.spool.disk.directories import Directories
from router.spool.disk.segments import Segments
from router.spool.errors import DamagedMessage, UnknownMessage
from router.spool.jobs import LookUpPlace, LookUpUnfinished, SetAside
from router.spool.message_id import MessageId
from router.spool.recent_messages import RecentMessages
from router.spool.stored_message import StoredMessage
from router.spool.values import LocatedDelivery, Place
from router.spool.writer_client import WriterClient

_MOST_PLACES = 8192
"""Places that are remembered."""


class MessageOpener:
    def __init__(self, store: Directories, segments: Segments, writer: WriterClient, recent: RecentMessages) -> None:
        self.places: OrderedDict[MessageId, Place] = OrderedDict()
        """Remembered places; one may be outdated, and its file gone."""
        self._store = store
        self._segments = segments
        self._writer = writer
        self._recent = recent

    async def open(self, message_id: MessageId) -> StoredMessage:
        """Open a message: in memory if it is still there, else on the disk.

        Raises:
            UnknownMessage: it was never there, or is finished and deleted.
            DamagedMessage: its bytes are damaged or gone; its deliveries are then held.
            OutOfSpace: no more files can be open.
        """
        if (recent := self._recent.open(message_id)) is not None:
            return StoredMessage.in_memory(self._store.files, recent, self._recent.close)
        place = self.places.get(message_id)
        if place is not None:
            try:
                return await self._open(message_id, place)
            except FileNotFoundError:
                self.places.pop(message_id, None)
        place = await self._writer.ask(LookUpPlace(message_id))
        if place is None:
            raise UnknownMessage(f"there is no message {message_id}")
        try:
            return await self._open(message_id, place)
        except FileNotFoundError:
            if not await self._writer.ask(LookUpUnfinished(message_id)):
                raise UnknownMessage(f"message {message_id} is finished and its bytes are deleted") from None
            self._found_damaged(message_id, "its file is gone")
            raise DamagedMessage("its file is gone") from None

    async def _open(self, message_id: MessageId, place: Place) -> StoredMessage:
        if not place.segment:
            raise DamagedMessage("its bytes are damaged or gone")
        segment = self._segments.known.get(place.segment)
        if segment is None:
            raise FileNotFoundError
        return await StoredMessage.open(
            self._store, message_id, place, segment.nonce, lambda reason: self._found_damaged(message_id, reason)
        )

    def _found_damaged(self, message_id: MessageId, reason: str) -> None:
        self.places.pop(message_id, None)
        self._writer.tell(SetAside(message_id, reason))

    def remember(self, rows: Iterable[LocatedDelivery]) -> None:
        """Remember where the messages of deliveries lie that are going to be opened soon."""
        for row in rows:
            self.places[row.waiting.message_id] = row.place
        while len(self.places) > _MOST_PLACES:
            self.places.popitem(last=False)

    def moved(self, places: Mapping[MessageId, Place]) -> None:
        """Follow messages that compaction has moved."""
        for message_id, place in places.items():
            if message_id in self.places:
                self.places[message_id] = place
