"""Status codes: their names and their classes.

PS3.7 annex C lists the general ones; each service class adds its own ranges (PS3.4). `status_class` does not need the
service: the code alone tells the class. `describe` returns the text for an operator.
"""

from enum import Enum, IntEnum
from functools import lru_cache
from typing import Final

from attrs import frozen


class StatusClass(Enum):
    """The classes of statuses (PS3.7 annex C)."""

    SUCCESS = "success"
    WARNING = "warning"
    FAILURE = "failure"
    CANCEL = "cancel"
    PENDING = "pending"


class Status(IntEnum):
    """Statuses of any service (PS3.7 annex C) and of the Storage service (PS3.4 B.2.3)."""

    SUCCESS = 0x0000
    ATTRIBUTE_LIST_ERROR = 0x0107
    ATTRIBUTE_VALUE_OUT_OF_RANGE = 0x0116
    NO_SUCH_ATTRIBUTE = 0x0105
    INVALID_ATTRIBUTE_VALUE = 0x0106
    PROCESSING_FAILURE = 0x0110
    DUPLICATE_SOP_INSTANCE = 0x0111
    NO_SUCH_SOP_INSTANCE = 0x0112
    NO_SUCH_EVENT_TYPE = 0x0113
    NO_SUCH_ARGUMENT = 0x0114
    INVALID_ARGUMENT_VALUE = 0x0115
    INVALID_SOP_INSTANCE = 0x0117
    NO_SUCH_SOP_CLASS = 0x0118
    CLASS_INSTANCE_CONFLICT = 0x0119
    MISSING_ATTRIBUTE = 0x0120
    MISSING_ATTRIBUTE_VALUE = 0x0121
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    NO_SUCH_ACTION = 0x0123
    NOT_AUTHORIZED = 0x0124
    DUPLICATE_TRANSACTION_UID = 0x0131
    DUPLICATE_INVOCATION = 0x0210
    UNRECOGNIZED_OPERATION = 0x0211
    MISTYPED_ARGUMENT = 0x0212
    RESOURCE_LIMITATION = 0x0213
    OUT_OF_RESOURCES = 0xA700
    UNABLE_TO_COUNT_MATCHES = 0xA701
    UNABLE_TO_PERFORM_SUBOPERATIONS = 0xA702
    MOVE_DESTINATION_UNKNOWN = 0xA801
    DATA_SET_DOES_NOT_MATCH = 0xA900
    COERCION_OF_DATA_ELEMENTS = 0xB000
    SUBOPERATIONS_COMPLETE_WITH_FAILURES = 0xB000
    """The same code, of C-MOVE and C-GET (PS3.4 C.4.2.1.5)."""
    ELEMENTS_DISCARDED = 0xB006
    DATA_SET_DOES_NOT_MATCH_SOP_CLASS_WARNING = 0xB007
    CANNOT_UNDERSTAND = 0xC000
    UNABLE_TO_PROCESS = 0xC001
    CANCEL = 0xFE00
    PENDING = 0xFF00
    PENDING_WITH_WARNING = 0xFF01
    PENDING_FOR_LONG = 0xFF02
    """Of C-MOVE in some archives: the operation goes on even if its invoker leaves."""


_WARNINGS: Final = frozenset({0x0001, Status.ATTRIBUTE_LIST_ERROR, Status.ATTRIBUTE_VALUE_OUT_OF_RANGE})


def status_class(status: int) -> StatusClass:
    """Return the class of a status code; one that the standard does not list is a failure (PS3.7 annex C)."""
    if status == Status.SUCCESS:
        return StatusClass.SUCCESS
    if status in _WARNINGS or status >> 12 == 0xB:
        return StatusClass.WARNING
    if status == Status.CANCEL:
        return StatusClass.CANCEL
    if status in (Status.PENDING, Status.PENDING_WITH_WARNING, Status.PENDING_FOR_LONG):
        return StatusClass.PENDING
    return StatusClass.FAILURE


@frozen
class StatusRange:
    """Statuses from `first` to `last`, both included, with one meaning in one service."""

    first: int
    last: int
    meaning: str


# PS3.4 tables B.2-1, C.4-1, C.4-2, C.4-3, F.7.2-2, J.3.2.1; by the name of the service in the routing table.
SERVICE_STATUSES: Final[dict[str, tuple[StatusRange, ...]]] = {
    "storage": (
        StatusRange(0xA700, 0xA7FF, "refused: out of resources"),
        StatusRange(0xA900, 0xA9FF, "error: data set does not match SOP class"),
        StatusRange(0xB000, 0xB000, "warning: coercion of data elements"),
        StatusRange(0xB006, 0xB006, "warning: elements discarded"),
        StatusRange(0xB007, 0xB007, "warning: data set does not match SOP class"),
        StatusRange(0xC000, 0xCFFF, "error: cannot understand"),
    ),
    "query": (
        StatusRange(0xA700, 0xA700, "refused: out of resources"),
        StatusRange(0xA900, 0xA9FF, "error: data set does not match SOP class"),
        StatusRange(0xC000, 0xCFFF, "failed: unable to process"),
        StatusRange(0xFF00, 0xFF00, "pending: matches are continuing"),
        StatusRange(0xFF01, 0xFF01, "pending: an optional key was not supported"),
    ),
    "retrieve": (
        StatusRange(0xA701, 0xA701, "refused: out of resources, cannot count the matches"),
        StatusRange(0xA702, 0xA702, "refused: out of resources, cannot perform sub-operations"),
        StatusRange(0xA801, 0xA801, "refused: move destination unknown"),
        StatusRange(0xA900, 0xA9FF, "error: data set does not match SOP class"),
        StatusRange(0xB000, 0xB000, "warning: sub-operations complete, some failed"),
        StatusRange(0xC000, 0xCFFF, "failed: unable to process"),
        StatusRange(0xFF00, 0xFF00, "pending: sub-operations are continuing"),
        StatusRange(0xFF02, 0xFF02, "pending: sub-operations will take long"),
    ),
    "mpps": (StatusRange(0x0001, 0x0001, "warning: requested optional attributes are not supported"),),
}


@lru_cache(4096)
def describe(status: int, service: str = "") -> str:
    """Return the text of a status for an operator: "A700H refused: out of resources"."""
    for candidate in SERVICE_STATUSES.get(service, ()):
        if candidate.first <= status <= candidate.last:
            return f"{status:04X}H {candidate.meaning}"
    try:
        meaning = Status(status).name.replace("_", " ").lower()
    except ValueError:
        meaning = status_class(status).value
    return f"{status:04X}H {meaning}"
