"""Making a start: the segments are read where the ledger does not know them, and both agree again.

Promises: after it, every message that was ever acknowledged and is not finished is in the ledger, or is reported as
damaged or lost; nothing is thrown away that is not zeros, and nothing is entered that was never whole. May be cut
short anywhere and begun again. docs/spool.md, "Recovery".
"""

import contextlib
import sqlite3
from collections.abc import Callable

from attrs import evolve, field, frozen

from router.messages import Address
from router.spool import queries, record, upkeep
from router.spool.database import LedgerUnusable
from router.spool.duplicates import NO_ROUTE
from router.spool.errors import SpoolUnusable
from router.spool.ledger import Entry, Ledger
from router.spool.scan import Broken, Found, Scan
from router.spool.segments import Segment, Segments, segment_name
from router.spool.store import Store
from router.spool.values import Damage, Place, RecoveryReport

Progress = Callable[[str, int, int], None]
"""What is being done, how much of it is, and of how much: bytes."""

_AT_ONCE = 1000
"""Messages entered in one transaction."""


@frozen
class _File:
    """A segment's file, and from where it must be read."""

    number: int
    nonce: bytes
    size: int
    start: int
    is_new: bool
    """To the ledger."""


@frozen
class _Scanned:
    """What came of reading one."""

    end: int
    """Behind the last complete record."""
    breaks: list[Broken] = field(factory=list)
    last_batch: int = 0


