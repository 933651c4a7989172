"""Nothing that services remember is forgotten by the time of day, or dated by a clock that begins again."""

import sqlite3
import time
from pathlib import Path

import pytest

from router.services.commitment import transaction_store
from router.services.commitment.stored_transaction import TransactionStage
from router.services.commitment.transaction import InstanceResult, Reference, TransactionOutcome
from router.services.mpps import step_store
from router.services.mpps.attributes import StepStatus as StepStage
from router.services.mpps.step_store import Step, StepMessage
from router.spool.disk.counters import Counters
from router.state_file import NAME
from router.state_store import StateStore
from tests.support.commitment import stored_transaction
from tests.support.harness import IMPLICIT

DAY = 86400.0
KEEP = 30 * DAY
REFERENCE = Reference("1.2.840.10008.5.1.4.1.1.2", "1.2.3")


def step(uid: str, stage: StepStage, changed_clock: float) -> Step:
    return Step(
        uid=uid,
        status=stage,
        accepted_at=changed_clock,
        created=time.time(),
        changed=time.time(),
        changed_clock=changed_clock,
        calling_ae="CT",
        called_ae="ROUTER",
        peer="127.0.0.1",
        assigned=False,
        modality="CT",
        study_uid="1.2",
        series=0,
        instances=0,
        transfer_syntax=IMPLICIT,
        created_by=b"",
        create_data=b"",
    )


@pytest.fixture
def tables() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(step_store.SCHEMA)
    connection.executescript(transaction_store.SCHEMA)
    return connection


def uids(connection: sqlite3.Connection) -> set[str]:
    return {uid for (uid,) in connection.execute("SELECT uid FROM procedure_steps")}


def finish(connection: sqlite3.Connection, number: int, clock: float) -> None:
    taken, _ = transaction_store.add(
        connection, stored_transaction(number, TransactionStage.OPEN), [REFERENCE], ["pacs"]
    )
    transaction_store.save_outcome(connection, taken.id, TransactionOutcome((InstanceResult(REFERENCE, 0),)), clock)
    transaction_store.set_stage(connection, taken.id, TransactionStage.FINISHED)


def test_steps_are_forgotten_by_running_time(tables: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    for uid, clock in (("1.1", 0.0), ("1.2", 10 * DAY)):
        step_store.save(tables, step(uid, StepStage.COMPLETED, clock))
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 1000 * DAY)
    assert step_store.remove_ended(tables, 20 * DAY - KEEP) == []
    assert step_store.remove_ended(tables, 35 * DAY - KEEP) == ["1.1"]
    assert uids(tables) == {"1.2"}


def test_a_step_in_progress_is_never_forgotten_for_its_age(tables: sqlite3.Connection) -> None:
    for stage in StepStage:
        step_store.save(tables, step(stage.value, stage, 0.0))
    assert sorted(step_store.remove_ended(tables, 1000 * DAY)) == ["COMPLETED", "DISCONTINUED"]
    assert uids(tables) == {"IN PROGRESS"}


def test_transactions_are_forgotten_by_running_time(
    tables: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(tables, 1, 0.0)
    finish(tables, 2, 10 * DAY)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 1000 * DAY)
    assert transaction_store.remove_finished(tables, 20 * DAY - KEEP) == 0
    assert transaction_store.remove_finished(tables, 35 * DAY - KEEP) == 1


def test_state_of_an_earlier_revision_is_dated_now_and_raises_the_clock(tmp_path: Path) -> None:
    """That of revision 6426320 knows what was measured by the clock, though not the clock itself."""
    old = sqlite3.connect(tmp_path / NAME)
    old.executescript(
        step_store.SCHEMA.replace(", changed_clock REAL NOT NULL", "").replace(
            "CREATE INDEX IF NOT EXISTS procedure_steps_changed_clock ON procedure_steps (changed_clock);", ""
        )
        + transaction_store.SCHEMA.replace(", decided_clock REAL", "")
    )
    old.execute(
        "INSERT INTO procedure_steps VALUES ('1.2', 'COMPLETED', 5000000.0, 1.0, 1.0, 'CT', 'ROUTER', '127.0.0.1', 0,"
        " 'CT', '1.2', 0, 0, '[]', '[]', '[]', '', 0, ?, x'', x'', x'', x'', 0)",
        (IMPLICIT,),
    )
    step_store.add_message(
        old, StepMessage(message_id=4711, uid="1.2", kind="N-CREATE-RQ", step_status=StepStage.IN_PROGRESS)
    )
    old.execute("INSERT INTO procedure_step_questions VALUES ('1.2', x'00', ?)", (time.time(),))
    taken, _ = transaction_store.add(old, stored_transaction(1, TransactionStage.FINISHED), [REFERENCE], ["pacs"])
    old.execute("UPDATE commitments SET decided = 1.0, born = 6000000.0 WHERE id = ?", (taken.id,))
    old.commit()
    old.close()

    for _ in range(2):
        counters = Counters()
        state = StateStore.open(tmp_path, counters)
        state.define(step_store.SCHEMA, step_store.migrate)
        state.define(transaction_store.SCHEMA, transaction_store.migrate)
        assert counters.clock() >= 6_000_000
        assert counters.next_id == 4712
        found = state.read_now(lambda connection: step_store.load(connection, "1.2"))
        assert found is not None
        assert found.changed == 1.0
        assert found.changed_clock >= 5_000_000
        connection = state._connection
        assert step_store.remove_ended(connection, found.changed_clock - 1) == []
        assert connection.execute("SELECT asked FROM procedure_step_questions").fetchone()[0] < 7_000_000
        assert transaction_store.remove_finished(connection, 6_000_000 - 1) == 0
        state.close()
