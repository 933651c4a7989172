"""One transaction's actor: waits for what is owed, asks the archives, hears them, tells the modality.

It keeps no more in memory than what it waits for; all it knows is in the records, and it may be stopped anywhere and
begun again. What is sent is decided and written down first, then given to the spool, then noted as sent: a crash in
between finds the message in the spool, or gives it once more, with the same words. Time is the spool's clock, which
runs while the router does. Not here: the merge (`transaction`), the policy (`plan`).
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial

import structlog
import trio
from attrs import frozen

from router.concurrency import compute
from router.dicom.uids import IMPLICIT_LE
from router.model import AttemptResult, DeliveryState, Result
from router.services.commitment import messages, transaction_store
from router.services.commitment.attributes import CommitmentRequest, read_steps, write_report, write_request
from router.services.commitment.policy import owed, policies_by_deliveries
from router.services.commitment.transaction import ArchiveReport, FailureReason, Reference, TransactionOutcome, decide
from router.services.commitment.transaction_store import ArchiveRequest, StoredTransaction, TransactionStage
from router.spool import InstanceDelivery, Spool
from router.state_store import StateStore

_ITEM = 150
"""Bytes of an instance in a request or a report, about."""
_TURN = 5000
"""Instances that are looked at in one turn of the event loop: some 5 ms."""
_LOOK_AGAIN = 60.0
"""Seconds after which what is owed is looked at once more: a person may have changed the queue."""

Found = Mapping[str, Sequence[InstanceDelivery]]
Conclude = Callable[[StoredTransaction, TransactionOutcome], Awaitable[None]]


class Subscriptions:
    """Which actors wait for which instances."""

    def __init__(self) -> None:
        self._actors: dict[str, set[TransactionActor]] = {}
        self._uids: dict[TransactionActor, set[str]] = {}
        self._asking: dict[str, tuple[TransactionActor, str]] = {}

    async def add(self, actor: "TransactionActor", uids: Collection[str]) -> None:
        """Have the actor told of these, beside what it waits for already."""
        known = self._uids.setdefault(actor, set())
        for number, uid in enumerate(uids):
            known.add(uid)
            self._actors.setdefault(uid, set()).add(actor)
            await _give_way(number)

    async def limit(self, actor: "TransactionActor", uids: Collection[str]) -> None:
        """Have the actor told of these only, of what it waits for."""
        for number, uid in enumerate(self._uids.get(actor, set()).difference(uids)):
            self._forget(actor, uid)
            self._uids[actor].discard(uid)
            await _give_way(number)

    def add_request(self, actor: "TransactionActor", archive: str, uid: str) -> None:
        """It has asked an archive under this Transaction UID, or is about to."""
        self._asking[uid] = actor, archive

    def remove(self, actor: "TransactionActor") -> None:
        """It waits for nothing any more."""
        self.remove_instances(actor)
        for uid in [uid for uid, (asking, _) in self._asking.items() if asking is actor]:
            del self._asking[uid]

    def remove_instances(self, actor: "TransactionActor") -> None:
        """It waits for no instance any more."""
        for uid in self._uids.pop(actor, ()):
            self._forget(actor, uid)

    def _forget(self, actor: "TransactionActor", uid: str) -> None:
        self._actors[uid].discard(actor)
        if not self._actors[uid]:
            del self._actors[uid]

    def instance_arrived(self, uid: str) -> None:
        for actor in self._actors.get(uid, ()):
            actor.instance_arrived(uid)

    def request_settled(self, uid: str, result: AttemptResult) -> None:
        """An N-ACTION under this Transaction UID has come to this."""
        if uid in self._asking:
            actor, archive = self._asking[uid]
            actor.request_settled(archive, result)

    def instance_settled(self, archive: str, uid: str) -> None:
        for actor in self._actors.get(uid, ()):
            actor.instance_settled(archive, uid)


async def _give_way(number: int) -> None:
    """Let other tasks have a turn after each `_TURN` instances."""
    if number % _TURN == _TURN - 1:
        await trio.lowlevel.checkpoint()


@frozen(kw_only=True)
class TransactionContext:
    """What an actor works with."""

    spool: Spool
    state: StateStore
    subscriptions: Subscriptions
    loading: trio.CapacityLimiter
    """So many actors at a time have their instances in memory."""
    destination_of: Callable[[str], str]
    """The destination of an archive's N-ACTIONs: the archive, or the AE of its system that does storage commitment."""
    apply_outcome: Conclude
    """What becomes of a transaction of the router's own."""


