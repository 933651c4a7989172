"""The router's own requests: what went to a peer with `commitment.request` stays until that peer has committed.

Each such object has a second delivery beside the one to the peer, whose purpose is to retain it: while that waits, the
spool keeps the object, whatever happens. Only the peer's own report settles it, and a report settles only the messages
that the peer was asked about. What the peer says it does not have is sent again, as a message of its own. Asked for in
batches, one transaction at a time for each peer; what is refused `commitment.attempts` times is held for an operator.
What is owed, the ledger knows; which messages a transaction is about stands in its records. Not here: asking and
hearing (`actor`), retaining (`router.services.storage`).
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Final

import structlog
import trio
from attrs import define, evolve
from pydicom.uid import generate_uid

from router.config import Config, Peer
from router.dicom.uids import IMPLICIT_LE
from router.dimse import describe
from router.model import AttemptResult, DeliveryState, PendingDelivery, Purpose, Recipient, Result
from router.services.commitment import transaction_store
from router.services.commitment.options import commitment_of
from router.services.commitment.transaction import COMMITTED, FailureReason, Quorum, Reference, TransactionOutcome
from router.services.commitment.transaction import InstanceResult as Said
from router.services.commitment.transaction_store import StoredTransaction, TransactionStage
from router.spool import OutOfSpace, QueueAction, QueueRow, Selection, Spool, SpoolError
from router.state_store import StateStore

_CHUNK: Final = 512 << 10
_C_STORE: Final = "C-STORE-RQ"

log = structlog.get_logger()


@define
class _Due:
    """When a peer is asked next, on trio's clock."""

    at: float
    delivered: int = 0
    """Since it was asked last."""


