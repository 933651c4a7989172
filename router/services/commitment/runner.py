"""Run the actors of all transactions: restored at a start, started with each request, restarted after a crash.

Not here: what an actor does (transaction_actor.py).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import structlog
import trio

from router.model import AttemptResult, PendingDelivery, Result
from router.services.commitment import transaction_store
from router.services.commitment.options import SERVICE
from router.services.commitment.stored_transaction import StoredTransaction, TransactionStage
from router.services.commitment.subscriptions import Subscriptions
from router.services.commitment.transaction_actor import ApplyOutcome, TransactionActor, TransactionContext
from router.spool import OutOfSpace, Spool, SpoolClosed, SpoolFailure
from router.state_store import StateStore

_LOADED_AT_ONCE: Final = 4
"""Actors that have their instances in memory at a time."""
_RESTART: Final = 5.0
"""Seconds before an actor that crashed is started again."""

log = structlog.get_logger()


class TransactionRunner:
    """The running actors, and the way for notifications to reach them."""

    def __init__(
        self, spool: Spool, state: StateStore, destination_of: Callable[[str], str], apply_outcome: ApplyOutcome
    ) -> None:
        self._state = state
        self._subscriptions = Subscriptions()
        self._context = TransactionContext(
            spool=spool,
            state=state,
            subscriptions=self._subscriptions,
            loading=trio.CapacityLimiter(_LOADED_AT_ONCE),
            destination_of=destination_of,
            apply_outcome=apply_outcome,
        )
        self._running: dict[int, TransactionActor] = {}
        """By the transaction's id."""
        self._nursery: trio.Nursery | None = None
        spool.subscribe(self._arrived)

    async def run(self) -> None:
        """Run the unfinished transactions, and those that are started later, until cancelled."""
        async with trio.open_nursery() as self._nursery:
            try:
                for transaction in await self._state.read(transaction_store.load_unfinished):
                    self.start(transaction)
                await trio.sleep_forever()
            finally:
                self._nursery = None
                self._running.clear()

    def start(self, transaction: StoredTransaction) -> None:
        """Start the actor of a stored transaction. While `run` does not run, it is started by the next `run`."""
        if self._nursery is not None and transaction.id not in self._running:
            self._running[transaction.id] = TransactionActor(transaction, self._context)
            self._nursery.start_soon(self._keep_running, transaction)

    async def _keep_running(self, transaction: StoredTransaction) -> None:
        """Run one actor, and start it again after a crash, so that other transactions go on."""
        while transaction.stage is not TransactionStage.FINISHED:
            try:
                await self._running[transaction.id].run()
                break
            except (SpoolClosed, SpoolFailure):
                raise
            except OutOfSpace as error:
                log.warning("commitment has to wait", transaction_uid=transaction.uid, why=str(error))
            except Exception:
                log.exception("commitment crashed", transaction_uid=transaction.uid, restart_seconds=_RESTART)
            await trio.sleep(_RESTART)
            fresh = await self._state.read(partial(transaction_store.load_by_id, number=transaction.id))
            assert fresh is not None, "an unfinished transaction is not removed"
            transaction = fresh
            self._running[transaction.id] = TransactionActor(transaction, self._context)
        del self._running[transaction.id]

    # Notifications

    def _arrived(self, destination: str, deliveries: Sequence[PendingDelivery]) -> None:
        for delivery in deliveries:
            if delivery.service != SERVICE:
                self._subscriptions.instance_arrived(delivery.sop_instance_uid)

    def instance_settled(self, delivery: PendingDelivery, result: Result) -> None:
        """Note the result of an attempt to deliver an instance."""
        if result is not Result.RETRY:
            self._subscriptions.instance_settled(delivery.destination, delivery.sop_instance_uid)

    def request_settled(self, delivery: PendingDelivery, result: AttemptResult) -> None:
        """Note the result of an attempt to deliver an N-ACTION."""
        if result.result is not Result.RETRY:
            self._subscriptions.request_settled(delivery.sop_instance_uid, result)

    def report_stored(self, number: int) -> None:
        """Note that a report on a transaction is in the database."""
        if (actor := self._running.get(number)) is not None:
            actor.report_stored()
