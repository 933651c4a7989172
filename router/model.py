"""Values that pass between services, spool and delivery.

An `Envelope` is stored with each data set; a `PendingDelivery` is one of its deliveries, for the actor of a
destination; an `AttemptResult` is the end of an attempt. None of them holds bytes of a data set, a socket or a file.
"""

from enum import Enum, IntEnum
from typing import Final

from attrs import frozen


class DeliveryState(Enum):
    """State of one delivery of one message.

    `IN_FLIGHT` is known to the actor of the destination only: the ledger has `WAITING`, so that a crash repeats the
    delivery.
    """

    WAITING = "waiting"
    IN_FLIGHT = "in flight"
    DELIVERED = "delivered"
    HELD = "held"
    DISCARDED = "discarded"


class Purpose(IntEnum):
    """Why a delivery exists; ledger and records hold these numbers."""

    SEND = 0
    """To send the message to its destination."""
    RETAIN = 1
    """To retain the message in the spool until its destination has committed to the instance (PS3.4 annex J).

    Nothing is sent for it.
    """


@frozen(kw_only=True)
class SentAs:
    """The form in which a message goes to one destination.

    Fixed when the delivery is made; the stored message does not change.
    """

    transform: str = ""
    """The name of the change to the data set; empty for none."""
    version: int = 0
    """The version of the change."""
    transfer_syntaxes: tuple[str, ...] = ()
    """The transfer syntaxes to offer, the preferred one first; empty for those that the service offers."""


AS_STORED: Final = SentAs()
"""The bytes as received."""


@frozen(kw_only=True)
class Recipient:
    """One destination of a message, by the peer's name, and the ordering key of the delivery.

    Deliveries with the same non-empty `key` reach a destination in the order in which they were accepted.
    """

    destination: str
    key: str = ""
    purpose: Purpose = Purpose.SEND
    sent_as: SentAs = AS_STORED


@frozen(kw_only=True)
class Envelope:
    """Everything that the spool keeps of a message beside its data set. Frozen before the acknowledgement."""

    kind: str
    """The command field's name, such as "C-STORE-RQ"."""
    command: bytes
    """The command set as received (PS3.7 6.3.1, Implicit VR Little Endian)."""
    service: str
    """The name of the service class that accepted it, such as "storage"."""
    abstract_syntax: str
    transfer_syntax: str
    sop_class_uid: str
    sop_instance_uid: str
    calling_ae: str
    called_ae: str
    peer: str
    """The sender's IP address."""
    received: float
    """Seconds since the epoch, to show to operators; no deadline is computed from it."""
    deliveries: tuple[Recipient, ...] = ()


class Result(Enum):
    """The result of one attempt."""

    DELIVERED = "delivered"
    RETRY = "retry"
    HELD = "held"


class Cause(Enum):
    """How an attempt ended. The ledger keeps the value."""

    NONE = ""
    """No attempt has been made yet, or an older version of the router made it."""
    ANSWERED = "answered"
    """The peer has responded; the status says what."""
    NO_CONTEXT = "no presentation context"
    """The peer accepts no presentation context for it."""
    UNREACHABLE = "unreachable"
    """No connection, or no answer to the A-ASSOCIATE-RQ."""
    REJECTED = "rejected"
    """A-ASSOCIATE-RJ."""
    ABORTED = "aborted"
    """The association ended before the response."""
    TIMED_OUT = "timed out"
    """The association stood, and no response came in time."""
    INTERRUPTED = "interrupted"
    """The router stopped, or gave the association up for a reason that has nothing to do with it."""
    NO_SPACE = "no space"
    """The router's own disk is full."""
    DAMAGED = "damaged"
    """The stored message cannot be read."""
    CRASHED = "crashed"
    """The router's own code raised an exception."""


class Fault(Enum):
    """Whose failure an attempt was. Only a fault of the site makes all of its deliveries wait."""

    NONE = "none"
    DELIVERY = "delivery"
    """This message failed at this destination; other deliveries are not affected."""
    SITE = "site"
    """The destination failed, as far as one attempt can tell."""


@frozen(kw_only=True)
class AttemptResult:
    """The end of an attempt, as the ledger keeps it and services are notified of it."""

    result: Result
    reason: str
    """A text for operators, without content of a data set or text of the peer; nothing is decided from it."""
    status: int | None = None
    """The DIMSE status of the response; None if there was no response."""
    cause: Cause = Cause.ANSWERED
    fault: Fault = Fault.NONE
    comment: str = ""
    """The Error Comment of the response (PS3.7 C.1). It may hold a patient's name: keep it out of the log."""
    unanswered: bool = False
    """Whether the whole request was sent without a response: the peer may have performed the operation."""
    due: float = 0.0
    """When to try again, in seconds on the run clock; 0 for at once."""


@frozen(kw_only=True)
class PendingDelivery:
    """One delivery that is waiting, as the ledger returns it to the actor of its destination."""

    message_id: int
    destination: str
    key: str
    attempts: int
    born: float
    """When the message was committed, in seconds on the run clock (`Spool.clock()`). `give_up` counts from here."""
    service: str
    kind: str
    """The name of the command field, as in the envelope."""
    abstract_syntax: str
    transfer_syntax: str
    """Of the stored data set."""
    sop_instance_uid: str
    calling_ae: str
    """AE title of the sender of the message."""
    data_length: int
    """Bytes of the data set."""
    due: float = 0.0
    """When it may be tried, in seconds on the run clock; 0 for at once."""
    cause: Cause = Cause.NONE
    """How the last attempt ended."""
    crashes: int = 0
    """Number of attempts that ended in an exception of the router's own code."""
    unanswered: int = 0
    """Number of attempts that were sent without a response: the peer may have performed the operation."""
    sent_as: SentAs = AS_STORED


@frozen(kw_only=True)
class SpoolSettings:
    """Settings of the spool, from [spool] and [storage] of router.toml. Sizes are bytes."""

    segment_size: int = 64 << 20
    """Length of a preallocated segment; a longer record gets a segment of its own length."""
    large_object: int = 1 << 20
    """A data set longer than this is streamed to a file of its own."""
    memory: int = 32 << 20
    """Memory for all data sets being received together; above it they go to files."""
    free_space_floor: int = 1 << 30
    """Free space on the spool's file system below which nothing new is accepted."""
    reserve: int = 64 << 20
    """Length of a file that keeps room for the ledger and the router's own messages on a full disk; 0 for none."""
    history: float = 86400.0
    """Seconds for which the ledger remembers a finished message after its bytes are gone."""
    duplicates: str = "forward"
    """What to do with other bytes under a SOP Instance UID that is unfinished: "forward", "hold" or "refuse"."""
