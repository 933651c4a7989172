"""The values that pass between the rooms of the house.

An `Envelope` is what the spool keeps beside a data set; a `Waiting` is one of its deliveries as a destination's
actor sees it; a `Settlement` is what became of an attempt. None of them holds data-set bytes, none knows a socket
or a file.
"""

from enum import Enum, IntEnum

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
class Address:
    """One destination of a message, by its peer name, and the lane it travels in there.

    Deliveries with the same non-empty `key` at the same destination keep their order; an empty key has none.
    """

    destination: str
    key: str = ""
    purpose: Purpose = Purpose.SEND


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
    deliveries: tuple[Address, ...] = ()


@frozen(kw_only=True)
class Waiting:
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
    sop_instance_uid: str
    data_length: int
    """Bytes of the data set."""


class Result(Enum):
    """What became of one attempt."""

    DELIVERED = "delivered"
    RETRY = "retry"
    HELD = "held"


@frozen(kw_only=True)
class Settlement:
    """What the ledger is told after an attempt."""

    result: Result
    reason: str
    """In words, for `queue show`; "0000H" or the like where it was delivered."""
    due: float = 0.0
    """On `Spool.clock()`: what is tried again is not tried before."""


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
