"""Delete finished segments and files, and compact segments that are mostly finished.

Promises: a segment or a large file disappears only after a synced transaction said that every delivery in it is
finished; an unfinished record is never changed, only moved, and checked on the way; the ledger's rows of finished
messages stay as long as `history` says. Writer thread only, after the turn's own work.
docs/spool.md, "Deletion and compaction".
"""

import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from router.model import SpoolSettings
from router.spool import decision_records
from router.spool.disk import record
from router.spool.disk.directories import Directories
from router.spool.disk.filesystem import is_for_now
from router.spool.disk.segments import Draft, Segment, Segments, segment_name
from router.spool.errors import DamagedMessage, OutOfSpace, SpoolFailure
from router.spool.ledger.ledger import Ledger
from router.spool.ledger.rows import Finished
from router.spool.ledger.schema import EARLIER
from router.spool.values import Damage, Place

_COMPACT_BELOW = 1 / 4
"""Compact a sealed segment when less than this fraction of its bytes is unfinished."""
_COMPACT_AFTER = 10.0
"""Seconds a segment stays sealed before it may be compacted. In a younger one the other messages will probably be
delivered soon."""
_COPIED = 4 << 20
"""Bytes moved in one step, at least one record."""
_MOVED = 1000
"""Decisions of operators moved in one step."""
_BUSY = 0.2
"""Seconds between two steps while commits keep coming."""
_FORGOTTEN = 2000
"""Messages that the ledger forgets in one step."""
_NO_ROOM = 30.0
"""Seconds before the next attempt after the disk was full, or the ledger locked."""


