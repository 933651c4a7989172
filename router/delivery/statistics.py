"""The numbers of one destination, for `status`."""

from enum import Enum

from attrs import frozen


class Stage(Enum):
    """The activity of a destination, for `status`."""

    IDLE = "idle"
    DELIVERING = "delivering"
    BACKING_OFF = "backing off"


@frozen(kw_only=True)
class DestinationStatistics:
    """The numbers of one destination, for `status`."""

    stage: str
    reason: str
    associations: int
    in_flight: int
    deferred: int
    window: int
    next_try: float | None
    """Seconds from now, while backing off."""
    delivered: int
    """Since this process started."""
    bytes_delivered: int
