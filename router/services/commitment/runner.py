"""All transactions' actors: restored at a start, started with each request, started again where they crash.

Not here: what one of them does (`actor`).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import structlog
import trio

from router.model import AttemptResult, PendingDelivery, Result
from router.services.commitment import transaction_store
from router.services.commitment.options import SERVICE
from router.services.commitment.transaction_actor import Conclude, Subscriptions, TransactionActor, TransactionContext
from router.services.commitment.transaction_store import StoredTransaction, TransactionStage
from router.spool import OutOfSpace, Spool, SpoolClosed, SpoolFailure
from router.state_store import StateStore

_TURNS: Final = 4
"""TransactionRunner that have their instances in memory at a time."""
_RESTART: Final = 5.0
"""Seconds before an actor that crashed is started again."""

log = structlog.get_logger()


class TransactionRunner:
    """Told by the service; they tell nobody but the spool."""

    def __init__(
        self, spool: Spool, state: StateStore, destination_of: Callable[[str], str], conclude: Conclude
    ) -> None:
        self._state = state
        self._watch = Subscriptions()
        turns = trio.CapacityLimiter(_TURNS)
        self._around = TransactionContext(
            spool=spool,
            state=state,
            subscriptions=self._watch,
            loading=turns,
            destination_of=destination_of,
            apply_outcome=conclude,
        )
        self._actors: dict[int, TransactionActor] = {}
        self._nursery: trio.Nursery | None = None
        spool.subscribe(self._arrived)

    async def run(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as self._nursery:
            try:
                for commitment in await self._state.read(transaction_store.load_unfinished):
                    self.start(commitment)
                await trio.sleep_forever()
            finally:
                self._nursery = None
                self._actors.clear()

    def start(self, commitment: StoredTransaction) -> None:
        """What comes while nothing runs, `run` finds in the records."""
        if self._nursery is not None and commitment.id not in self._actors:
            self._actors[commitment.id] = TransactionActor(commitment, self._around)
            self._nursery.start_soon(self._keep_running, commitment)

    async def _keep_running(self, commitment: StoredTransaction) -> None:
        """One transaction's crash is no other's."""
        while commitment.stage is not TransactionStage.FINISHED:
            try:
                await self._actors[commitment.id].run()
                break
            except (SpoolClosed, SpoolFailure):
                raise
            except OutOfSpace as error:
                log.warning("commitment has to wait", transaction_uid=commitment.uid, why=str(error))
            except Exception:
                log.exception("commitment crashed", transaction_uid=commitment.uid, restart_seconds=_RESTART)
            await trio.sleep(_RESTART)
            fresh = await self._state.read(partial(transaction_store.load_by_id, number=commitment.id))
            assert fresh is not None, "a transaction that is not finished is not forgotten"
            commitment = fresh
            self._actors[commitment.id] = TransactionActor(commitment, self._around)
        del self._actors[commitment.id]

    # What they are told

    def _arrived(self, destination: str, deliveries: Sequence[PendingDelivery]) -> None:
        for delivery in deliveries:
            if delivery.service != SERVICE:
                self._watch.instance_arrived(delivery.sop_instance_uid)

    def instance_settled(self, delivery: PendingDelivery, result: Result) -> None:
        """A delivery of an instance."""
        if result is not Result.RETRY:
            self._watch.instance_settled(delivery.destination, delivery.sop_instance_uid)

    def request_settled(self, delivery: PendingDelivery, result: AttemptResult) -> None:
        """A delivery of an N-ACTION of ours."""
        if result.result is not Result.RETRY:
            self._watch.request_settled(delivery.sop_instance_uid, result)

    def report_stored(self, number: int) -> None:
        """An archive has spoken."""
        if (actor := self._actors.get(number)) is not None:
            actor.report_stored()
