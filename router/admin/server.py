"""The admin API on its socket: Hypercorn's trio worker, kept quiet and within limits."""

import logging
from functools import partial

import hypercorn
import structlog
import trio
from attrs import evolve
from hypercorn.trio import serve

from router.admin.application import application
from router.admin.controls import Controls
from router.config import Endpoint

_READ_TIMEOUT = 30
"""Seconds that a client may take to send its request."""

log = structlog.get_logger()


async def serve_admin(
    listen: Endpoint, controls: Controls, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve until cancelled. Reports the bound address as "host:port" when it answers.

    Raises:
        OSError: the address cannot be had; the words say which.
    """
    binds, bound = await _bind(listen)
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, application(controls), _settings(binds)))  # type: ignore[arg-type]
        task_status.started(str(bound))


async def _bind(listen: Endpoint) -> tuple[list[str], Endpoint]:
    """Sockets as Hypercorn takes them over, and the address of the first."""
    try:
        listeners = await trio.open_tcp_listeners(listen.port, host=listen.host)
    except OSError as error:
        raise OSError(error.errno, f"the admin API cannot listen on {listen}: {error.strerror or error}") from error
    bound = evolve(listen, port=listeners[0].socket.getsockname()[1])
    return [f"fd://{listener.socket.detach()}" for listener in listeners], bound


class _ToOurLog(logging.Handler):
    """What Hypercorn has to say, as an event of the router's own log."""

    def emit(self, record: logging.LogRecord) -> None:
        log.error("admin API failed", why=record.getMessage(), exc_info=record.exc_info)


def _errors() -> logging.Logger:
    errors = logging.getLogger("hypercorn.error")
    errors.setLevel(logging.ERROR)
    errors.handlers = [_ToOurLog()]
    errors.propagate = False
    return errors


def _settings(binds: list[str]) -> hypercorn.Config:
    settings = hypercorn.Config()
    settings.bind = binds
    settings.accesslog = None
    settings.errorlog = _errors()
    settings.read_timeout = _READ_TIMEOUT
    settings.include_server_header = False
    return settings
