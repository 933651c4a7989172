"""The actor of one transaction: wait for deliveries, ask the archives, merge their reports, report to the modality.

It keeps in memory only what it waits for; everything else is in the database, so that it may stop anywhere and start
again. It writes what it will send, then gives the message to the spool, then notes that it is sent. After a crash
between the last two, it finds the message in the spool or sends it once more with the same content. Times are on the
spool's clock, which runs while the router does. Not here: the merge (transaction.py), which archives must commit
(policy.py).
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

import structlog
import trio
from attrs import frozen

from router.concurrency import compute
from router.dicom.uids import IMPLICIT_LE
from router.model import AttemptResult, DeliveryState, Result
from router.services.commitment import archive_store, messages, transaction_store
from router.services.commitment.archive_store import ArchiveRequest
from router.services.commitment.attributes import CommitmentRequest, read_steps, write_report, write_request
from router.services.commitment.missing_instances import Deliveries, MissingInstances
from router.services.commitment.policy import policies_by_deliveries
from router.services.commitment.stored_transaction import StoredTransaction, TransactionStage
from router.services.commitment.subscriptions import Subscriptions
from router.services.commitment.transaction import ArchiveReport, FailureReason, Reference, TransactionOutcome, decide
from router.spool import Spool
from router.state_store import StateStore

_ITEM: Final = 150
"""Bytes of one instance in a request or a report, estimated."""
_CHECK_AGAIN: Final = 60.0
"""Seconds after which deliveries that are waited for are read again: an operator may have changed the queue."""

ApplyOutcome = Callable[[StoredTransaction, TransactionOutcome], Awaitable[None]]


@frozen(kw_only=True)
class TransactionContext:
    """The parts of the router that an actor works with."""

    spool: Spool
    state: StateStore
    subscriptions: Subscriptions
    loading: trio.CapacityLimiter
    """Limits the actors that have their instances in memory at a time."""
    destination_of: Callable[[str], str]
    """Return the destination of an archive's N-ACTIONs: the archive, or the AE of its system for storage commitment."""
    apply_outcome: ApplyOutcome
    """Carry out the outcome of a transaction of the router's own."""


