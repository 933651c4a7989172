"""Recover one segment: enter complete records, copy and report broken ones.

Promises: nothing is entered that was never complete, and nothing is cut off but zeros, what was copied, and the end
of a write that was not acknowledged.
"""

from attrs import define, evolve, field, frozen

from router.model import Recipient
from router.spool.disk import record
from router.spool.disk.directories import Directories
from router.spool.disk.segment_reader import BrokenRecord, FoundRecord, SegmentReader
from router.spool.disk.segments import Segment, segment_name
from router.spool.ledger.rows import LedgerEntry
from router.spool.recovery.findings import RecoveryFindings
from router.spool.values import NO_ROUTE, Place

_AT_ONCE = 1000
"""Messages entered in one transaction."""


@frozen
class SegmentFile:
    """A segment's file, and the offset to read from."""

    number: int
    nonce: bytes
    size: int
    start: int
    is_new: bool
    """The ledger does not know it."""

    @property
    def where(self) -> str:
        return f"segments/{segment_name(self.number)}"


@define(eq=False)
class _Scanned:
    """The result of reading a segment."""

    end: int
    """Offset after the last complete record."""
    last_batch: int = 0
    breaks: list[BrokenRecord] = field(factory=list)
    unreadable: str = ""
    """The error of the disk, if the segment could not be read to its end."""


def recover_segment(store: Directories, findings: RecoveryFindings, file: SegmentFile, *, is_last: bool) -> Segment:
    """Recover a segment. `is_last`: it is the newest one, so that its last write may be incomplete."""
    with store.segment(file.number) as fd:
        scanned = _scan(store, findings, file, fd)
        keep = bool(scanned.unreadable)
        for broken in scanned.breaks:
            # a later write began only when the one before had been synced, and was answered then
            acknowledged = not is_last or scanned.last_batch > broken.offset
            has_copy = _handle(store, findings, file, fd, broken, acknowledged)
            keep |= acknowledged and not has_copy
    if scanned.unreadable:
        findings.in_doubt = True
        findings.report(file.where, f"cannot be read: {scanned.unreadable}", offset=scanned.end)
    if scanned.end != file.start or scanned.breaks or file.is_new:
        findings.is_changed = True
        # should this start be cut short, the next one must find the decisions again
        known = file.start if file.number in findings.with_decisions else scanned.end
        with findings.ledger.transaction(durable=bool(scanned.breaks)):
            findings.ledger.know(file.number, file.nonce, known)
    if not keep:
        _cut(store, file.number, scanned.end, durably=bool(scanned.breaks))
    return Segment(number=file.number, nonce=file.nonce, end=scanned.end, keep=keep)


def _scan(store: Directories, findings: RecoveryFindings, file: SegmentFile, fd: int) -> _Scanned:
    """Enter complete records; collect broken ones."""
    scanned = _Scanned(file.start)
    found: list[FoundRecord] = []
    try:
        for item in SegmentReader(store.files, fd, file.nonce).run(file.start):
            if isinstance(item, BrokenRecord):
                scanned.breaks.append(item)
                continue
            scanned.end, scanned.last_batch = item.offset + item.header.length, item.header.batch
            found.append(item)
            if len(found) >= _AT_ONCE:
                _enter(findings, file.number, found)
                found = []
    except OSError as error:
        scanned.unreadable = error.strerror or str(error)
    _enter(findings, file.number, found)
    return scanned


def _enter(findings: RecoveryFindings, number: int, found: list[FoundRecord]) -> None:
    """Enter records. A message that the ledger has already stays where it is: this is a copy by compaction."""
    if not found:
        return
    findings.is_changed = True
    ledger = findings.ledger
    with ledger.transaction():
        for item in found:
            if not isinstance(item.stored, record.StoredEnvelope):
                findings.decided(item.stored, number)
                continue
            message_id = item.header.message_id
            findings.use_id(message_id)
            place = _place(number, item, item.stored)
            old = ledger.place(message_id)
            if old is None:
                ledger.enter([_entry(message_id, place, item.stored, ledger.clock())])
                findings.recovered += 1
            elif not old.segment:
                ledger.maintenance.move(message_id, place, number, item.offset)


def _handle(
    store: Directories, findings: RecoveryFindings, file: SegmentFile, fd: int, broken: BrokenRecord, acknowledged: bool
) -> bool:
    """Copy and report a broken record, and hold its message if it was acknowledged; return whether it was copied."""
    name = f"{segment_name(file.number)}-{broken.offset}"
    try:
        aside = store.set_aside(fd, broken.offset, broken.length, name)
    except OSError:
        aside = None
    reason = broken.reason if acknowledged else f"the end of a write that was cut short: {broken.reason}"
    message_id = None
    if acknowledged:
        findings.in_doubt = True
        if broken.header is not None and broken.stored is not None:
            message_id = broken.header.message_id
            findings.use_id(message_id)
            hold = f"damaged: {reason}" + (f"; set aside as damaged/{name}" if aside else "")
            place = Place(segment=0, offset=0, length=0, data_length=broken.header.data_length, data_crc=0)
            ledger = findings.ledger
            with ledger.transaction():
                if ledger.place(message_id) is None:
                    entry = _entry(message_id, place, broken.stored, ledger.clock())
                    ledger.enter([evolve(entry, hold=hold)])
    findings.report(
        file.where, reason, offset=broken.offset, length=broken.length, set_aside=aside, message_id=message_id
    )
    return aside is not None


def _cut(store: Directories, number: int, end: int, *, durably: bool) -> None:
    """Cut off what was allocated and not written.

    The end of an incomplete write must be gone before there is a later segment: it would look acknowledged then.
    """
    fd = store.files.open(store.segments, segment_name(number), write=True)
    try:
        if store.files.size(fd) > end:
            store.files.truncate(fd, end)
            if durably:
                store.files.sync(fd)
    finally:
        store.files.close(fd)


def _place(number: int, item: FoundRecord, stored: record.StoredEnvelope) -> Place:
    own_file = stored.file
    return Place(
        segment=number,
        offset=item.offset,
        length=item.header.length,
        data_length=own_file.length if own_file else item.header.data_length,
        data_crc=own_file.crc if own_file else item.data_crc,
        file=own_file.name if own_file else "",
    )


def _entry(message_id: int, place: Place, stored: record.StoredEnvelope, born: float) -> LedgerEntry:
    envelope, hold = stored.envelope, stored.hold
    if not envelope.deliveries:
        envelope, hold = evolve(envelope, deliveries=(Recipient(destination=""),)), hold or NO_ROUTE
    return LedgerEntry(message_id=message_id, place=place, envelope=envelope, born=born, hold=hold)