class TransactionActor:
    """Told by `arrived`, `settled`, `carried` and `heard`; never asked."""

    def __init__(self, commitment: StoredTransaction, around: TransactionContext) -> None:
        self._commitment = commitment
        self._spool, self._state = around.spool, around.state
        self._around = around
        self._news = trio.Event()
        self._held: dict[str, tuple[FailureReason, str]] = {}
        """N-ACTIONs that are held, by archive: what that means for the instances, and why, in words for operators."""
        self._answered: list[str] = []
        """Archives that have answered theirs."""
        self._watch, self._turns = around.subscriptions, around.loading
        self._owed: dict[str, set[str]] = {}
        """By archive, what it must have before it can be asked."""
        self._unknown: set[str] = set()
        """What the router has not seen yet."""
        self._missed: set[str] = set()
        """What came in while we looked."""
        self._log = structlog.get_logger().bind(commitment=commitment.id, transaction_uid=commitment.uid)

    # What it is told

    def instance_settled(self, archive: str, uid: str) -> None:
        """An instance needs no more waiting for: it is delivered, or held."""
        owed_there = self._owed.get(archive, set())
        owed_there.discard(uid)
        if not owed_there:
            self._news.set()

    def instance_arrived(self, uid: str) -> None:
        """An instance has come in."""
        self._unknown.discard(uid)
        self._missed.add(uid)
        if not self._unknown:
            self._news.set()

    def request_settled(self, archive: str, result: AttemptResult) -> None:
        """What became of an N-ACTION of this transaction."""
        if result.result is Result.DELIVERED:
            self._answered.append(archive)
        else:
            self._held[archive] = messages.failure_reason(result.cause, result.status), result.reason
        self._news.set()

    def report_stored(self) -> None:
        """An archive's report is in the records."""
        self._news.set()

    # The actor

    async def run(self) -> None:
        """Until the modality's report is in the spool."""
        try:
            if not self._is_decided:
                await self._recall()
            while not self._is_decided:
                self._news = trio.Event()
                async with self._turns:
                    await self._step()
                if not self._is_decided:
                    with trio.move_on_after(self._patience()):
                        await self._news.wait()
            async with self._turns:
                await self._finish()
        finally:
            self._watch.remove(self)

    @property
    def _is_decided(self) -> bool:
        return self._commitment.stage is TransactionStage.DECIDED

    @property
    def _size(self) -> int:
        """Bytes that its data sets have, about."""
        return _ITEM * self._commitment.count

    @property
    def _age(self) -> float:
        return self._spool.clock() - self._commitment.accepted_at

    @property
    def _in_grace(self) -> bool:
        return bool(self._unknown) and self._age < self._commitment.grace

    def _patience(self) -> float:
        """Seconds until there may be something to do although nothing is heard."""
        moments = [self._commitment.deadline - self._age]
        if self._in_grace:
            moments.append(self._commitment.grace - self._age)
        if any(self._owed.values()):
            moments.append(_LOOK_AGAIN)
        return max(0.0, min(moments))

    async def _recall(self) -> None:
        """After a restart: what became of N-ACTIONs meanwhile, the queue knows."""
        for inquiry in await self._state.read(
            partial(transaction_store.load_archive_requests, number=self._commitment.id)
        ):
            if inquiry.asked is None or inquiry.reported or inquiry.refused:
                continue
            self._watch.add_request(self, inquiry.archive, inquiry.uid)
            rows = await self._spool.queue.list_deliveries(messages.selection(inquiry.uid), limit=1)
            if rows and rows[0].state is DeliveryState.HELD:
                self._held[inquiry.archive] = messages.failure_reason(rows[0].cause, rows[0].status), rows[0].reason

    async def _step(self) -> None:
        await self._take_in_answers()
        inquiries = await self._state.read(partial(transaction_store.load_archive_requests, number=self._commitment.id))
        if self._commitment.stage is TransactionStage.TAKEN or any(inquiry.asked is None for inquiry in inquiries):
            await self._ask(inquiries)
        await self._watch.limit(self, self._unknown.union(*self._owed.values()))
        if self._commitment.stage is TransactionStage.OPEN or self._age >= self._commitment.deadline:
            await self._decide()

    async def _take_in_answers(self) -> None:
        answered, self._answered = self._answered, []
        held, self._held = self._held, {}
        number = self._commitment.id
        for archive in answered:
            await self._state.change(partial(transaction_store.mark, number=number, archive=archive, moment="answered"))
        for archive, (reason, words) in held.items():
            report = ArchiveReport(archive=archive, refusal=reason)
            await self._state.change(partial(transaction_store.add_report, number=number, report=report, why=words))
            self._log.warning("archive takes no part in a commitment", archive=archive, why=words)

    async def _ask(self, inquiries: Sequence[ArchiveRequest]) -> None:
        """Ask every archive that has what we owe it."""
        references = await self._state.read(partial(transaction_store.load_references, number=self._commitment.id))
        found = await self._look(references, [one.archive for one in inquiries if one.asked is None])
        if self._in_grace:
            return
        if self._commitment.stage is TransactionStage.TAKEN:
            inquiries = await self._plan(references, found)
            found = await self._look(references, [one.archive for one in inquiries])
        waiting = [one.archive for one in inquiries if one.asked is None and self._owed.get(one.archive)]
        for inquiry in inquiries:
            if inquiry.asked is None and inquiry.archive not in waiting:
                await self._ask_one(inquiry, references)

    async def _look(self, references: Sequence[Reference], archives: Sequence[str]) -> Found:
        """How the instances stand. What is settled while we look is not waited for; what comes in while we look is
        looked at again."""
        uids = [reference.sop_instance_uid for reference in references]
        while True:
            self._owed = {archive: set(uids) for archive in archives}
            self._unknown, self._missed = set(uids), set()
            await self._watch.add(self, uids)
            found = await self._spool.queue.instances(uids)
            still = [await compute(self._size, partial(owed, references, name, found)) for name in archives]
            if not self._missed - found.keys():
                break
        for archive, missing in zip(archives, still, strict=True):
            self._owed[archive] &= missing
        self._unknown -= found.keys()
        return found

    async def _plan(self, references: Sequence[Reference], found: Found) -> Sequence[ArchiveRequest]:
        """No route said who has to promise: those who got the instances."""
        number = self._commitment.id
        plan = await compute(self._size, partial(policies_by_deliveries, references, found))
        await self._state.change(
            partial(
                transaction_store.set_policies,
                number=number,
                policies=plan.policies,
                policy_of=plan.policy_of,
                archives=plan.archives,
            )
        )
        await self._reload()
        return await self._state.read(partial(transaction_store.load_archive_requests, number=number))

    async def _ask_one(self, inquiry: ArchiveRequest, references: Sequence[Reference]) -> None:
        """What it is asked for is what its policy is about; all of it where a route names the archive."""
        asked = await self._state.read(
            partial(transaction_store.positions_to_request, commitment=self._commitment, archive=inquiry.archive)
        )
        work = partial(_request, inquiry.uid, references, asked, self._commitment.steps)
        data_set = await compute(self._size, work)
        destination = self._around.destination_of(inquiry.archive)
        self._watch.add_request(self, inquiry.archive, inquiry.uid)
        await messages.send_request(self._spool, self._commitment, destination, inquiry.uid, data_set)
        number = self._commitment.id
        await self._state.change(
            partial(transaction_store.mark, number=number, archive=inquiry.archive, moment="asked")
        )
        self._log.info("archive asked to commit", archive=inquiry.archive, instances=len(asked))

    async def _decide(self) -> None:
        transaction = await self._state.read(partial(transaction_store.load_transaction, commitment=self._commitment))
        expired = self._age >= self._commitment.deadline
        outcome = await compute(self._size, partial(decide, transaction, expired=expired))
        if outcome is None:
            return
        number, clock = self._commitment.id, self._spool.clock()
        await self._state.change(partial(transaction_store.save_outcome, number=number, outcome=outcome, clock=clock))
        await self._reload()
        self._log.info(
            "commitment decided",
            calling_ae=self._commitment.calling_ae,
            event_type=outcome.event_type,
            committed=len(outcome.committed),
            failed=len(outcome.failed),
            seconds=round(self._age, 3),
        )

    async def _finish(self) -> None:
        """Hand what was decided to the spool."""
        commitment = self._commitment
        outcome = await self._state.read(partial(transaction_store.load_outcome, number=commitment.id))
        if commitment.reply_to:
            work = partial(write_report, commitment.uid, outcome, commitment.transfer_syntax)
            data_set = await compute(self._size, work)
            await messages.send_report(self._spool, commitment, outcome.event_type, data_set)
        else:
            await self._around.apply_outcome(commitment, outcome)
        await self._state.change(
            partial(transaction_store.set_stage, number=commitment.id, stage=TransactionStage.FINISHED)
        )

    async def _reload(self) -> None:
        commitment = await self._state.read(partial(transaction_store.load_by_id, number=self._commitment.id))
        assert commitment is not None, "a transaction that is not finished is not forgotten"
        self._commitment = commitment


def _request(uid: str, references: Sequence[Reference], asked: Sequence[int], steps: bytes) -> bytes:
    """The data set that asks for the references at these positions, under our Transaction UID."""
    chosen = tuple(references[position] for position in asked)
    request = CommitmentRequest(transaction_uid=uid, references=chosen, steps=read_steps(steps))
    return write_request(request, IMPLICIT_LE)
