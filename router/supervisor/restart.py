"""Restart background tasks that crash."""

from collections.abc import Awaitable, Callable

import trio

from router.delivery import restarts
from router.spool import SpoolClosed, SpoolFailure


async def keep_running(run: Callable[[], Awaitable[None]], log_crash: Callable[..., None]) -> None:
    """Run a task in the background and restart it whenever it ends; `log_crash` logs an exception.

    Raises:
        SpoolFailure, SpoolClosed: the spool cannot be used any more, which a restart does not mend.
    """
    for delay in restarts():
        try:
            await run()
        except* (SpoolFailure, SpoolClosed):
            raise
        except* Exception:
            log_crash(restart_seconds=delay)
        await trio.sleep(delay)
