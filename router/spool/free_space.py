"""Share the free space above the floor between all data sets that are being received.

Promises: all of them together do not bring the free space below the floor. Each announces its bytes before they are
written. The file system is asked once a second, for every 16 MiB announced, and before each refusal; in
between, what was announced counts as written. Event loop only.
"""

import time
from collections.abc import Awaitable, Callable

_SECONDS = 1.0
_BYTES = 16 << 20


class FreeSpace:
    """The count of announced bytes."""

    def __init__(
        self,
        look: Callable[[], int],
        floor: int,
        spare: Callable[[], int],
        give_up_spare: Callable[[], Awaitable[None]],
    ) -> None:
        """Begin with nothing announced.

        `look` returns the bytes that are free now; `floor` bytes must stay free. `give_up_spare` deletes the spare
        segment files, `spare` returns their bytes.
        """
        self.free = 0
        """Bytes, as of the last look."""
        self._look_at = look
        self._floor = floor
        self._spare = spare
        self._give_up_spare = give_up_spare
        self._looked = float("-inf")
        self._announced = 0
        """Bytes that may not be in `free` yet."""
        self._writing = 0
        """Bytes that are being written."""

    @property
    def is_above_floor(self) -> bool:
        """Whether there is room at all. Spare files count as free: they are given up before the floor is reached."""
        return self._has(0, spare=self._spare())

    def begin(self, count: int, *, below_floor: bool = False) -> bool:
        """Announce bytes to write; return False if they do not fit above the floor."""
        if not below_floor and not self._has(count):
            return False
        self._announced += count
        self._writing += count
        return True

    def end(self, count: int) -> None:
        """End an announcement: the bytes are written, or will not be."""
        self._writing -= count

    async def make_room(self) -> None:
        """Give up the spare files, so that `begin` may succeed."""
        if self._spare():
            await self._give_up_spare()

    def _has(self, count: int, *, spare: int = 0) -> bool:
        now = time.monotonic()
        old = now - self._looked >= _SECONDS or self._announced >= _BYTES
        if old or not self._suffices(count, spare):
            self._looked = now
            self._announced = self._writing
            self.free = self._look_at()
        return self._suffices(count, spare)

    def _suffices(self, count: int, spare: int) -> bool:
        return self.free + spare - self._announced - count >= self._floor