class Housekeeping:
    def __init__(self, store: Directories, segments: Segments, ledger: Ledger, settings: SpoolSettings) -> None:
        self.ripe = _COMPACT_AFTER
        self.damaged = 0
        self.on_damage: Callable[[Damage], None] = lambda damage: None
        """Called in the writer's thread with what was set aside."""
        self.on_moved: Callable[[dict[int, Place]], None] = lambda places: None
        self._store = store
        self._files = store.files
        self._segments = segments
        self._ledger = ledger
        self._touched: set[int] = set()
        """Segments in which something was finished since the last look."""
        self._unneeded: list[str] = []
        """Large files whose message is finished."""
        self._retired: list[int] = []
        """Segments that are gone from the disk, while the ledger does not know it yet."""
        self._lost_finished = False
        """A message without a place is finished: its rows may go."""
        self._has_earlier = EARLIER in ledger.decisions.segments()
        """There are decisions that are in no segment."""
        self._history = settings.history
        self._floor = settings.free_space_floor
        self._gone = deque(ledger.maintenance.gone_segments())
        self._last = 0.0
        self._not_before = 0.0
        self._restore_at = 0.0
        """When to restore a reserve that is short, on the monotonic clock."""

    def look_at_all(self, unneeded: Iterable[str]) -> None:
        """Look at every segment after recovery, and delete large files that are not needed."""
        self._touched.update(self._segments.known)
        self._unneeded.extend(unneeded)

    def finished(self, messages: Iterable[Finished], *, by_hand: bool = False) -> None:
        """Note messages that the ledger has as finished, durably or not.

        One that is finished `by_hand` may still be read for a delivery: the file of its segment is not used again.
        """
        for some in messages:
            self._unneeded += some.files
            if not some.segment:
                self._lost_finished = True
            segment = self._segments.known.get(some.segment)
            if segment is not None:
                segment.live -= some.count
                segment.live_bytes -= some.length
                segment.not_again |= by_hand
                self._touched.add(some.segment)

    @property
    def has_work(self) -> bool:
        return time.monotonic() >= self._not_before and bool(
            self._has_deletions or self._is_old or self._sparse_segment() or self._may_restore
        )

    @property
    def _has_deletions(self) -> bool:
        at_hand = self._unneeded or self._retired or self._lost_finished or self._has_earlier
        return bool(at_hand or self._finished_segments())

    @property
    def _is_old(self) -> bool:
        return bool(self._gone) and self._gone[0][1] + self._history <= self._ledger.clock()

    @property
    def _may_restore(self) -> bool:
        return self._store.reserve.is_short and time.monotonic() >= self._restore_at

    def is_time(self, *, busy: bool) -> bool:
        """Return whether there is work, and nothing more urgent."""
        now = time.monotonic()
        return now >= self._not_before and not (busy and now - self._last < _BUSY) and self.has_work

    def step(self) -> None:
        """Do a bounded piece of work, if there is any. The ledger must be up to date.

        Raises:
            SpoolFailure: the disk failed.
        """
        if not self.has_work:
            return
        now = self._last = time.monotonic()
        try:
            deleting, forgetting = self._has_deletions, self._is_old
            if deleting:
                self._delete()
            if forgetting:
                self._forget()
            if not (deleting or forgetting) and (sparse := self._sparse_segment()) is not None:
                self._compact(sparse)
            if self._may_restore:
                self._restore_at = now + _NO_ROOM
                self._store.reserve.restore(self._files.free(self._store.root) - self._floor)
        except (OSError, sqlite3.Error) as error:
            if not is_for_now(error):
                raise SpoolFailure(f"tidying the spool failed: {error}") from error
            if not self._segments.relieve(error):
                self._not_before = now + _NO_ROOM

    def _sealed(self) -> list[Segment]:
        known, current = self._segments.known, self._segments.current
        here = [known[number] for number in self._touched if number in known]
        return [segment for segment in here if segment is not current and not segment.keep]

    def _finished_segments(self) -> list[Segment]:
        return [segment for segment in self._sealed() if not segment.live]

    def _sparse_segment(self) -> Segment | None:
        ripe = time.monotonic() - self.ripe
        for segment in self._sealed():
            if segment.live_bytes >= segment.end * _COMPACT_BELOW:
                self._touched.discard(segment.number)
            elif segment.sealed <= ripe:
                return segment
        return None

    def _delete(self) -> None:
        """Delete finished segments and files: first note it durably in the ledger, then remove the bytes."""
        self._has_earlier = self._has_earlier and not self._are_moved(EARLIER)
        segments = [segment for segment in self._finished_segments() if self._is_rid_of_decisions(segment)]
        if segments:  # the message ids in them must stay used, whatever becomes of the ledger
            self._store.counters_file.save()
        with self._ledger.transaction(durable=True):
            if self._lost_finished:
                while not self._ledger.maintenance.forget(0, _FORGOTTEN):
                    pass
            for segment in segments:
                self._ledger.maintenance.drop_segment(segment.number)
        self._lost_finished = False
        for segment in segments:
            self._segments.retire(segment.number)
            self._touched.discard(segment.number)
            self._retired.append(segment.number)
        if self._retired:
            self._files.sync_directory(self._store.segments)
            with self._ledger.transaction():
                since = [(number, self._ledger.maintenance.segment_is_gone(number)) for number in self._retired]
            self._gone.extend(since)
            self._retired = []
        while self._unneeded:
            with suppress(FileNotFoundError):
                self._files.remove_large(self._store.large, self._unneeded[-1])
            self._unneeded.pop()

    def _is_rid_of_decisions(self, segment: Segment) -> bool:
        segment.has_decisions = segment.has_decisions and not self._are_moved(segment.number)
        return not segment.has_decisions

    def _are_moved(self, number: int) -> bool:
        """Copy decisions that are still needed to the current segment; return whether that was all."""
        needed = self._ledger.decisions.needed_in(number, _MOVED)
        if needed:
            try:
                decision_records.move(self._ledger, self._segments, needed)
            except OutOfSpace:
                self._not_before = time.monotonic() + _NO_ROOM
                return False
        return len(needed) < _MOVED

    def _forget(self) -> None:
        """Forget a part of the oldest history. It need not be durable."""
        with self._ledger.transaction():
            is_all = self._ledger.maintenance.forget(self._gone[0][0], _FORGOTTEN)
        if is_all:
            self._gone.popleft()

    def _compact(self, segment: Segment) -> None:
        """Move some unfinished records of a segment to the current one."""
        moving: list[tuple[Draft, Place]] = []
        size = 0
        segment.not_again = True
        self._touched.discard(segment.number)
        for message_id, place in self._ledger.maintenance.unfinished_in(segment.number):
            if moving and size + place.length > _COPIED:
                break
            try:
                moving.append((self._copy_of(segment, message_id, place), place))
            except DamagedMessage as error:
                self.set_aside(message_id, str(error))
                continue
            size += place.length
        done = self._segments.append([draft for draft, _ in moving])
        if done < len(moving):
            self._not_before = time.monotonic() + _NO_ROOM
        if moving:
            self._point_to_copies(segment, moving[:done])

    def _point_to_copies(self, segment: Segment, copies: list[tuple[Draft, Place]]) -> None:
        """Have the ledger point to durable copies. If it has no room for that, the copies are not needed."""
        known = self._segments.known
        moved: dict[int, Place] = {}
        try:
            with self._ledger.transaction():
                for draft, place in copies:
                    moved[draft.message_id] = self._ledger.maintenance.move(
                        draft.message_id, place, draft.segment, draft.offset
                    )
                for number in {draft.segment for draft, _ in copies}:
                    self._ledger.know(number, known[number].nonce, known[number].end)
        except sqlite3.Error:
            for draft, _ in copies:
                known[draft.segment].live -= 1
                known[draft.segment].live_bytes -= draft.length
            raise
        self._touched.add(segment.number)
        for draft, _ in copies:
            segment.live -= 1
            segment.live_bytes -= draft.length
        self.on_moved(moved)

    def _copy_of(self, segment: Segment, message_id: int, place: Place) -> Draft:
        """Build a copy of a record.

        Raises:
            DamagedMessage: the record is not what was written.
        """
        raw = self._store.raw(place)
        header = record.decode_header(raw[: record.HEADER_LENGTH], segment.nonce)
        if header is None or header.message_id != message_id or header.length != len(raw):
            raise DamagedMessage("the header is broken")
        envelope, data = (
            raw[record.HEADER_LENGTH : header.data_offset],
            raw[header.data_offset : -record.TRAILER_LENGTH],
        )
        crc = record.check_body(header, segment.nonce, envelope, data, raw[-record.TRAILER_LENGTH :])
        return Draft(message_id, envelope, data, crc, from_reserve=True)

    def set_aside(self, message_id: int, reason: str) -> None:
        """Keep a copy of a damaged message for an operator, and hold its deliveries.

        Its place is not needed any more; if no copy can be made, the bytes stay there as long as this run lasts.
        """
        place = self._ledger.place(message_id)
        if place is None or not place.segment or not self._ledger.unfinished_deliveries(message_id):
            return
        segment = self._segments.known.get(place.segment)
        copy, stays = self._copy_out(place, f"message-{message_id}")
        if copy is not None:
            reason = f"{reason}; set aside as damaged/{copy.name}"
        with self._ledger.transaction(durable=True):
            self._ledger.maintenance.lose(message_id, reason, keep_place=stays)
        if segment is not None and stays:
            segment.keep = True
        elif segment is not None:
            segment.live -= 1
            segment.live_bytes -= place.length
            self._touched.add(segment.number)
        self.damaged += 1
        name = f"large/{place.file}" if place.file else f"segments/{segment_name(place.segment)}"
        self.on_damage(
            Damage(
                where=name,
                offset=0 if place.file else place.offset,
                length=place.data_length if place.file else place.length,
                reason=reason,
                set_aside=copy,
                message_id=message_id,
            )
        )

    def _copy_out(self, place: Place, name: str) -> tuple[Path | None, bool]:
        """Copy a record or move a large file to `damaged/`.

        Returns the copy, if one could be made, and whether the only bytes are still in their old place.
        """
        store = self._store
        try:
            if place.file:
                self._files.move(store.large, place.file, store.damaged, name)
                return store.path / "damaged" / name, False
            with store.segment(place.segment) as fd:
                return store.set_aside(fd, place.offset, place.length, name), False
        except FileNotFoundError:
            return None, False
        except OSError:
            return None, True
