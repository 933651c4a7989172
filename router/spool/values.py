"""Receipts, reports, rows and counts that the spool returns. All are frozen; none holds data-set bytes."""

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
    """Destinations without duplicates; ("",) if it is kept without a route."""
    held: str = ""
    """Why its deliveries begin held; empty if they do not."""
    duplicate: bool = False
    """The same object waits already at every destination."""


@frozen(kw_only=True)
class Place:
    """Where a message lies. Segment 0: it was set aside or is lost."""

    segment: int
    offset: int
    length: int
    """Bytes of the record."""
    data_length: int
    data_crc: int
    file: str = ""
    """Name in `large/`; empty if the data set is in the record."""


@frozen
class LocatedDelivery:
    """A waiting delivery, and the place of its message."""

    waiting: PendingDelivery
    place: Place


@frozen(kw_only=True)
class Damage:
    """Bytes that were found broken or missing."""

    where: str
    """A file in the spool, such as "segments/00000007"."""
    offset: int
    length: int
    """Bytes; 0 if the file itself is missing."""
    reason: str
    set_aside: Path | None = None
    """The copy in `damaged/`; None if there is nothing to copy, or no room."""
    message_id: MessageId | None = None
    """The message, if its id could be read; its deliveries are then held."""


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
    """Deliveries waiting after the start."""
    held: int
    damaged: tuple[Damage, ...] = ()
    lost: tuple[Damage, ...] = ()
    """Messages that the ledger has and the disk has not; their deliveries are held."""
    removed: int = 0
    """Files that no record names: data sets that were being received when the last run ended."""


@frozen(kw_only=True)
class Totals:
    """Deliveries of one destination by state. `delivered` and `discarded` count on after the bytes are gone."""

    waiting: int = 0
    delivered: int = 0
    held: int = 0
    discarded: int = 0


class QueueAction(Enum):
    """What an operator can do to deliveries."""

    HOLD = "hold"
    """Stop trying waiting ones."""
    RELEASE = "release"
    """Have held ones wait again."""
    RETRY = "retry"
    """Try held and waiting ones now, with their time and counts from 0."""
    DISCARD = "discard"
    """Never deliver held and waiting ones."""


@frozen(kw_only=True)
class Decision:
    """What an operator decided about one delivery."""

    message_id: MessageId
    destination: str
    """Its destination from now on; it had none before if no route wanted the message."""
    purpose: Purpose
    state: DeliveryState
    reason: str


@frozen(kw_only=True)
class Selection:
    """Conditions that deliveries must all meet. An empty selection selects every delivery."""

    message_ids: tuple[MessageId, ...] = ()
    destination: str | None = None
    """The empty text selects messages that no route wanted."""
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
    """One delivery, for operators."""

    message_id: MessageId
    destination: str
    purpose: Purpose
    key: str
    state: DeliveryState
    attempts: int
    reason: str
    """Reason of the last attempt, or why it is held."""
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
    """The DIMSE status of the last attempt; None if no response came."""
    cause: Cause = Cause.NONE
    """How the last attempt ended."""
    comment: str = ""
    """The Error Comment of the last response: it may hold the name of a patient."""


@frozen(kw_only=True)
class InstanceDelivery:
    """The state of one delivery of an instance, of the newest message that brought it."""

    message_id: MessageId
    destination: str
    state: DeliveryState
    reason: str
    """Reason of the last attempt, or why it is held."""
    changed: float
    """Seconds since the epoch."""
    service: str
    kind: str
    sop_class_uid: str
    calling_ae: str
    received: float
    """Seconds since the epoch."""
    status: int | None = None
    """The DIMSE status of the last attempt; None if no response came."""
    cause: Cause = Cause.NONE
    """How the last attempt ended."""


@frozen(kw_only=True)
class Retained:
    """A retained message that its destination may be asked to commit to."""

    message_id: MessageId
    sop_class_uid: str
    sop_instance_uid: str
    abandoned: bool
    """An operator discarded the delivery: the destination must not be asked."""


@frozen(kw_only=True)
class MessageDetail:
    """One message with its deliveries."""

    message_id: MessageId
    envelope: Envelope
    deliveries: tuple[QueueRow, ...]
    data_length: int
    where: str
    """A file in the spool and, for a segment, the offset in it."""


@frozen(kw_only=True)
class SpoolStatistics:
    """Gauges, and counts since the start."""

    segments: int
    bytes: int
    """Bytes written to all segments."""
    unfinished: int
    """Messages with a delivery waiting or held."""
    memory: int
    """Bytes of data sets being received that are in memory."""
    kept: int
    """Bytes of committed data sets that are still in memory, for their deliveries."""
    queue: int
    """Jobs that wait for the writer."""
    commits: int
    batches: int
    """Syncs that made commits durable; commits / batches is the mean of a group."""
    event_loop_batches: int
    """Of these syncs, those that the event loop made itself."""
    event_loop_stalls: int
    """Of those, the ones that took more than 5 ms."""
    largest_batch: int
    damaged: int
    """Messages found broken since the start."""
    free: int
    """Bytes free on the file system, as of the last look."""
    reserve: int
    """Bytes kept for what empties the spool, not counted as free."""
    accepting: bool