class Recovery:
    """One start. `run`, then take `ledger`, `segments`, `next_id`, `unneeded` and `report`."""

    def __init__(self, store: Store, segment_size: int, progress: Progress | None) -> None:
        self.segments = Segments(store.files, store.segments, segment_size)
        self.unneeded: list[str] = []
        self.next_id = 1
        self._store = store
        self._files = store.files
        self._progress = progress or (lambda what, done, of: None)
        self._ledger: Ledger | None = None
        self._why = "intact"
        self._recovered = 0
        self._scanned = 0
        self._removed = 0
        self._damaged: list[Damage] = []
        self._lost: list[Damage] = []
        self._changed = False
        """Whether the ledger is not what it was."""

    def run(self) -> RecoveryReport:
        """SpoolUnusable; OSError or sqlite3.Error where the disk is at fault."""
        self._open_ledger()
        try:
            self._recover()
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise
            self._set_ledger_aside(f"SQLite cannot read it: {error}")
            self._recover()
        totals = queries.totals(self.ledger.connection).values()
        return RecoveryReport(
            ledger=self._why,
            scanned=self._scanned,
            recovered=self._recovered,
            waiting=sum(counts.waiting for counts in totals),
            held=sum(counts.held for counts in totals),
            damaged=tuple(self._damaged),
            lost=tuple(self._lost),
            removed=self._removed,
        )

    @property
    def ledger(self) -> Ledger:
        assert self._ledger is not None
        return self._ledger

    # The ledger's file.

    def _open_ledger(self) -> None:
        names = self._files.names(self._store.root)
        ours = [name for name in names if name.startswith("ledger.sqlite")]
        if not all(self._files.is_regular(self._store.root, name) for name in ours):
            self._set_ledger_aside("it was a symbolic link or no file")
            return
        if "ledger.sqlite" not in ours:
            self._set_ledger_aside("new" if not self._files.names(self._store.segments) else "it was missing")
            return
        try:
            self._ledger = Ledger.open(self._files, self._store.ledger)
        except LedgerUnusable as error:
            self._set_ledger_aside(str(error))

    def _set_ledger_aside(self, why: str) -> None:
        """What is there of it goes to `damaged/`; a new one is made."""
        store = self._store
        if self._ledger is not None:
            self._ledger.close()
        self._why = why
        taken = self._files.names(store.damaged)
        turn = next(turn for turn in range(1, 1 << 32) if f"ledger-{turn}.sqlite" not in taken)
        for name in self._files.names(store.root):
            if name.startswith("ledger.sqlite"):
                self._files.move(store.root, name, store.damaged, name.replace("ledger", f"ledger-{turn}"))
        try:
            self._ledger = Ledger.open(self._files, store.ledger)
        except LedgerUnusable as error:
            raise SpoolUnusable(f"{store.ledger} cannot be made: {error}") from error
        self._files.sync_directory(store.root)

    # The segments.

    def _recover(self) -> None:
        self._recovered = self._scanned = 0
        self._damaged, self._lost = [], []
        self.unneeded = []
        known = upkeep.segments(self.ledger)
        for number in [number for number, (_, _, dropped) in known.items() if dropped]:
            self._finish_dropping(number)
            del known[number]
        files = self._segment_files(known)
        self._forget_what_is_gone(known, files)
        self.next_id = upkeep.next_id(self.ledger)
        total = sum(file.size - file.start for file in files)
        for file in files:
            self._recover_segment(file, files[-1].number)
            self._scanned += file.size - file.start
            self._progress("reading segments", self._scanned, total)
        for number in known:
            self.segments.skip_number(number)
        self._check_large_files()
        if self._changed:  # else a full disk is no reason not to start
            with self.ledger.transaction(durable=True):
                self.ledger.reserve(self.next_id)
                upkeep.recount(self.ledger)
        for number, (count, size) in upkeep.live(self.ledger).items():
            if number in self.segments.known:
                self.segments.known[number].live = count
                self.segments.known[number].live_bytes = size

    def _finish_dropping(self, number: int) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._files.remove(self._store.segments, segment_name(number))
        self._files.sync_directory(self._store.segments)
        with self.ledger.transaction():
            upkeep.forget_segment(self.ledger, number)

    def _segment_files(self, known: dict[int, tuple[bytes, int, bool]]) -> list[_File]:
        """In order of their numbers. A file that is no segment is reported and left alone."""
        found: list[_File] = []
        for name in sorted(self._files.names(self._store.segments)):
            number = int(name) if name.isascii() and name.isdigit() else 0
            if not number or segment_name(number) != name:
                self._report(f"segments/{name}", 0, 0, "no segment's name; left alone")
                continue
            self.segments.skip_number(number)
            if not self._files.is_regular(self._store.segments, name):
                self._report(f"segments/{name}", 0, 0, "a symbolic link or no file; left alone")
                continue
            with self._store.segment(number) as fd:
                size = self._files.size(fd)
                nonce = self._nonce(number, fd, known)
                empty = nonce is None and Scan(self._files, fd, b"").is_zero()
            if nonce is not None:
                old_nonce, end, _ = known.get(number, (None, 0, False))
                start = end if old_nonce == nonce else record.SEGMENT_HEADER_LENGTH
                found.append(_File(number, nonce, max(size, start), start, old_nonce != nonce))
            elif empty:  # made, and not yet written to when the last run ended
                self._files.remove(self._store.segments, name)
                self._removed += 1
            else:
                self._files.move(self._store.segments, name, self._store.damaged, name)
                self._files.sync_directory(self._store.damaged)
                aside = self._store.path / "damaged" / name
                self._report(f"segments/{name}", 0, size, "no segment; moved", set_aside=aside)
        return found

    def _nonce(self, number: int, fd: int, known: dict[int, tuple[bytes, int, bool]]) -> bytes | None:
        """From the header; where that is broken from the ledger, or from the record that must stand behind it."""
        head = self._files.read(fd, record.SEGMENT_HEADER_LENGTH + record.HEADER_LENGTH, 0)
        decoded = record.decode_segment_header(head)
        if decoded is not None:
            return decoded[1]
        if number in known:
            return known[number][0]
        first = head[record.SEGMENT_HEADER_LENGTH :]
        nonce = first[len(record.RECORD_MAGIC) :][: record.NONCE_LENGTH]
        return nonce if record.decode_header(first, nonce) is not None else None

    def _forget_what_is_gone(self, known: dict[int, tuple[bytes, int, bool]], files: list[_File]) -> None:
        """Segments that the ledger has and the disk has not, or that are others than the ledger's."""
        here = {file.number: file.nonce for file in files}
        for number, (nonce, _, _) in list(known.items()):
            if here.get(number) == nonce:
                continue
            where = f"segments/{segment_name(number)}"
            while unfinished := upkeep.unfinished_in(self.ledger, number):
                self._lose([(message_id, where, place.length) for message_id, place in unfinished])
            with self.ledger.transaction():
                upkeep.drop_segment(self.ledger, number)
                upkeep.forget_segment(self.ledger, number)

    def _recover_segment(self, file: _File, last: int) -> None:
        with self._store.segment(file.number) as fd:
            result = self._scan(file, fd)
            keep = False
            for broken in result.breaks:
                acknowledged = result.last_batch > broken.offset or file.number < last
                has_copy = self._handle(file, fd, broken, acknowledged)
                keep |= acknowledged and not has_copy
        self.segments.add(Segment(number=file.number, nonce=file.nonce, end=result.end, keep=keep))
        if result.end != file.start or result.breaks or file.is_new:
            self._changed = True
            with self.ledger.transaction(durable=bool(result.breaks)):
                self.ledger.know(file.number, file.nonce, result.end)
        if not keep:
            self._cut(file.number, result.end, durably=bool(result.breaks))

    def _scan(self, file: _File, fd: int) -> _Scanned:
        """Enter what is complete; collect what is not."""
        result = _Scanned(file.start)
        entries: list[Found] = []
        try:
            for item in Scan(self._files, fd, file.nonce).run(file.start):
                if isinstance(item, Broken):
                    result.breaks.append(item)
                    continue
                result = evolve(result, end=item.offset + item.header.length, last_batch=item.header.batch)
                entries.append(item)
                if len(entries) >= _AT_ONCE:
                    self._enter(file.number, entries)
                    entries = []
        except OSError as error:
            reason = f"cannot be read: {error.strerror}"
            result.breaks.append(Broken(offset=result.end, length=0, reason=reason))
        self._enter(file.number, entries)
        return result

    def _enter(self, number: int, found: list[Found]) -> None:
        """What the ledger has already is the copy of a compaction, and stays where the ledger has it."""
        if not found:
            return
        self._changed = True
        with self.ledger.transaction():
            for item in found:
                message_id = item.header.message_id
                self.next_id = max(self.next_id, message_id + 1)
                place = _place(number, item)
                old = self.ledger.place(message_id)
                if old is None:
                    self.ledger.add([_entry(message_id, place, item.stored)])
                    self._recovered += 1
                elif not old.segment:
                    upkeep.move(self.ledger, message_id, place, number, item.offset)

    def _handle(self, file: _File, fd: int, broken: Broken, acknowledged: bool) -> bool:
        """Report; keep a copy; where it was acknowledged and says whose it is, hold it. False where the bytes must
        stay, since there is no copy."""
        name = f"{segment_name(file.number)}-{broken.offset}"
        try:
            aside = self._store.set_aside(fd, broken.offset, broken.length, name)
        except OSError:
            aside = None
        reason = broken.reason if acknowledged else f"the end of a write that was cut short: {broken.reason}"
        message_id = None
        if acknowledged and broken.header is not None and broken.stored is not None:
            message_id = broken.header.message_id
            self.next_id = max(self.next_id, message_id + 1)
            hold = f"damaged: {reason}" + (f"; set aside as damaged/{name}" if aside else "")
            with self.ledger.transaction():
                if self.ledger.place(message_id) is None:
                    entry = _entry(message_id, _no_place(broken), broken.stored)
                    self.ledger.add([evolve(entry, hold=hold)])
        where = f"segments/{segment_name(file.number)}"
        self._report(where, broken.offset, broken.length, reason, set_aside=aside, message_id=message_id)
        return aside is not None

    def _cut(self, number: int, end: int, *, durably: bool) -> None:
        """Give back what was allocated and not written. The end of a write that was cut short must be gone for good
        before there is a later segment: it would be taken for something that had been acknowledged."""
        fd = self._files.open(self._store.segments, segment_name(number), write=True)
        try:
            if self._files.size(fd) > end:
                self._files.truncate(fd, end)
                if durably:
                    self._files.sync(fd)
        finally:
            self._files.close(fd)

    # Large files.

    def _check_large_files(self) -> None:
        here = {name: self._files.is_regular(self._store.large, name) for name in self._files.names(self._store.large)}
        missing = [
            (message_id, f"large/{name}", length)
            for message_id, name, length in upkeep.unfinished_files(self.ledger)
            if not here.get(name) or self._large_size(name) != length
        ]
        self._lose(missing)
        needed = {name for _, name, _ in upkeep.unfinished_files(self.ledger)}
        for name, regular in here.items():
            if not regular:
                self._report(f"large/{name}", 0, 0, "a symbolic link or no file; left alone")
            elif name in needed:
                continue
            elif upkeep.is_file_known(self.ledger, name):
                self.unneeded.append(name)
            elif self._damaged or self._lost:  # it may belong to what was damaged
                self._files.move(self._store.large, name, self._store.damaged, name)
                aside = self._store.path / "damaged" / name
                self._report(f"large/{name}", 0, 0, "no record names it; moved", set_aside=aside)
            else:
                self._files.remove(self._store.large, name)
                self._removed += 1

    def _large_size(self, name: str) -> int:
        fd = self._files.open(self._store.large, name)
        try:
            return self._files.size(fd)
        finally:
            self._files.close(fd)

    # Telling.

    def _lose(self, messages: list[tuple[int, str, int]]) -> None:
        if not messages:
            return
        self._changed = True
        with self.ledger.transaction():
            for message_id, where, length in messages:
                upkeep.lose(self.ledger, message_id, f"{where} is gone from the spool")
                self._lost.append(Damage(where=where, offset=0, length=length, reason="gone", message_id=message_id))

    def _report(self, where: str, offset: int, length: int, reason: str, **more: object) -> None:
        self._damaged.append(Damage(where=where, offset=offset, length=length, reason=reason, **more))  # type: ignore[arg-type]


def _place(number: int, item: Found) -> Place:
    own_file = item.stored.file
    return Place(
        segment=number,
        offset=item.offset,
        length=item.header.length,
        data_length=own_file.length if own_file else item.header.data_length,
        data_crc=own_file.crc if own_file else item.data_crc,
        file=own_file.name if own_file else "",
    )


def _no_place(broken: Broken) -> Place:
    assert broken.header is not None
    return Place(segment=0, offset=0, length=0, data_length=broken.header.data_length, data_crc=0)


def _entry(message_id: int, place: Place, stored: record.StoredEnvelope) -> Entry:
    envelope, hold = stored.envelope, stored.hold
    if not envelope.deliveries:
        envelope, hold = evolve(envelope, deliveries=(Address(destination=""),)), hold or NO_ROUTE
    return Entry(message_id=message_id, place=place, envelope=envelope, hold=hold)
