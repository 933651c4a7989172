"""A data set to send, as a stream of chunks whose end is said explicitly.

Only the end sets the last-fragment bit (PS3.8 E.2), so a source that fails half way never looks complete to the peer.
"""

from typing import Final, Protocol

Chunk = tuple[int, bool]
"""The bytes that were read into a buffer, and whether the data set ends with them."""


class DataSource(Protocol):
    """A data set that is read once, from its beginning to its end."""

    @property
    def length(self) -> int | None:
        """Bytes; None if not known before the end."""

    async def read(self, buffer: memoryview) -> Chunk:
        """Read the next bytes into the buffer: at least one, unless the data set ends."""


class Stored(Protocol):
    """A data set of known length that can be read from any offset: of the spool, or of a file."""

    @property
    def data_length(self) -> int:
        """Bytes."""

    async def read_into(self, buffer: memoryview, offset: int) -> int:
        """Read from `offset` on into the buffer. Return the bytes that were read, 0 only at the end."""


class InOrder:
    """A stored data set, read in order."""

    def __init__(self, stored: Stored) -> None:
        self.length = stored.data_length
        self._stored = stored
        self._offset = 0

    async def read(self, buffer: memoryview) -> Chunk:
        size = await self._stored.read_into(buffer[: self.length - self._offset], self._offset)
        self._offset += size
        return size, self._offset == self.length


class InMemory:
    """A data set in memory, which is sent from where it is."""

    def __init__(self, content: bytes | memoryview) -> None:
        self.length = len(content)
        self.content: Final = memoryview(content)
        self._offset = 0

    async def read(self, buffer: memoryview) -> Chunk:
        size = min(len(buffer), self.length - self._offset)
        buffer[:size] = self.content[self._offset : self._offset + size]
        self._offset += size
        return size, self._offset == self.length


async def fill(source: DataSource, buffer: memoryview) -> Chunk:
    """Read until the buffer is full or the data set ends.

    Raises:
        EOFError: the source stops without having said that the data set ends.
    """
    filled, is_last = 0, False
    while filled < len(buffer) and not is_last:
        size, is_last = await source.read(buffer[filled:])
        filled += size
        if not (size or is_last):
            raise EOFError(f"the data set stops after {filled} bytes of a chunk, before its end")
    return filled, is_last


async def read_whole(source: DataSource) -> bytes:
    """Read a data set that is known to be small into memory."""
    content, is_last = bytearray(), False
    buffer = memoryview(bytearray(max(1, 4096 if source.length is None else source.length)))
    while not is_last:
        size, is_last = await fill(source, buffer)
        content += buffer[:size]
    return bytes(content)
