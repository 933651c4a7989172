"""The procedure steps that the router remembers, in the services' database (router/state_store.py).

Three tables, whose SQL is here alone: one row for each step, the messages of steps that were given to the spool, and
the requests that a destination is asked to answer. A step keeps its N-CREATE bit for bit, to be sent again to a
destination that has forgotten it, and the N-SETs since, laid over one another. Its destinations are fixed at the
N-CREATE. All functions are work for `StateStore.change` or `StateStore.read`. Not here: what a message may do to a
step (state_machine.py), and the notifications that are pending about it (availability_store.py).
"""

import json
import math
from collections.abc import Sequence
from typing import Any, Final

import attrs
from attrs import field, frozen

from router.dicom.dataset import DataSet, element, overlaid, read
from router.dicom.uids import EXPLICIT_LE
from router.services.mpps.attributes import STATUS, InstanceReference, StepStatus, references
from router.services.mpps.state_machine import StepState
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
"""Names of peers."""
REMOVED_AT_ONCE: Final = 1000
"""Steps that `remove_ended` removes in one transaction of the database."""
BATCH_BYTES: Final = 32 << 20
"""Bytes of data sets at which `load_batch` stops: two steps of the largest kind."""


@frozen(kw_only=True)
class Step:
    """One procedure step."""

    uid: str
    status: StepStatus
    accepted_at: float
    """When its N-CREATE was accepted, in seconds on `Spool.clock()`."""
    created: float
    """When its N-CREATE was accepted, in seconds since the epoch, for display."""
    changed: float
    """When its last message was accepted, in seconds since the epoch, for display."""
    changed_clock: float
    """When its last message was accepted, in seconds on `Spool.clock()`."""
    calling_ae: str
    called_ae: str
    peer: str
    """IP address of the modality."""
    assigned: bool
    """The router has chosen its SOP Instance UID."""
    modality: str
    study_uid: str
    series: int
    """Items of its Performed Series Sequence."""
    instances: int
    """Instances that its Performed Series Sequence names."""
    relay: Names = ()
    """Destinations of its N-CREATE and N-SETs."""
    notify: Names = ()
    """Peers that get an N-EVENT-REPORT for each of its changes (PS3.4 F.9)."""
    inform: Names = ()
    """Peers that get the availability of its instances (PS3.4 R)."""
    answer: str = ""
    """The destination whose response the modality gets; "" for the router's own."""
    strict: bool = False
    """Messages that lack a required attribute are refused."""
    transfer_syntax: str
    """Of `create_data`."""
    created_by: bytes
    """`state_machine.fingerprint` of its N-CREATE."""
    create_data: bytes = field(repr=False)
    """The N-CREATE's data set as it came."""
    updated_by: bytes = b""
    """`state_machine.fingerprint` of its last N-SET; b"" before the first."""
    update_data: bytes = field(default=b"", repr=False)
    """The attributes of its N-SETs without the status, in Explicit VR Little Endian."""
    updates: int = 0
    """N-SETs accepted."""

    @property
    def size(self) -> int:
        """Bytes of its data sets: the cost of reading it."""
        return len(self.create_data) + len(self.update_data)

    def data_set(self) -> DataSet:
        """Read N-CREATE and N-SETs together."""
        status = {STATUS: element("CS", self.status.value)}
        return overlaid(read(self.create_data, self.transfer_syntax), self.update()) | status

    def references(self) -> list[InstanceReference]:
        """Read the instances that it has produced."""
        return references(self.data_set())

    def update(self) -> DataSet:
        """Read the attributes of its N-SETs, without the status."""
        return read(self.update_data, EXPLICIT_LE) if self.update_data else {}

    def state(self) -> StepState:
        """Return the step as the state machine sees it."""
        return StepState(
            status=self.status, created_by=self.created_by, updated_by=self.updated_by, data_set=self.data_set
        )


@frozen(kw_only=True)
class StepMessage:
    """A message of a step that was given to the spool."""

    message_id: int
    uid: str
    """SOP Instance UID of the step."""
    kind: str
    """"N-CREATE-RQ" or "N-SET-RQ"."""
    step_status: StepStatus
    """The step's status after the message."""


