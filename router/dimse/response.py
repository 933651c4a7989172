"""A whole response: its command set and, for C-FIND and the N-services, a small data set."""

from attrs import frozen

from router.dimse.command import Command
from router.dimse.status import StatusClass, status_class


@frozen
class Response:
    """A command set and its data set in the transfer syntax of the presentation context; b"" without one."""

    command: Command
    data_set: bytes = b""

    @property
    def status(self) -> int:
        """The Status (0000,0900), which every response has."""
        assert self.command.status is not None, "a response without a status makes no message"
        return self.command.status

    @property
    def is_pending(self) -> bool:
        """True if more responses to the same request follow (PS3.7 annex C)."""
        return status_class(self.status) is StatusClass.PENDING
