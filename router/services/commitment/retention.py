"""The router's own requests: an object for a peer with `commitment.request` is kept until that peer has committed.

Each such object has a second delivery, whose purpose is to retain it. While that waits, the spool keeps the object.
Only a report of the peer ends it, and only for the messages that the peer was asked about. An object that the peer
does not have is sent again: its delivery waits again. Requests are made in batches, one transaction at a time for
each peer; an object that is refused `commitment.attempts` times is held for an operator. The ledger knows what is
retained, and the transaction's rows which messages it is about. Not here: asking and merging reports
(transaction_actor.py), and adding the second delivery (router/services/storage.py).
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Final

import structlog
import trio
from attrs import define
from pydicom.uid import generate_uid

from router.config import Config, Peer
from router.dicom.uids import IMPLICIT_LE
from router.dimse import describe
from router.model import AttemptResult, DeliveryState, PendingDelivery, Purpose, Result
from router.services.commitment import archive_store, transaction_store
from router.services.commitment.options import commitment_of
from router.services.commitment.stored_transaction import StoredTransaction, TransactionStage
from router.services.commitment.transaction import (
    COMMITTED,
    FailureReason,
    InstanceResult,
    Quorum,
    Reference,
    TransactionOutcome,
)
from router.spool import OutOfSpace, QueueAction, QueueRow, Selection, Spool, SpoolError
from router.state_store import StateStore

"""Bytes of an object that are copied at a time when it is sent again."""
_C_STORE: Final = "C-STORE-RQ"

log = structlog.get_logger()


@define
class _NextRequest:
    """The next request to a peer."""

    at: float
    """When it is due, in seconds on trio's clock."""
    delivered: int = 0
    """Objects delivered since the last request."""


