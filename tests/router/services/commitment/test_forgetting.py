"""What is finished is forgotten after `keep`: transactions here, procedure steps and what is owed about them too."""

from functools import partial
from pathlib import Path

from router.services.commitment import transaction_store
from router.services.commitment.stored_transaction import TransactionStage
from router.services.commitment.transaction import InstanceResult, Reference, TransactionOutcome
from router.services.mpps import availability_store, step_store
from router.services.mpps.attributes import StepStatus as StepStage
from router.services.mpps.availability_store import PendingNotification
from router.services.mpps.step_store import Step, StepMessage
from router.state_store import StateTransaction
from tests.support.commitment import stored_transaction
from tests.support.commitment_peers import instances
from tests.support.harness import IMPLICIT, RunningRouter, configuration, eventually, running_router

MANY = 2500
"""More than two transactions of the database delete."""
KEEP = '[commitment]\nkeep = "1ms"\n[mpps]\nkeep = "1ms"\n'


def finish(connection: StateTransaction, reference: Reference) -> None:
    for number in range(MANY):
        taken, _ = transaction_store.add(
            connection, stored_transaction(number, TransactionStage.OPEN), [reference], ["pacs"]
        )
        transaction_store.save_outcome(connection, taken.id, TransactionOutcome((InstanceResult(reference, 0),)), 0.0)
        transaction_store.set_stage(connection, taken.id, TransactionStage.FINISHED)


def end_steps(connection: StateTransaction) -> None:
    for number in range(MANY):
        uid = f"2.25.{number}"
        step = Step(
            uid=uid,
            status=StepStage.COMPLETED,
            accepted_at=0.0,
            created=0.0,
            changed=0.0,
            changed_clock=0.0,
            calling_ae="MODALITY",
            called_ae="ROUTER",
            peer="127.0.0.1",
            assigned=False,
            modality="CT",
            study_uid="1.2.3",
            series=1,
            instances=1,
            transfer_syntax=IMPLICIT,
            created_by=b"",
            create_data=b"",
        )
        step_store.save(connection, step)
        step_store.add_message(
            connection, StepMessage(message_id=number, uid=uid, kind="N-CREATE-RQ", step_status=StepStage.COMPLETED)
        )
        step_store.add_delegated_request(connection, uid, b"", 0.0)
        notice = PendingNotification(uid=uid, destination="ris", due=1e9, missing="omit", partial_sent=True)
        availability_store.add(connection, uid, [notice], [f"1.2.3.{number}"])


async def nothing_left(running: RunningRouter, *tables: str) -> None:
    def count(connection: StateTransaction) -> int:
        return sum(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables)

    async def forgotten() -> bool:
        return not await running.router._state.read(count)

    await eventually(forgotten)


async def test_any_number_of_old_transactions_is_forgotten_in_one_sweep(tmp_path: Path) -> None:
    async with running_router(configuration(tmp_path)) as running:
        await running.router._state.change(partial(finish, reference=instances(1)[0]))
    async with running_router(configuration(tmp_path, KEEP)) as running:
        await nothing_left(running, "commitments", "commitment_references", "commitment_archives")


async def test_pending_notifications_are_removed_with_their_step(tmp_path: Path) -> None:
    async with running_router(configuration(tmp_path)) as running:
        await running.router._state.change(end_steps)
    async with running_router(configuration(tmp_path, KEEP)) as running:
        await nothing_left(running, "procedure_steps", "procedure_step_messages", "procedure_step_questions")
        await nothing_left(running, "availability_notices", "availability_missing")
