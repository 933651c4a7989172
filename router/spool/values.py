"""What the spool tells its callers: receipts, reports, rows and counts. All frozen; none holds data-set bytes."""

from enum import Enum
from pathlib import Path
from typing import Final

from attrs import frozen

from router.model import Cause, DeliveryState, Envelope, PendingDelivery, Purpose
from router.spool.message_id import MessageId

C_STORE: Final = "C-STORE-RQ"
NO_ROUTE: Final = "no route matched"
"""Why a message that no route wanted is held."""


@frozen(kw_only=True)
class Receipt:
    """The message is durable; now it may be acknowledged."""

    message_id: MessageId
    """0 for a duplicate: nothing was written."""
    destinations: tuple[str, ...]
    """Where it will go, duplicates taken out; ("",) where it is kept without a route."""
    held: str = ""
    """Why it waits for a person; empty where it does not."""
    duplicate: bool = False
    """The same object waits already wherever this one was to go."""


@frozen(kw_only=True)
class Place:
    """Where a message lies. `segment` 0: nowhere, it was set aside or is lost."""

    segment: int
    offset: int
    length: int
    """Bytes of the record."""
    data_length: int
    data_crc: int
    file: str = ""
    """In `large/`; empty where the data set is in the record."""


@frozen
class LocatedDelivery:
    """A waiting delivery, and where its message lies."""

    waiting: PendingDelivery
    place: Place


@frozen(kw_only=True)
class Damage:
    """Bytes that were found broken or missing."""

    where: str
    """A file in the spool, such as "segments/00000007"."""
    offset: int
    length: int
    """Bytes; 0 where the thing itself is missing."""
    reason: str
    set_aside: Path | None = None
    """The copy in `damaged/`; None where there is nothing to copy, or no room."""
    message_id: MessageId | None = None
    """The message, where as much could be read; its deliveries are then held."""


@frozen(kw_only=True)
class RecoveryReport:
    """What a start found."""

    ledger: str
    """"intact", "new", or why it was rebuilt."""
    scanned: int
    """Bytes of segments that the ledger did not know."""
    recovered: int
    """Messages found in them."""
    waiting: int
    """Deliveries waiting when all was done."""
    held: int
    damaged: tuple[Damage, ...] = ()
    lost: tuple[Damage, ...] = ()
    """What the ledger has and the disk has not; the deliveries are held."""
    removed: int = 0
    """Files that no record named: data sets that were being received when the last run ended."""


@frozen(kw_only=True)
class Totals:
    """Deliveries of one destination by state. `delivered` and `discarded` count on after the bytes are gone."""

    waiting: int = 0
    delivered: int = 0
    held: int = 0
    discarded: int = 0


class QueueAction(Enum):
    """What a person can do to deliveries."""

    HOLD = "hold"
    """PendingDelivery ones: stop trying."""
    RELEASE = "release"
    """Held ones: wait again."""
    RETRY = "retry"
    """Held and waiting ones: try now, with a fresh account of time."""
    DISCARD = "discard"
    """Held and waiting ones: never deliver."""


@frozen(kw_only=True)
class Decision:
    """What an operator decided about one delivery."""

    message_id: MessageId
    destination: str
    """Where it goes from now on; it had none before where no route wanted the message."""
    purpose: Purpose
    state: DeliveryState
    reason: str


@frozen(kw_only=True)
class Selection:
    """Which deliveries: all conditions hold. An empty selection is all of them."""

    message_ids: tuple[MessageId, ...] = ()
    destination: str | None = None
    """"" selects what no route wanted."""
    purpose: Purpose | None = None
    """None selects every purpose."""
    states: frozenset[DeliveryState] = frozenset()
    """`IN_FLIGHT` counts as `WAITING`: the ledger does not know the difference."""
    service: str | None = None
    sop_instance_uid: str | None = None
    calling_ae: str | None = None
    received_from: float | None = None
    received_before: float | None = None
    """Seconds since the epoch."""


@frozen(kw_only=True)
class QueueRow:
    """One delivery, as a person wants to see it."""

    message_id: MessageId
    destination: str
    purpose: Purpose
    key: str
    state: DeliveryState
    attempts: int
    reason: str
    """Of the last attempt, or why it is held."""
    changed: float
    """Seconds since the epoch."""
    kind: str
    service: str
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax: str
    calling_ae: str
    called_ae: str
    peer: str
    received: float
    """Seconds since the epoch."""
    data_length: int
    status: int | None = None
    """The DIMSE status of the last attempt; None where no response came."""
    cause: Cause = Cause.NONE
    """How the last attempt ended."""
    comment: str = ""
    """The Error Comment of the last response: it may hold the name of a patient."""


@frozen(kw_only=True)
class InstanceDelivery:
    """How one delivery of an instance stands: of the newest message that brought it."""

    message_id: MessageId
    destination: str
    state: DeliveryState
    reason: str
    """Of the last attempt, or why it is held."""
    changed: float
    """Seconds since the epoch."""
    service: str
    kind: str
    sop_class_uid: str
    calling_ae: str
    received: float
    """Seconds since the epoch."""
    status: int | None = None
    """The DIMSE status of the last attempt; None where no response came."""
    cause: Cause = Cause.NONE
    """How the last attempt ended."""


@frozen(kw_only=True)
class Retained:
    """A message that is retained until its destination has committed to the instance, and that may be asked for."""

    message_id: MessageId
    sop_class_uid: str
    sop_instance_uid: str
    abandoned: bool
    """An operator discarded what was to be sent: the destination shall not have it."""


@frozen(kw_only=True)
class MessageDetail:
    """One message whole."""

    message_id: MessageId
    envelope: Envelope
    deliveries: tuple[QueueRow, ...]
    data_length: int
    where: str
    """A file in the spool and, for a segment, the offset in it."""


@frozen(kw_only=True)
class SpoolStatistics:
    """What runs now, and counts since the start."""

    segments: int
    bytes: int
    """Of all segments, as far as they are written."""
    unfinished: int
    """Messages with a delivery waiting or held."""
    memory: int
    """Bytes of data sets being received that are in memory."""
    queue: int
    """Jobs that wait for the writer."""
    commits: int
    batches: int
    """Syncs that made commits durable; commits / batches is the mean of a group."""
    largest_batch: int
    damaged: int
    """Messages found broken since the start."""
    free: int
    """Bytes free on the file system, as of the last look."""
    reserve: int
    """Bytes kept for what empties the spool, beside those that are free."""
    accepting: bool