_ATTRIBUTES: Final = tuple(attribute.name for attribute in attrs.fields(Step))
_RENAMED: Final = {"accepted_at": "born", "status": "stage"}
"""Columns of `procedure_steps` that are not named as their attribute of `Step`."""
_COLUMNS: Final = tuple(_RENAMED.get(name, name) for name in _ATTRIBUTES)
_DATA_SETS: Final = frozenset({"create_data", "update_data"})
_WITHOUT_DATA_SETS: Final = ", ".join("X''" if name in _DATA_SETS else name for name in _COLUMNS)
_IN_PROGRESS: Final = "stage = 'IN PROGRESS'"
"""A literal and not a parameter, so that SQLite uses the partial index on it."""
_NAMES: Final = frozenset({"relay", "notify", "inform"})
_TABLES: Final = ("procedure_step_messages", "procedure_step_questions", "procedure_steps")


def migrate(state: StateTransaction, counters: Counting) -> bool:
    """Bring the tables of an earlier version up to date, and return whether there were any.

    Times of day become the present moment of the run clock, which is first advanced to the latest time in the tables.
    """
    columns = {row[1] for row in state.execute("PRAGMA table_info(procedure_steps)")}
    if not columns or "changed_clock" in columns:
        return False
    latest, message_id = state.execute(
        "SELECT coalesce(max(born), 0), (SELECT coalesce(max(message_id), 0) FROM procedure_step_messages)"
        " FROM procedure_steps"
    ).fetchone()
    counters.advance(clock=latest, next_id=message_id + 1)
    now = counters.clock()
    state.execute(f"ALTER TABLE procedure_steps ADD COLUMN changed_clock REAL NOT NULL DEFAULT {now!r}")
    state.execute("UPDATE procedure_step_questions SET asked = ?", (now,))
    return True


# Steps


def save(state: StateTransaction, step: Step) -> None:
    """Insert a step, or replace the one with its UID."""
    values = [_to_column(name, getattr(step, name)) for name in _ATTRIBUTES]
    marks = ", ".join("?" * len(values))
    state.execute(f"REPLACE INTO procedure_steps ({', '.join(_COLUMNS)}) VALUES ({marks})", values)


def load(state: StateTransaction, uid: str) -> Step | None:
    """Return the step with a SOP Instance UID."""
    return _load_one(state, "uid = ?", uid)


def load_assigned(state: StateTransaction, created_by: bytes, calling_ae: str) -> Step | None:
    """Return the step without a UID that this sender began with the same N-CREATE.

    Only while no N-SET has come: a modality that has sent one knows the UID, and means another step by such an
    N-CREATE.
    """
    condition = "assigned AND updates = 0 AND created_by = ? AND calling_ae = ?"
    return _load_one(state, condition, created_by, calling_ae)


def is_known(state: StateTransaction, uid: str) -> bool:
    """Return whether there is a step with this UID."""
    return state.execute("SELECT 1 FROM procedure_steps WHERE uid = ?", (uid,)).fetchone() is not None


def load_page(state: StateTransaction, statuses: Sequence[StepStatus], limit: int) -> list[Step]:
    """Return the steps that changed last, without their data sets; of these statuses, or of any if there are none."""
    chosen = f"stage IN ({', '.join('?' * len(statuses))})" if statuses else "1"
    query = f"SELECT {_WITHOUT_DATA_SETS} FROM procedure_steps WHERE {chosen} ORDER BY changed DESC LIMIT ?"
    return [_step(row) for row in state.execute(query, (*(status.value for status in statuses), limit))]


def load_stale(state: StateTransaction, before: float, limit: int) -> list[Step]:
    """Return the steps IN PROGRESS that have not changed since `before`, without their data sets, the oldest first.

    `before` is in seconds since the epoch.
    """
    query = f"SELECT {_WITHOUT_DATA_SETS} FROM procedure_steps WHERE {_IN_PROGRESS} AND changed <= ?"
    return [_step(row) for row in state.execute(f"{query} ORDER BY changed LIMIT ?", (before, limit))]


def load_batch(state: StateTransaction, uids: Sequence[str]) -> tuple[list[Step], Sequence[str]]:
    """Return the first of these steps with their data sets, and the UIDs that are left for the next batch.

    A batch ends with the step that brings it to `BATCH_BYTES`. Steps that are gone are left out.
    """
    found: list[Step] = []
    size = 0
    for number, uid in enumerate(uids):
        if size >= BATCH_BYTES:
            return found, uids[number:]
        if (step := load(state, uid)) is not None:
            found.append(step)
            size += step.size
    return found, ()


def load_by_study(state: StateTransaction, study_uid: str) -> list[Step]:
    """Return the steps that name a study."""
    query = f"SELECT {', '.join(_COLUMNS)} FROM procedure_steps WHERE study_uid = ?"
    return [_step(row) for row in state.execute(query, (study_uid,))]


