"""The values that pass between the rooms of the house.

An `Envelope` is what the spool keeps beside a data set; a `PendingDelivery` is one of its deliveries as a destination's
actor sees it; an `AttemptResult` is what became of an attempt. None of them holds data-set bytes, none knows a socket
or a file.
"""

from enum import Enum, IntEnum
from typing import Final

from attrs import frozen


class DeliveryState(Enum):
    """Where one delivery of one message stands. `IN_FLIGHT` is known to the destination's actor alone: on disk it
    is `WAITING`, so that a crash repeats it."""

    WAITING = "waiting"
    IN_FLIGHT = "in flight"
    DELIVERED = "delivered"
    HELD = "held"
    DISCARDED = "discarded"


class Purpose(IntEnum):
    """What a delivery is for; the numbers are those of the ledger and of the records."""

    SEND = 0
    """To send the message to its destination."""
    RETAIN = 1
    """To retain the message in the spool until its destination has committed to the instance (PS3.4 Annex J).
    Nothing is sent for it."""


@frozen(kw_only=True)
class SentAs:
    """The form in which a message goes to one destination. Frozen with the delivery, apart from the stored message."""

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
    """One destination of a message, by its peer name, and the lane it travels in there.

    Deliveries with the same non-empty `key` at the same destination keep their order; an empty key has none.
    """

    destination: str
    key: str = ""
    purpose: Purpose = Purpose.SEND
    sent_as: SentAs = AS_STORED


@frozen(kw_only=True)
class Envelope:
    """Everything about a received message but its data set. Frozen before the acknowledgement."""

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
    """Seconds since the epoch, for people; no deadline is computed from it."""
    deliveries: tuple[Recipient, ...] = ()


class Result(Enum):
    """What became of one attempt."""

    DELIVERED = "delivered"
    RETRY = "retry"
    HELD = "held"


class Cause(Enum):
    """How an attempt ended. The ledger keeps the value."""

    NONE = ""
    """There was no attempt yet, or an older version of the router made it."""
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
    """Whose fault the end of an attempt was. Only the site's makes everything for it wait."""

    NONE = "none"
    DELIVERY = "delivery"
    """Of this message at this destination: the others are not concerned."""
    SITE = "site"
    """Of the destination, as far as one attempt can tell."""


@frozen(kw_only=True)
class AttemptResult:
    """What became of an attempt: decided from its end, kept in the ledger, told to the services."""

    result: Result
    reason: str
    """In words, for people: nothing is decided from it. No content of a data set, no words of the peer's."""
    status: int | None = None
    """The DIMSE status of the response; None where there was none."""
    cause: Cause = Cause.ANSWERED
    fault: Fault = Fault.NONE
    comment: str = ""
    """The Error Comment of the response (PS3.7 C.1). Archives put names of patients there: keep it out of the log."""
    unanswered: bool = False
    """The request was sent to its end, and no response came: the peer may have done what was asked."""
    due: float = 0.0
    """When to try again, on `Spool.clock()`; 0 at once."""


@frozen(kw_only=True)
class PendingDelivery:
    """One delivery that has not been made yet, as the ledger hands it to the destination's actor."""

    message_id: int
    destination: str
    key: str
    attempts: int
    born: float
    """When the spool took it in, in seconds on `Spool.clock()`: the time that the router has been running with this
    spool, a monotonic clock that is summed up across restarts. `give_up` is judged by it, never by the time of day."""
    service: str
    kind: str
    """As in its envelope: the command field's name."""
    abstract_syntax: str
    transfer_syntax: str
    """Of the stored data set."""
    sop_instance_uid: str
    calling_ae: str
    """Of the AE that sent the message to the router."""
    data_length: int
    """Bytes of the data set."""
    due: float = 0.0
    """When it may be tried again, on `Spool.clock()`; 0 where it has not failed, or is to be tried at once."""
    cause: Cause = Cause.NONE
    """How its last attempt ended."""
    crashes: int = 0
    """Attempts that ended in an exception of our own."""
    unanswered: int = 0
    """Attempts after which the peer may have done what was asked, although no response came."""
    sent_as: SentAs = AS_STORED


@frozen(kw_only=True)
class SpoolSettings:
    """What `[spool]` and `[storage]` of router.toml say about keeping messages. Sizes are bytes."""

    segment_size: int = 64 << 20
    """Length of one preallocated segment; a longer record gets a segment of its own length."""
    large_object: int = 1 << 20
    """A data set longer than this is streamed to a file of its own."""
    memory: int = 32 << 20
    """What all data sets being received may hold in memory together; past it they go to files."""
    free_space_floor: int = 1 << 30
    """Free space on the spool's file system below which nothing new is accepted."""
    reserve: int = 64 << 20
    """Length of a file that keeps room for the ledger and the router's own messages on a full disk; 0 for none."""
    history: float = 86400.0
    """Seconds for which the ledger remembers a finished message after its bytes are gone."""
    duplicates: str = "forward"
    """What happens to other bytes under a SOP Instance UID that is still unfinished: "forward", "hold" or
    "refuse"."""
