"""One timer for all waits of a connection, in place of a cancel scope for each of them.

The deadline of a wait is mostly later than that of the wait before it, and hardly ever reached. So the timer goes off
at the earliest deadline that it was given, whether or not its wait has ended; who still waits then looks at the clock,
and gives it the deadline once more. A later deadline costs one comparison.
"""

import math
from collections.abc import Callable
from typing import Final

import trio


class Timer:
    """Calls a function at or after each deadline that it was given. Has a task from the first deadline to `disarm`."""

    def __init__(self, go_off: Callable[[], None]) -> None:
        """`go_off` must not raise: it is called in a system task."""
        self._go_off: Final = go_off
        self._scope = trio.CancelScope()
        self._begun = False
        self._disarmed = False

    def by(self, deadline: float) -> None:
        """Go off at this moment of trio's clock, or at an earlier one, and then forget it."""
        if deadline < self._scope.deadline:
            self._scope.deadline = deadline
            if not self._begun:
                self._begun = True
                trio.lowlevel.spawn_system_task(self._run)

    def disarm(self) -> None:
        """Never go off again."""
        self._disarmed = True
        self._scope.cancel()

    async def _run(self) -> None:
        while not self._disarmed:
            with self._scope:
                await trio.sleep_forever()
            self._scope = trio.CancelScope(deadline=math.inf)
            if not self._disarmed:
                self._go_off()