def count_in_progress(state: StateTransaction, before: float = math.inf) -> int:
    """Count the steps IN PROGRESS that have not changed since `before`, in seconds since the epoch."""
    query = f"SELECT count(*) FROM procedure_steps WHERE {_IN_PROGRESS} AND changed <= ?"
    count: int = state.execute(query, (before,)).fetchone()[0]
    return count


def remove_ended(state: StateTransaction, before: float) -> list[str]:
    """Remove up to `REMOVED_AT_ONCE` steps that ended before a time on `Spool.clock()`; return their UIDs.

    A step IN PROGRESS stays, however old it is.
    """
    state.execute("DELETE FROM procedure_step_questions WHERE asked < ?", (before,))
    query = f"SELECT uid FROM procedure_steps WHERE changed_clock < ? AND stage <> ? LIMIT {REMOVED_AT_ONCE}"
    uids = [uid for (uid,) in state.execute(query, (before, StepStatus.IN_PROGRESS.value))]
    remove(state, uids)
    return uids


def remove(state: StateTransaction, uids: Sequence[str]) -> None:
    """Remove steps, their messages and their delegated requests."""
    for table in _TABLES:
        state.executemany(f"DELETE FROM {table} WHERE uid = ?", [(uid,) for uid in uids])


# Messages of steps


def add_message(state: StateTransaction, message: StepMessage) -> None:
    """Insert a message that the spool has committed."""
    values = (message.message_id, message.uid, message.kind, message.step_status.value)
    state.execute("REPLACE INTO procedure_step_messages (message_id, uid, kind, stage) VALUES (?, ?, ?, ?)", values)


def load_message(state: StateTransaction, message_id: int) -> StepMessage | None:
    """Return a message of a step by the spool's id."""
    query = "SELECT message_id, uid, kind, stage FROM procedure_step_messages WHERE message_id = ?"
    row = state.execute(query, (message_id,)).fetchone()
    return _message(row) if row else None


def load_messages(state: StateTransaction, uid: str) -> list[StepMessage]:
    """Return the messages of a step, in the order in which they were accepted."""
    query = "SELECT message_id, uid, kind, stage FROM procedure_step_messages WHERE uid = ? ORDER BY message_id"
    return [_message(row) for row in state.execute(query, (uid,))]


def load_until(state: StateTransaction, uid: str, message_id: int) -> tuple[Step | None, int]:
    """Return a step, and how many of its N-SETs were accepted before a message.

    The message itself may not have been added yet.
    """
    step = load(state, uid)
    if step is None:
        return None, 0
    later = [one for one in load_messages(state, uid) if one.message_id >= message_id and one.kind == "N-SET-RQ"]
    return step, step.updates - len(later)


# Delegated requests


def add_delegated_request(state: StateTransaction, uid: str, fingerprint: bytes, now: float) -> bool:
    """Remember that a destination will be asked to answer a message, and return whether that was remembered before.

    `now` is in seconds on `Spool.clock()`.
    """
    values = (uid, fingerprint, now)
    return not state.execute("INSERT OR IGNORE INTO procedure_step_questions VALUES (?, ?, ?)", values).rowcount


def remove_delegated_request(state: StateTransaction, uid: str, fingerprint: bytes) -> None:
    """Forget that a destination was asked to answer a message."""
    state.execute("DELETE FROM procedure_step_questions WHERE uid = ? AND fingerprint = ?", (uid, fingerprint))


# Rows


def _load_one(state: StateTransaction, condition: str, *values: Any) -> Step | None:
    query = f"SELECT {', '.join(_COLUMNS)} FROM procedure_steps WHERE {condition} LIMIT 1"
    row = state.execute(query, values).fetchone()
    return _step(row) if row else None


def _step(row: Sequence[Any]) -> Step:
    return Step(**{name: _from_column(name, value) for name, value in zip(_ATTRIBUTES, row, strict=True)})


def _message(row: Sequence[Any]) -> StepMessage:
    return StepMessage(message_id=row[0], uid=row[1], kind=row[2], step_status=StepStatus(row[3]))


def _to_column(name: str, value: Any) -> Any:
    if name in _NAMES:
        return json.dumps(value)
    return value.value if isinstance(value, StepStatus) else value


def _from_column(name: str, value: Any) -> Any:
    if name in _NAMES:
        return tuple(json.loads(value))
    if name in ("assigned", "strict"):
        return bool(value)
    return StepStatus(value) if name == "status" else value