class Retention:
    """Requests commitment of what each peer has got, and ends the retention of what it commits to."""

    def __init__(
        self, config: Config, spool: Spool, state: StateStore, start: Callable[[StoredTransaction], None]
    ) -> None:
        """`start` starts the actor of a stored transaction."""
        self._spool, self._state, self._start = spool, state, start
        self._next: dict[str, _NextRequest] = {}
        """By peer."""
        self._busy: set[str] = set()
        """Peers with a transaction that is not finished."""
        self._wakeup = trio.Event()
        self.reload(config)

    def reload(self, config: Config) -> None:
        """Use a new configuration from now on."""
        self._title = config.router.ae_title
        self._peers = {peer.name: peer for peer in config.peers.values() if commitment_of(peer).request}
        self._wakeup.set()

    def settled(self, delivery: PendingDelivery, result: Result) -> None:
        """Note the result of an attempt of any service."""
        peer = self._peers.get(delivery.destination)
        if peer is None or result is not Result.DELIVERED or delivery.kind != _C_STORE:
            return
        request = self._schedule(peer)
        request.delivered += 1
        if request.delivered >= commitment_of(peer).batch:
            request.at = 0.0
        self._wakeup.set()

    async def run(self) -> None:
        """Make the requests when they are due, until cancelled."""
        self._busy = set(await self._state.read(transaction_store.archives_of_own_transactions))
        self._next = {name: _NextRequest(0.0) for name in self._peers}
        while True:
            self._wakeup = trio.Event()
            now = trio.current_time()
            for name, request in list(self._next.items()):
                if name not in self._peers:
                    del self._next[name]
                elif request.at <= now and name not in self._busy:
                    del self._next[name]
                    await self._request(self._peers[name])
            times = [request.at for name, request in self._next.items() if name not in self._busy]
            with trio.move_on_at(min(times, default=float("inf"))):
                await self._wakeup.wait()

    def _schedule(self, peer: Peer) -> _NextRequest:
        """Return the next request to a peer; after `commitment.after` if none is scheduled yet."""
        due = trio.current_time() + commitment_of(peer).after
        return self._next.setdefault(peer.name, _NextRequest(due))

    async def _request(self, peer: Peer) -> None:
        """Start a transaction for the next batch of what a peer has got."""
        messages = await self._next_batch(peer)
        if not messages:
            return
        transaction = StoredTransaction(
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
            count=len(messages),
        )
        self._busy.add(peer.name)
        add = partial(
            transaction_store.add,
            transaction=transaction,
            references=list(messages),
            archives=(peer.name,),
            messages=messages,
        )
        try:
            stored, _ = await self._state.change(add)
        except OutOfSpace:
            self._busy.discard(peer.name)
            self._schedule(peer)
            return
        self._start(stored)

    async def _next_batch(self, peer: Peer) -> dict[Reference, list[int]]:
        """Return the instances to ask a peer about, each with the ids of its messages.

        The retention of objects that an operator has discarded for the peer ends here.
        """
        batch = commitment_of(peer).batch
        found = await self._spool.queue.retained(peer.name, batch)
        while abandoned := tuple(one.message_id for one in found if one.abandoned):
            selection = Selection(message_ids=abandoned, destination=peer.name, purpose=Purpose.RETAIN)
            await self._spool.queue.change(selection, QueueAction.DISCARD)
            found = await self._spool.queue.retained(peer.name, batch)
        totals = (await self._spool.queue.totals(Purpose.RETAIN)).get(peer.name)
        if totals is not None and totals.waiting > len(found):
            self._schedule(peer)
        messages: dict[Reference, list[int]] = {}
        for one in found:
            messages.setdefault(Reference(one.sop_class_uid, one.sop_instance_uid), []).append(one.message_id)
        return messages

    async def apply_outcome(self, transaction: StoredTransaction, outcome: TransactionOutcome) -> None:
        """End or prolong the retention of the objects of a transaction. Doing it twice does no harm."""
        (request,) = await self._state.read(partial(archive_store.load, number=transaction.id))
        peer = self._peers.get(request.archive)
        load_message_ids = partial(transaction_store.load_message_ids, number=transaction.id)
        for position, message_id in await self._state.read(load_message_ids):
            await self._apply_result(message_id, outcome.results[position], request.archive, peer)
        self._busy.discard(request.archive)
        if peer is not None:
            self._next[peer.name] = _NextRequest(0.0)
            self._wakeup.set()
        log.info(
            "peer committed",
            destination=request.archive,
            committed=len(outcome.committed),
            failed=len(outcome.failed),
        )

    async def _apply_result(self, message_id: int, result: InstanceResult, archive: str, peer: Peer | None) -> None:
        if result.reason == COMMITTED:
            attempt: AttemptResult | None = AttemptResult(result=Result.DELIVERED, reason="committed")
        else:
            attempt = await self._attempt_for_failure(message_id, result.reason, archive, peer)
        if attempt is not None:
            self._spool.settle(message_id, archive, attempt, purpose=Purpose.RETAIN)

    async def _attempt_for_failure(
        self, message_id: int, failure: int, archive: str, peer: Peer | None
    ) -> AttemptResult | None:
        """Return the result of the attempt for an object that was not committed.

        None if its retention has ended or is held by now.
        """
        selection = Selection(
            message_ids=(message_id,),
            destination=archive,
            purpose=Purpose.RETAIN,
            states=frozenset({DeliveryState.WAITING}),
        )
        rows = await self._spool.queue.list_deliveries(selection)
        if not rows:
            return None
        result, reason, attempts = Result.RETRY, f"not committed: {describe(failure)}", rows[0].attempts + 1
        if peer is not None and attempts >= commitment_of(peer).attempts:
            result, reason = Result.HELD, f"{reason}, {attempts} times"
        elif failure == FailureReason.NO_SUCH_OBJECT_INSTANCE:
            reason = f"{reason}; {await self._send_again(rows[0], archive)}"
        log.warning(
            "not committed",
            destination=archive,
            sop_instance_uid=rows[0].sop_instance_uid,
            why=reason,
            attempt=attempts,
        )
        pause = commitment_of(peer).after if peer is not None else 0.0
        return AttemptResult(result=result, reason=reason, due=self._spool.clock() + pause)

    async def _send_again(self, row: QueueRow, archive: str) -> str:
        """Have the delivery of an object to the archive made again; return what came of it, for operators."""
        try:
            is_sent = await self._spool.queue.send_again(row.message_id, archive, "sent again: the archive lacks it")
        except SpoolError as error:
            return f"not sent again: {error}"
        return "sent again" if is_sent else "not sent again: it waits, or is held or discarded"
