"""Start a spool: read the segments as far as the ledger does not know them, until both agree.

Promises: afterwards every message that was acknowledged and is not finished is in the ledger, or is reported as
damaged or lost. It may be cut short anywhere and begun again. docs/spool.md, "Recovery". Not here: one segment
(segment.py), the ledger's file (ledger/file.py).
"""

import contextlib
import sqlite3
from collections.abc import Callable

from router.model import Purpose, SpoolSettings
from router.spool.disk import record
from router.spool.disk.directories import Directories
from router.spool.disk.segment_reader import SegmentReader
from router.spool.disk.segments import Segments, segment_name
from router.spool.ledger.file import open_ledger, replace_ledger
from router.spool.ledger.ledger import Ledger
from router.spool.recovery.findings import RecoveryFindings
from router.spool.recovery.segment import SegmentFile, recover_segment
from router.spool.values import RecoveryReport

Progress = Callable[[str, int, int], None]
"""Called with the name of a step, the bytes done and the bytes in all."""

_Known = dict[int, tuple[bytes, int, bool]]
"""The ledger's segments, by number: nonce, how far it is known, whether its file is to go."""


class Recovery:
    """One start. Its results are `ledger`, `segments`, `unneeded` (large files to delete) and `report`."""

    def __init__(self, store: Directories, settings: SpoolSettings, progress: Progress | None) -> None:
        """Rebuild the ledger from the segments as far as needed.

        Raises:
            SpoolUnusable: the ledger cannot be opened.
            OSError, sqlite3.Error: the disk is full or failed.
        """
        self.segments = Segments(
            store.files,
            store.segments,
            store.spare,
            settings.segment_size,
            floor=settings.free_space_floor,
            reserve=store.reserve,
        )
        self.unneeded: list[str] = []
        self._store = store
        self._files = store.files
        self._progress = progress or (lambda what, done, of: None)
        self.ledger, why = open_ledger(store)
        try:
            scanned = self._recover()
        except sqlite3.DatabaseError as error:
            self.ledger.close()
            if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise
            why = f"SQLite cannot read it: {error}"
            self.ledger = replace_ledger(store)
            scanned = self._recover()
        store.counters_file.save_if_room()
        self.report = self._reported(why, scanned)

    ledger: Ledger

    def _recover(self) -> int:
        """Recover everything; return the bytes of segments that were read."""
        self.unneeded = []
        self._findings = RecoveryFindings(self.ledger, self._store.counters)
        known: _Known = self.ledger.maintenance.segments()
        for number in [number for number, (_, _, dropped) in known.items() if dropped]:
            self._finish_dropping(number)
            del known[number]
        files = self._segment_files(known)
        self._forget_what_is_gone(known, files)
        total, scanned = sum(file.size - file.start for file in files), 0
        for file in files:
            self.segments.add(recover_segment(self._store, self._findings, file, is_last=file is files[-1]))
            scanned += file.size - file.start
            self._progress("reading segments", scanned, total)
        for number in (*known, *(gone for gone, _ in self.ledger.maintenance.gone_segments())):
            self.segments.skip_number(number)
        self._decide()
        self._check_large_files()
        if self._findings.is_changed:  # else a full disk is not a reason to refuse to start
            with self.ledger.transaction(durable=True):
                self.ledger.maintenance.recount()
        for number, (count, size) in self.ledger.maintenance.live().items():
            if number in self.segments.known:
                self.segments.known[number].live = count
                self.segments.known[number].live_bytes = size
        for number in self.ledger.decisions.segments():
            if number in self.segments.known:
                self.segments.known[number].has_decisions = True
        return scanned

    def _decide(self) -> None:
        """Apply decisions that the ledger does not have.

        After all messages are found: a record may lie after the decisions about it.
        """
        if not self._findings.decisions:
            return
        self._findings.is_changed = True
        with self.ledger.transaction():
            for decision, number in self._findings.decisions.values():
                self.ledger.decisions.apply([decision], number)
            for number in self._findings.with_decisions:
                segment = self.segments.known[number]
                self.ledger.know(number, segment.nonce, segment.end)

    def _reported(self, why: str, scanned: int) -> RecoveryReport:
        totals = [one for purpose in Purpose for one in self.ledger.queue.totals(purpose).values()]
        return RecoveryReport(
            ledger=why,
            scanned=scanned,
            recovered=self._findings.recovered,
            waiting=sum(counts.waiting for counts in totals),
            held=sum(counts.held for counts in totals),
            damaged=tuple(self._findings.damaged),
            lost=tuple(self._findings.lost),
            removed=self._findings.removed,
        )

    # The segments' files.

    def _finish_dropping(self, number: int) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._files.remove(self._store.segments, segment_name(number))
        self._files.sync_directory(self._store.segments)
        with self.ledger.transaction():
            self.ledger.maintenance.segment_is_gone(number)

    def _segment_files(self, known: _Known) -> list[SegmentFile]:
        """List segments in order of their numbers; report other files, and move them or leave them alone."""
        found: list[SegmentFile] = []
        for name in sorted(self._files.names(self._store.segments)):
            number = int(name) if name.isascii() and name.isdigit() else 0
            if not number or segment_name(number) != name:
                self._findings.report(f"segments/{name}", "no segment's name; left alone")
                continue
            self.segments.skip_number(number)
            if not self._files.is_regular(self._store.segments, name):
                self._findings.report(f"segments/{name}", "a symbolic link or no file; left alone")
                continue
            with self._store.segment(number) as fd:
                size = self._files.size(fd)
                nonce = self._nonce(number, fd, known)
                empty = nonce is None and SegmentReader(self._files, fd, b"").is_zero()
            if nonce is not None:
                old_nonce, end, _ = known.get(number, (None, 0, False))
                start = end if old_nonce == nonce else record.SEGMENT_HEADER_LENGTH
                found.append(SegmentFile(number, nonce, max(size, start), start, old_nonce != nonce))
            elif empty:  # made, and not yet written to when the last run ended
                self._files.remove(self._store.segments, name)
                self._findings.removed += 1
            else:
                self._findings.in_doubt = True
                self._move_aside(self._store.segments, f"segments/{name}", "no segment; moved", size)
        return found

    def _nonce(self, number: int, fd: int, known: _Known) -> bytes | None:
        """Read the nonce from the header; if that is broken, from the ledger or the first record."""
        head = self._files.read(fd, record.SEGMENT_HEADER_LENGTH + record.HEADER_LENGTH, 0)
        decoded = record.decode_segment_header(head)
        if decoded is not None:
            return decoded[1]
        if number in known:
            return known[number][0]
        first = head[record.SEGMENT_HEADER_LENGTH :]
        nonce = first[len(record.RECORD_MAGIC) :][: record.NONCE_LENGTH]
        return nonce if record.decode_header(first, nonce) is not None else None

    def _forget_what_is_gone(self, known: _Known, files: list[SegmentFile]) -> None:
        """Hold what is left of segments that the disk lacks, or that are not those of the ledger."""
        here = {file.number: file.nonce for file in files}
        for number, (nonce, _, _) in known.items():
            if here.get(number) == nonce:
                continue
            where = f"segments/{segment_name(number)}"
            while unfinished := self.ledger.maintenance.unfinished_in(number):
                self._findings.lose([(message_id, where, place.length) for message_id, place in unfinished])
            with self.ledger.transaction():
                self.ledger.maintenance.segment_is_gone(number)

    # Large files.

    def _check_large_files(self) -> None:
        names = self._files.names(self._store.large)
        here = {name: self._files.is_regular(self._store.large, name) for name in names}
        self._findings.lose(
            [
                (message_id, f"large/{name}", length)
                for message_id, name, length in self.ledger.maintenance.unfinished_files()
                if not here.get(name) or self._large_size(name) != length
            ]
        )
        needed = {name for _, name, _ in self.ledger.maintenance.unfinished_files()}
        for name, regular in here.items():
            if not regular:
                self._findings.report(f"large/{name}", "a symbolic link or no file; left alone")
            elif name in needed:
                continue
            elif self.ledger.maintenance.is_file_known(name):
                self.unneeded.append(name)
            elif self._findings.in_doubt:
                self._move_aside(self._store.large, f"large/{name}", "no record names it; moved", 0)
            else:
                self._files.remove(self._store.large, name)
                self._findings.removed += 1

    def _large_size(self, name: str) -> int:
        fd = self._files.open(self._store.large, name)
        try:
            return self._files.size(fd)
        finally:
            self._files.close(fd)

    def _move_aside(self, directory: int, where: str, reason: str, length: int) -> None:
        """Move a file to `damaged/` under its own name: segments and large files have different names."""
        name = where.rpartition("/")[2]
        self._files.move(directory, name, self._store.damaged, name)
        self._files.sync_directory(self._store.damaged)
        aside = self._store.path / "damaged" / name
        self._findings.report(where, reason, length=length, set_aside=aside)
