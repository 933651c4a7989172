"""Commit many messages with one write and one sync.

Promises: a commit gets its receipt only when its record, and those before it in the batch, are durable; one that is
refused leaves nothing behind. The order in the segment is the order of the commits. The writer only.
"""

from collections.abc import Sequence
from contextlib import suppress

from attrs import define

from router.model import Purpose, SpoolSettings
from router.spool.disk.directories import Directories
from router.spool.disk.record import StoredEnvelope, encode_envelope
from router.spool.disk.segments import Draft, Segments
from router.spool.duplicates import Planned, check_duplicate, instances_of, is_compared, with_deliveries
from router.spool.errors import DuplicateRefused, OutOfSpace
from router.spool.instance_filter import InstanceFilter
from router.spool.jobs import Commit, Unsure
from router.spool.ledger.ledger import Ledger
from router.spool.ledger.rows import EarlierMessage, LedgerEntry
from router.spool.values import Place, Receipt


@define(eq=False)
class _Planned(Planned):
    """A commit of this batch that gets a receipt if the write succeeds."""

    commit: Commit
    draft: Draft | None
    """None for a duplicate."""
    hold: str
    needs: int
    """Drafts of the batch, from the first on, that must be durable before the receipt."""


class GroupCommit:
    def __init__(self, store: Directories, segments: Segments, ledger: Ledger, settings: SpoolSettings) -> None:
        self.commits = 0
        """Commits since the start that got a receipt, or OutOfSpace."""
        self.largest = 0
        """Most records in one batch."""
        self.instances = InstanceFilter(ledger)
        self._store = store
        self._counters = store.counters
        self._segments = segments
        self._ledger = ledger
        self._policy = settings.duplicates

    def commit(self, commits: Sequence[Commit]) -> list[LedgerEntry]:
        """Write, sync and reply to all; return what is durable, for the ledger.

        Raises:
            SpoolFailure: the disk failed.
        """
        batch: list[_Planned] = []
        by_uid: dict[str, list[Planned]] = {}
        drafts: list[Draft] = []
        known = instances_of([commit for commit in commits if self.may_repeat(commit)], self._ledger)
        for commit in commits:
            uid = commit.envelope.sop_instance_uid
            same_uid = by_uid.setdefault(uid, [])
            try:
                planned = self._plan(commit, known.get(uid, ()), same_uid, len(drafts))
            except (DuplicateRefused, ValueError) as error:
                refuse(commit, error)
                continue
            if planned is None:
                continue
            batch.append(planned)
            if planned.draft is not None:
                drafts.append(planned.draft)
                same_uid.append(planned)
        durable = self._segments.append(drafts)
        self.commits += len(batch)
        self.largest = max(self.largest, len(drafts))
        entries: list[LedgerEntry] = []
        for planned in batch:
            if planned.needs > durable:
                refuse(planned.commit, OutOfSpace("no room in the spool"))
            elif planned.draft is None:
                _remove_file(planned.commit)
                planned.commit.reply.give(Receipt(message_id=0, destinations=(), duplicate=True))
            else:
                entries.append(self._accept(planned, planned.draft))
        return entries

    def may_repeat(self, commit: Commit) -> bool:
        """Return whether the ledger must be asked for duplicates of a message."""
        envelope = commit.envelope
        return is_compared(envelope) and self.instances.may_have(envelope.sop_instance_uid)

    def _plan(
        self, commit: Commit, known: Sequence[EarlierMessage], same_uid: list[Planned], drafts: int
    ) -> _Planned | None:
        """Plan what to write; None if the reply is given already, because the data set must be compared first."""
        verdict = check_duplicate(commit, known, self._ledger, self._store, same_uid, self._policy)
        if isinstance(verdict, Unsure):
            commit.unsure = True
            commit.reply.give(verdict)
            return None
        incoming, hold = commit.incoming, verdict.hold
        if not verdict.deliveries:
            return _Planned(0, commit.envelope, incoming, commit, None, hold, drafts)
        envelope = with_deliveries(commit.envelope, verdict.deliveries)
        own_file = incoming.file
        packed = encode_envelope(StoredEnvelope(envelope=envelope, hold=hold, file=own_file))
        data, crc = (b"", 0) if own_file else (incoming.data, incoming.crc)
        draft = Draft(self._counters.new_id(), packed, data, crc, incoming.from_reserve)
        return _Planned(draft.message_id, envelope, incoming, commit, draft, hold, drafts + 1)

    def _accept(self, planned: _Planned, draft: Draft) -> LedgerEntry:
        """Give the receipt of a message that is durable, and build its ledger entry."""
        incoming, envelope = planned.incoming, planned.envelope
        place = Place(
            segment=draft.segment,
            offset=draft.offset,
            length=draft.length,
            data_length=incoming.size,
            data_crc=incoming.crc,
            file=incoming.file.name if incoming.file else "",
        )
        incoming.keep_file()
        if is_compared(envelope):
            self.instances.include(envelope.sop_instance_uid)
        destinations = tuple(a.destination for a in envelope.deliveries if a.purpose is Purpose.SEND)
        entry = LedgerEntry(
            message_id=draft.message_id,
            place=place,
            envelope=envelope,
            born=self._ledger.clock(),
            hold=planned.hold,
        )
        planned.commit.entry = entry
        planned.commit.reply.give(Receipt(message_id=draft.message_id, destinations=destinations, held=planned.hold))
        return entry


def refuse(commit: Commit, error: Exception) -> None:
    """Refuse a commit, and leave no trace of it."""
    _remove_file(commit)
    commit.reply.refuse(error)


def _remove_file(commit: Commit) -> None:
    with suppress(OSError):  # an orphan is removed at the next start
        commit.incoming.remove_file()
