"""A response message, whole: only those of the N-services have a data set, and a small one."""

from attrs import frozen

from router.dimse.command import Command


@frozen
class Response:
    """A command set, and the data set that belongs to it in the presentation context's transfer syntax; b"" where
    there is none."""

    command: Command
    data_set: bytes = b""

    @property
    def status(self) -> int:
        """The Status (0000,0900), which every response has."""
        assert self.command.status is not None, "a response without a status makes no message"
        return self.command.status