class Retention:
    """Told by `settled` and `conclude`."""

    def __init__(
        self, config: Config, spool: Spool, state: StateStore, begin: Callable[[StoredTransaction], None]
    ) -> None:
        self._spool, self._state, self._begin = spool, state, begin
        self._due: dict[str, _Due] = {}
        self._busy: set[str] = set()
        """Peers with a transaction that is not decided."""
        self._news = trio.Event()
        self.reload(config)

    def reload(self, config: Config) -> None:
        self._title = config.router.ae_title
        self._peers = {peer.name: peer for peer in config.peers.values() if commitment_of(peer).request}
        self._news.set()

    def settled(self, delivery: PendingDelivery, result: Result) -> None:
        """A delivery of whatever kind."""
        peer = self._peers.get(delivery.destination)
        if peer is None or result is not Result.DELIVERED or delivery.kind != _C_STORE:
            return
        due = self._due.setdefault(peer.name, _Due(trio.current_time() + commitment_of(peer).after))
        due.delivered += 1
        if due.delivered >= commitment_of(peer).batch:
            due.at = 0.0
        self._news.set()

    async def run(self) -> None:
        self._busy = set(await self._state.read(transaction_store.archives_of_own_transactions))
        self._due = {name: _Due(0.0) for name in self._peers}
        while True:
            self._news = trio.Event()
            now = trio.current_time()
            for name, due in list(self._due.items()):
                if name not in self._peers:
                    del self._due[name]
                elif due.at <= now and name not in self._busy:
                    del self._due[name]
                    await self._ask(self._peers[name])
            moments = [due.at for name, due in self._due.items() if name not in self._busy]
            with trio.move_on_at(min(moments, default=float("inf"))):
                await self._news.wait()

    def _later(self, peer: Peer) -> None:
        self._due.setdefault(peer.name, _Due(trio.current_time() + commitment_of(peer).after))

    async def _ask(self, peer: Peer) -> None:
        """Begin a transaction for what the peer has been given."""
        asked = await self._gather(peer)
        if not asked:
            return
        commitment = StoredTransaction(
            uid=str(generate_uid(prefix=None)),
            fingerprint=b"",
            stage=TransactionStage.OPEN,
            calling_ae=self._title,
            called_ae=peer.ae_title,
            address="",
            reply_to="",
            transfer_syntax=IMPLICIT_LE,
            received=time.time(),
            accepted_at=self._spool.clock(),
            grace=0.0,
            deadline=commitment_of(peer).within,
            policies=((Quorum((peer.name,), 1),),),
            count=len(asked),
        )
        self._busy.add(peer.name)
        take = partial(
            transaction_store.add, commitment=commitment, references=list(asked), archives=(peer.name,), messages=asked
        )
        try:
            taken, _ = await self._state.change(take)
        except OutOfSpace:
            self._busy.discard(peer.name)
            self._later(peer)
            return
        self._begin(taken)

    async def _gather(self, peer: Peer) -> dict[Reference, list[int]]:
        """The next batch: the instances, and the ids of the messages that brought them."""
        batch = commitment_of(peer).batch
        found = await self._spool.queue.retained(peer.name, batch)
        while abandoned := tuple(one.message_id for one in found if one.abandoned):
            selection = Selection(message_ids=abandoned, destination=peer.name, purpose=Purpose.RETAIN)
            await self._spool.queue.change(selection, QueueAction.DISCARD)
            found = await self._spool.queue.retained(peer.name, batch)
        totals = (await self._spool.queue.totals(Purpose.RETAIN)).get(peer.name)
        if totals is not None and totals.waiting > len(found):
            self._later(peer)
        asked: dict[Reference, list[int]] = {}
        for one in found:
            asked.setdefault(Reference(one.sop_class_uid, one.sop_instance_uid), []).append(one.message_id)
        return asked

    async def apply_outcome(self, commitment: StoredTransaction, outcome: TransactionOutcome) -> None:
        """What the peer's word means for the objects that it was asked about. Doing it twice does no harm."""
        (inquiry,) = await self._state.read(partial(transaction_store.load_archive_requests, number=commitment.id))
        peer = self._peers.get(inquiry.archive)
        for position, message_id in await self._state.read(
            partial(transaction_store.load_message_ids, number=commitment.id)
        ):
            await self._settle(message_id, outcome.results[position], inquiry.archive, peer)
        self._busy.discard(inquiry.archive)
        if peer is not None:
            self._due[peer.name] = _Due(0.0)
            self._news.set()
        log.info(
            "peer committed",
            destination=inquiry.archive,
            committed=len(outcome.committed),
            failed=len(outcome.failed),
        )

    async def _settle(self, message_id: int, said: Said, archive: str, peer: Peer | None) -> None:
        if said.reason == COMMITTED:
            settlement: AttemptResult | None = AttemptResult(result=Result.DELIVERED, reason="committed")
        else:
            settlement = await self._refused(message_id, said, archive, peer)
        if settlement is not None:
            self._spool.settle(message_id, archive, settlement, purpose=Purpose.RETAIN)

    async def _refused(self, message_id: int, said: Said, archive: str, peer: Peer | None) -> AttemptResult | None:
        """The settlement of a message that its archive did not commit to; None where it is finished or held by now."""
        selection = Selection(
            message_ids=(message_id,),
            destination=archive,
            purpose=Purpose.RETAIN,
            states=frozenset({DeliveryState.WAITING}),
        )
        rows = await self._spool.queue.list_deliveries(selection)
        if not rows:
            return None
        result, words, attempts = Result.RETRY, f"not committed: {describe(said.reason)}", rows[0].attempts + 1
        if peer is not None and attempts >= commitment_of(peer).attempts:
            result, words = Result.HELD, f"{words}, {attempts} times"
        elif said.reason == FailureReason.NO_SUCH_OBJECT_INSTANCE:
            words = f"{words}; {await self._send_again(rows[0], archive)}"
        log.warning(
            "not committed",
            destination=archive,
            sop_instance_uid=rows[0].sop_instance_uid,
            why=words,
            attempt=attempts,
        )
        rest = commitment_of(peer).after if peer is not None else 0.0
        return AttemptResult(result=result, reason=words, due=self._spool.clock() + rest)

    async def _send_again(self, row: QueueRow, archive: str) -> str:
        """The object as a message of its own, to the archive alone; what came of it, in words."""
        try:
            with await self._spool.open_message(row.message_id) as message:
                incoming = self._spool.intake.incoming()
                try:
                    buffer = memoryview(bytearray(min(_CHUNK, message.data_length)))
                    offset = 0
                    while offset < message.data_length:
                        size = await message.read_into(buffer, offset)
                        await incoming.write(buffer[:size])
                        offset += size
                    await incoming.finish()
                    envelope = evolve(message.envelope, deliveries=(Recipient(destination=archive),))
                    await self._spool.intake.store(incoming, envelope)
                finally:
                    await incoming.discard()
        except SpoolError as error:
            return f"not sent again: {error}"
        return "sent again"
