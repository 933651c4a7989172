"""A data set to send, read in chunks: a spooled one, a file's, or one in memory."""

from typing import Protocol


class DataSource(Protocol):
    """A data set of a known length."""

    @property
    def data_length(self) -> int:
        """Bytes."""

    async def read_into(self, buffer: memoryview, offset: int) -> int:
        """Read from `offset` on into the buffer. Return the bytes that were read, 0 only at the end."""


class InMemory:
    """A data set in memory."""

    def __init__(self, content: bytes) -> None:
        self.data_length = len(content)
        self._content = content

    async def read_into(self, buffer: memoryview, offset: int) -> int:
        piece = self._content[offset : offset + len(buffer)]
        buffer[: len(piece)] = piece
        return len(piece)


async def fill(data: DataSource, buffer: memoryview, offset: int) -> int:
    """Read until `buffer` is full: a short chunk in the middle would be the end of the data set.

    Raises:
        EOFError: the data set is shorter than its length says.
    """
    filled = 0
    while filled < len(buffer):
        size = await data.read_into(buffer[filled:], offset + filled)
        if not size:
            raise EOFError(f"the data set ends {len(buffer) - filled} bytes early")
        filled += size
    return filled
