"""The large buffers that connections receive into, lent while there are bytes and given back before each wait.

A connection that is silent has none, so that hundreds of open associations cost little. Not here: the few bytes of a
header that is only partly in, which the engine keeps (`pdu.framing`).
"""

from typing import Final

SIZE: Final = 256 << 10
"""Bytes received at a time; more make no read faster, and the pieces no longer fit the processor's cache."""
MOST_KEPT: Final = 16
"""Buffers kept for the next connection that has bytes. Their number in use is that of the associations whose
bytes are being handled at one moment."""


class ReceiveBuffers:
    """Used in one thread alone."""

    def __init__(self, size: int = SIZE) -> None:
        """`size`: bytes of each."""
        self._size = size
        self._free: list[memoryview] = []

    def take(self) -> memoryview:
        return self._free.pop() if self._free else memoryview(bytearray(self._size))

    def give_back(self, buffer: memoryview) -> None:
        """Nothing refers to any part of it any more."""
        if len(self._free) < MOST_KEPT:
            self._free.append(buffer)
