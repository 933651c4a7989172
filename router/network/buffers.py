"""The large buffers that connections receive into, lent while there are bytes and given back before each wait.

A silent connection has none, so that hundreds of open associations cost little. Not here: the few bytes of an
incomplete header, which the engine keeps (`pdu.framing`).
"""

from typing import Final

SIZE: Final = 256 << 10
"""Bytes of a buffer. Reads into larger ones are not faster, and their content no longer fits the processor's cache."""
MOST_KEPT: Final = 16
"""Buffers kept for reuse. As many are in use as there are associations whose bytes are handled at one moment."""


class ReceiveBuffers:
    """A store of buffers. Not thread-safe."""

    def __init__(self, size: int = SIZE) -> None:
        """`size`: bytes of each buffer."""
        self._size = size
        self._free: list[memoryview] = []
        self.lent = 0
        """Buffers that are in use."""

    def lend(self) -> memoryview:
        """Return a buffer that nobody else uses."""
        self.lent += 1
        return self._free.pop() if self._free else memoryview(bytearray(self._size))

    @property
    def are_scarce(self) -> bool:
        """Whether so many are lent that each should be given back as soon as its bytes have been handled."""
        return self.lent > MOST_KEPT

    def give_back(self, buffer: memoryview) -> None:
        """Accept a buffer of which no part is used any more."""
        self.lent -= 1
        if len(self._free) < MOST_KEPT:
            self._free.append(buffer)
