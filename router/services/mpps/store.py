"""The steps that the router remembers: one row for each, its messages, and what is owed about it (`state_store`).

A step is kept as it came: the N-CREATE bit for bit, to be sent once more to a destination that has forgotten it, and
what N-SETs have said since, laid over one another. Where it goes is frozen at the N-CREATE. All functions here are
work for `State.change` or `State.read`. Not here: what may become of a step (`machine`).
"""

import json
import math
from collections.abc import Sequence
from typing import Any, Final

import attrs
from attrs import field, frozen

from router.dicom.dataset import EXPLICIT_LE, DataSet, Element, overlaid, read
from router.services.mpps.attributes import STATUS, InstanceReference, StepStatus, references
from router.services.mpps.state_machine import StoredStep
from router.state_store import Counting, StateTransaction

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS procedure_steps (
    uid TEXT PRIMARY KEY, stage TEXT NOT NULL, born REAL NOT NULL, created REAL NOT NULL, changed REAL NOT NULL,
    calling_ae TEXT NOT NULL, called_ae TEXT NOT NULL, peer TEXT NOT NULL, assigned INTEGER NOT NULL,
    modality TEXT NOT NULL, study_uid TEXT NOT NULL, series INTEGER NOT NULL, instances INTEGER NOT NULL,
    relay TEXT NOT NULL, notify TEXT NOT NULL, inform TEXT NOT NULL, answer TEXT NOT NULL, strict INTEGER NOT NULL,
    transfer_syntax TEXT NOT NULL, created_by BLOB NOT NULL, create_data BLOB NOT NULL,
    updated_by BLOB NOT NULL, update_data BLOB NOT NULL, updates INTEGER NOT NULL, changed_clock REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS procedure_steps_changed ON procedure_steps (changed);
CREATE INDEX IF NOT EXISTS procedure_steps_changed_clock ON procedure_steps (changed_clock);
CREATE INDEX IF NOT EXISTS procedure_steps_in_progress ON procedure_steps (changed) WHERE stage = 'IN PROGRESS';
CREATE INDEX IF NOT EXISTS procedure_steps_assigned ON procedure_steps (created_by) WHERE assigned;
CREATE TABLE IF NOT EXISTS procedure_step_messages (
    message_id INTEGER PRIMARY KEY, uid TEXT NOT NULL, kind TEXT NOT NULL, stage TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS procedure_step_messages_uid ON procedure_step_messages (uid);
CREATE TABLE IF NOT EXISTS procedure_step_questions (uid TEXT NOT NULL, fingerprint BLOB NOT NULL, asked REAL NOT NULL,
    PRIMARY KEY (uid, fingerprint)) WITHOUT ROWID;
"""

Names = tuple[str, ...]
"""Of peers."""
FORGOTTEN_AT_ONCE: Final = 1000
"""Steps that one transaction deletes for their age."""


@frozen(kw_only=True)
class Step:
    """One procedure step."""

    uid: str
    stage: StepStatus
    born: float
    """When its N-CREATE was taken, on `Spool.clock()`."""
    created: float
    """The same in seconds since the epoch, for people."""
    changed: float
    """Seconds since the epoch, for people."""
    changed_clock: float
    """The same on `Spool.clock()`."""
    calling_ae: str
    called_ae: str
    peer: str
    assigned: bool
    """The router has chosen its UID."""
    modality: str
    study_uid: str
    series: int
    instances: int
    """What its Performed Series Sequence counts."""
    relay: Names = ()
    """Destinations of its N-CREATE and N-SETs."""
    notify: Names = ()
    """Peers that hear of its changes (PS3.4 F.9)."""
    inform: Names = ()
    """Peers that hear of its instances (PS3.4 Annex R)."""
    answer: str = ""
    """The destination whose answer the modality gets; "" for the router's own."""
    strict: bool = False
    transfer_syntax: str
    created_by: bytes
    create_data: bytes = field(repr=False)
    """The N-CREATE's data set as it came."""
    updated_by: bytes = b""
    update_data: bytes = field(default=b"", repr=False)
    """What N-SETs said, the state aside, in Explicit VR Little Endian."""
    updates: int = 0
    """N-SETs taken."""

    @property
    def size(self) -> int:
        """Bytes that reading the step is about."""
        return len(self.create_data) + len(self.update_data)

    def data_set(self) -> DataSet:
        """N-CREATE and N-SETs together."""
        value = self.stage.value.encode()
        status = {STATUS: Element("CS", value + b" " * (len(value) % 2))}
        return overlaid(read(self.create_data, self.transfer_syntax), self.update()) | status

    def references(self) -> list[InstanceReference]:
        """Read the instances that it has produced."""
        return references(self.data_set())

    def update(self) -> DataSet:
        """What N-SETs said, the state aside."""
        return read(self.update_data, EXPLICIT_LE) if self.update_data else {}

    def held(self) -> StoredStep:
        """As the machine sees it."""
        return StoredStep(
            stage=self.stage, created_by=self.created_by, updated_by=self.updated_by, data_set=self.data_set
        )


@frozen(kw_only=True)
class StepMessage:
    """A message of a step that was given to the spool."""

    message_id: int
    uid: str
    kind: str
    """"N-CREATE-RQ" or "N-SET-RQ"."""
    stage: StepStatus
    """The step's, once it is carried out."""


_COLUMNS: Final = tuple(attribute.name for attribute in attrs.fields(Step))
_DATA_SETS: Final = frozenset({"create_data", "update_data"})
_IN_PROGRESS: Final = "stage = 'IN PROGRESS'"
"""Written out, so that the index on just these is used."""
_NAMES: Final = frozenset({"relay", "notify", "inform"})


def migrate(connection: StateTransaction, counters: Counting) -> bool:
    """Bring the tables of an earlier version up to date: what was dated by the time of day is dated now, on the run
    clock, which is first brought up to what was measured by it."""
    columns = {row[1] for row in connection.execute("PRAGMA table_info(procedure_steps)")}
    if not columns or "changed_clock" in columns:
        return False
    born, message_id = connection.execute(
        "SELECT coalesce(max(born), 0), (SELECT coalesce(max(message_id), 0) FROM procedure_step_messages)"
        " FROM procedure_steps"
    ).fetchone()
    counters.advance(clock=born, next_id=message_id + 1)
    now = counters.clock()
    connection.execute(f"ALTER TABLE procedure_steps ADD COLUMN changed_clock REAL NOT NULL DEFAULT {now!r}")
    connection.execute("UPDATE procedure_step_questions SET asked = ?", (now,))
    return True


def save(connection: StateTransaction, step: Step) -> None:
    """As the step is now."""
    values = [_to_column(name, getattr(step, name)) for name in _COLUMNS]
    marks = ", ".join("?" * len(values))
    connection.execute(f"REPLACE INTO procedure_steps ({', '.join(_COLUMNS)}) VALUES ({marks})", values)


def load(connection: StateTransaction, uid: str) -> Step | None:
    return _one(connection, "uid = ?", uid)


def load_assigned(connection: StateTransaction, created_by: bytes, calling_ae: str) -> Step | None:
    """The step that this sender began with the same N-CREATE, for which the router has chosen the UID. Where an N-SET
    has followed, the modality knows that UID, and means another step."""
    return _one(connection, "assigned AND updates = 0 AND created_by = ? AND calling_ae = ?", created_by, calling_ae)


def is_known(connection: StateTransaction, uid: str) -> bool:
    return connection.execute("SELECT 1 FROM procedure_steps WHERE uid = ?", (uid,)).fetchone() is not None


def page(connection: StateTransaction, stages: Sequence[StepStatus], limit: int, *, whole: bool) -> list[Step]:
    """The steps that changed last, of these stages, or of any where there are none. Not `whole`: without data sets."""
    chosen = f"stage IN ({', '.join('?' * len(stages))})" if stages else "1"
    query = f"SELECT {_columns(whole)} FROM procedure_steps WHERE {chosen} ORDER BY changed DESC LIMIT ?"
    return [_step(row) for row in connection.execute(query, (*(stage.value for stage in stages), limit))]


def stale(connection: StateTransaction, before: float, limit: int, *, whole: bool) -> list[Step]:
    """Return the steps IN PROGRESS that have not changed since `before`, in seconds since the epoch, oldest first. Not
    `whole`: without data sets."""
    query = f"SELECT {_columns(whole)} FROM procedure_steps WHERE {_IN_PROGRESS} AND changed <= ?"
    return [_step(row) for row in connection.execute(f"{query} ORDER BY changed LIMIT ?", (before, limit))]


def count_in_progress(connection: StateTransaction, before: float = math.inf) -> int:
    """Count the steps IN PROGRESS that have not changed since `before`, in seconds since the epoch."""
    query = f"SELECT count(*) FROM procedure_steps WHERE {_IN_PROGRESS} AND changed <= ?"
    count: int = connection.execute(query, (before,)).fetchone()[0]
    return count


def add_message(connection: StateTransaction, message: StepMessage) -> None:
    values = (message.message_id, message.uid, message.kind, message.stage.value)
    connection.execute(
        "REPLACE INTO procedure_step_messages (message_id, uid, kind, stage) VALUES (?, ?, ?, ?)", values
    )


def load_message(connection: StateTransaction, message_id: int) -> StepMessage | None:
    query = "SELECT message_id, uid, kind, stage FROM procedure_step_messages WHERE message_id = ?"
    row = connection.execute(query, (message_id,)).fetchone()
    return _message(row) if row else None


def load_messages(connection: StateTransaction, uid: str) -> list[StepMessage]:
    """All of a step, in the order in which they came."""
    query = "SELECT message_id, uid, kind, stage FROM procedure_step_messages WHERE uid = ? ORDER BY message_id"
    return [_message(row) for row in connection.execute(query, (uid,))]


def load_until(connection: StateTransaction, uid: str, message_id: int) -> tuple[Step | None, int]:
    """A step, and how many N-SETs were taken before this message, which may be on its way to the state itself."""
    step = load(connection, uid)
    if step is None:
        return None, 0
    later = [one for one in load_messages(connection, uid) if one.message_id >= message_id and one.kind == "N-SET-RQ"]
    return step, step.updates - len(later)


def ask(connection: StateTransaction, uid: str, fingerprint: bytes, now: float) -> bool:
    """A destination is going to be asked for its answer to this, at a time on `Spool.clock()`; whether it may have
    been asked before."""
    values = (uid, fingerprint, now)
    return not connection.execute("INSERT OR IGNORE INTO procedure_step_questions VALUES (?, ?, ?)", values).rowcount


def forget_question(connection: StateTransaction, uid: str, fingerprint: bytes) -> None:
    connection.execute("DELETE FROM procedure_step_questions WHERE uid = ? AND fingerprint = ?", (uid, fingerprint))


def of_study(connection: StateTransaction, study_uid: str) -> list[Step]:
    """Return the steps that name a study."""
    query = f"SELECT {', '.join(_COLUMNS)} FROM procedure_steps WHERE study_uid = ?"
    return [_step(row) for row in connection.execute(query, (study_uid,))]


def forget(connection: StateTransaction, before: float) -> list[str]:
    """Delete up to `FORGOTTEN_AT_ONCE` steps that ended before a time on `Spool.clock()`; return their UIDs. A step
    that is IN PROGRESS stays, however old it is."""
    connection.execute("DELETE FROM procedure_step_questions WHERE asked < ?", (before,))
    query = f"SELECT uid FROM procedure_steps WHERE changed_clock < ? AND stage <> ? LIMIT {FORGOTTEN_AT_ONCE}"
    uids = [uid for (uid,) in connection.execute(query, (before, StepStatus.IN_PROGRESS.value))]
    remove(connection, uids)
    return uids


def remove(connection: StateTransaction, uids: Sequence[str]) -> None:
    """Delete steps, their messages and the questions about them."""
    for table in ("procedure_step_messages", "procedure_step_questions", "procedure_steps"):
        connection.executemany(f"DELETE FROM {table} WHERE uid = ?", [(uid,) for uid in uids])


def _one(connection: StateTransaction, condition: str, *values: Any) -> Step | None:
    query = f"SELECT {', '.join(_COLUMNS)} FROM procedure_steps WHERE {condition} LIMIT 1"
    row = connection.execute(query, values).fetchone()
    return _step(row) if row else None


def _columns(whole: bool) -> str:
    """What to select for a step; empty data sets where it is not to be read."""
    return ", ".join("X''" if name in _DATA_SETS and not whole else name for name in _COLUMNS)


def _step(row: Sequence[Any]) -> Step:
    return Step(**{name: _from_column(name, value) for name, value in zip(_COLUMNS, row, strict=True)})


def _message(row: Sequence[Any]) -> StepMessage:
    return StepMessage(message_id=row[0], uid=row[1], kind=row[2], stage=StepStatus(row[3]))


def _to_column(name: str, value: Any) -> Any:
    if name in _NAMES:
        return json.dumps(value)
    return value.value if isinstance(value, StepStatus) else value


def _from_column(name: str, value: Any) -> Any:
    if name in _NAMES:
        return tuple(json.loads(value))
    if name in ("assigned", "strict"):
        return bool(value)
    return StepStatus(value) if name == "stage" else value