class TransactionActor:
    """Runs one transaction until its report is in the spool. It is notified, and answers no questions."""

    def __init__(self, transaction: StoredTransaction, context: TransactionContext) -> None:
        self._transaction = transaction
        self._context = context
        self._spool, self._state = context.spool, context.state
        self._subscriptions = context.subscriptions
        self._missing = MissingInstances(self, context.spool, context.subscriptions)
        self._wakeup = trio.Event()
        self._refused: dict[str, tuple[FailureReason, str]] = {}
        """By archive whose N-ACTION is held: the failure of its instances, and why, for operators."""
        self._answered: list[str] = []
        """Archives that have accepted their N-ACTION."""
        self._log = structlog.get_logger().bind(commitment=transaction.id, transaction_uid=transaction.uid)

    # Notifications

    def instance_arrived(self, uid: str) -> None:
        """Note that an instance was committed to the spool."""
        if self._missing.arrived(uid):
            self._wakeup.set()

    def instance_settled(self, archive: str, uid: str) -> None:
        """Note that the delivery of an instance to an archive is delivered or held."""
        if self._missing.settled(archive, uid):
            self._wakeup.set()

    def request_settled(self, archive: str, result: AttemptResult) -> None:
        """Note that the N-ACTION to an archive is delivered or held."""
        if result.result is Result.DELIVERED:
            self._answered.append(archive)
        else:
            self._refused[archive] = messages.failure_reason(result.cause, result.status), result.reason
        self._wakeup.set()

    def report_stored(self) -> None:
        """Note that a report of an archive is in the database."""
        self._wakeup.set()

    # The actor

    async def run(self) -> None:
        """Return when the report to the modality is in the spool."""
        try:
            if not self._is_decided:
                await self._read_requests()
            while not self._is_decided:
                self._wakeup = trio.Event()
                async with self._context.loading:
                    await self._advance()
                if not self._is_decided:
                    with trio.move_on_after(self._seconds_to_wait()):
                        await self._wakeup.wait()
            async with self._context.loading:
                await self._finish()
        finally:
            self._subscriptions.remove(self)

    @property
    def _is_decided(self) -> bool:
        return self._transaction.stage is TransactionStage.DECIDED

    @property
    def _size(self) -> int:
        """Bytes of its data sets, estimated."""
        return _ITEM * self._transaction.count

    @property
    def _age(self) -> float:
        return self._spool.clock() - self._transaction.accepted_at

    @property
    def _in_grace(self) -> bool:
        return self._missing.has_unseen and self._age < self._transaction.grace

    def _seconds_to_wait(self) -> float:
        """Return the seconds after which there may be something to do without a notification."""
        waits = [self._transaction.deadline - self._age]
        if self._in_grace:
            waits.append(self._transaction.grace - self._age)
        if self._missing.has_undelivered:
            waits.append(_CHECK_AGAIN)
        return max(0.0, min(waits))

    async def _read_requests(self) -> None:
        """After a restart, read from the queue what became of the N-ACTIONs meanwhile."""
        for request in await self._state.read(partial(archive_store.load, number=self._transaction.id)):
            if request.asked is None or request.reported or request.refused:
                continue
            self._subscriptions.add_request(self, request.archive, request.uid)
            rows = await self._spool.queue.list_deliveries(messages.selection(request.uid), limit=1)
            if rows and rows[0].state is DeliveryState.HELD:
                reason = messages.failure_reason(rows[0].cause, rows[0].status)
                self._refused[request.archive] = reason, rows[0].reason

    async def _advance(self) -> None:
        """Do what can be done by now, up to the decision."""
        await self._save_responses()
        requests = await self._state.read(partial(archive_store.load, number=self._transaction.id))
        if self._transaction.stage is TransactionStage.TAKEN or any(request.asked is None for request in requests):
            await self._request(requests)
        await self._missing.limit_subscriptions()
        if self._transaction.stage is TransactionStage.OPEN or self._age >= self._transaction.deadline:
            await self._decide()

    async def _save_responses(self) -> None:
        """Store how the N-ACTIONs ended since the last time."""
        answered, self._answered = self._answered, []
        refused, self._refused = self._refused, {}
        number = self._transaction.id
        for archive in answered:
            await self._state.change(partial(archive_store.mark_answered, number=number, archive=archive))
        for archive, (reason, why) in refused.items():
            report = ArchiveReport(archive=archive, refusal=reason)
            await self._state.change(partial(archive_store.add_report, number=number, report=report, why=why))
            self._log.warning("archive takes no part in a commitment", archive=archive, why=why)

    async def _request(self, requests: Sequence[ArchiveRequest]) -> None:
        """Ask every archive that has got its instances and was not asked before."""
        references = await self._state.read(partial(transaction_store.load_references, number=self._transaction.id))
        found = await self._missing.find(references, [one.archive for one in requests if one.asked is None])
        if self._in_grace:
            return
        if self._transaction.stage is TransactionStage.TAKEN:
            requests = await self._choose_archives(references, found)
            await self._missing.find(references, [one.archive for one in requests])
        for request in [one for one in requests if one.asked is None and not self._missing.blocks(one.archive)]:
            await self._request_from(request, references)

    async def _choose_archives(self, references: Sequence[Reference], found: Deliveries) -> Sequence[ArchiveRequest]:
        """Store as archives those that got the instances, because no route names any; return the requests to them."""
        number = self._transaction.id
        chosen = await compute(self._size, partial(policies_by_deliveries, references, found))
        work = partial(
            transaction_store.set_policies,
            number=number,
            policies=chosen.policies,
            policy_of=chosen.policy_of,
            archives=chosen.archives,
        )
        await self._state.change(work)
        await self._reload()
        return await self._state.read(partial(archive_store.load, number=number))

    async def _request_from(self, request: ArchiveRequest, references: Sequence[Reference]) -> None:
        """Send the N-ACTION to one archive, for the instances whose policy names it."""
        transaction, archive = self._transaction, request.archive
        work = partial(transaction_store.positions_to_request, transaction=transaction, archive=archive)
        positions = await self._state.read(work)
        encode = partial(_encode_request, request.uid, references, positions, transaction.steps)
        data_set = await compute(self._size, encode)
        destination = self._context.destination_of(archive)
        self._subscriptions.add_request(self, archive, request.uid)
        await messages.send_request(self._spool, transaction, destination, request.uid, data_set)
        await self._state.change(partial(archive_store.mark_asked, number=transaction.id, archive=archive))
        self._log.info("archive asked to commit", archive=archive, instances=len(positions))

    async def _decide(self) -> None:
        """Store the outcome if the transaction is decided."""
        work = partial(transaction_store.load_transaction, transaction=self._transaction)
        transaction = await self._state.read(work)
        expired = self._age >= self._transaction.deadline
        outcome = await compute(self._size, partial(decide, transaction, expired=expired))
        if outcome is None:
            return
        number, clock = self._transaction.id, self._spool.clock()
        save = partial(transaction_store.save_outcome, number=number, outcome=outcome, clock=clock)
        await self._state.change(save)
        await self._reload()
        self._log.info(
            "commitment decided",
            calling_ae=self._transaction.calling_ae,
            event_type=outcome.event_type,
            committed=len(outcome.committed),
            failed=len(outcome.failed),
            seconds=round(self._age, 3),
        )

    async def _finish(self) -> None:
        """Give the report to the spool, or carry out the outcome of a transaction of the router's own."""
        transaction = self._transaction
        outcome = await self._state.read(partial(transaction_store.load_outcome, number=transaction.id))
        if transaction.reply_to:
            encode = partial(write_report, transaction.uid, outcome, transaction.transfer_syntax)
            data_set = await compute(self._size, encode)
            await messages.send_report(self._spool, transaction, outcome.event_type, data_set)
        else:
            await self._context.apply_outcome(transaction, outcome)
        finished = partial(transaction_store.set_stage, number=transaction.id, stage=TransactionStage.FINISHED)
        await self._state.change(finished)

    async def _reload(self) -> None:
        transaction = await self._state.read(partial(transaction_store.load_by_id, number=self._transaction.id))
        assert transaction is not None, "an unfinished transaction is not removed"
        self._transaction = transaction


def _encode_request(uid: str, references: Sequence[Reference], positions: Sequence[int], steps: bytes) -> bytes:
    """Encode the N-ACTION for the references at these positions, with the Transaction UID `uid`."""
    chosen = tuple(references[position] for position in positions)
    request = CommitmentRequest(transaction_uid=uid, references=chosen, steps=read_steps(steps))
    return write_request(request, IMPLICIT_LE)
