"""Run a router that obeys signals: SIGTERM and SIGINT stop it, SIGHUP reloads its configuration file."""

import signal
from contextlib import suppress
from pathlib import Path

import structlog
import trio

from router.concurrency import COMPUTING
from router.config import Config, ConfigError
from router.services import load_config
from router.spool import Spool
from router.supervisor.router import Router

log = structlog.get_logger()


async def serve(config: Config, spool: Spool) -> None:
    """Run a router until SIGTERM or SIGINT. As `Router.run` otherwise."""
    router = Router(config, spool)
    async with trio.open_nursery() as nursery:
        await nursery.start(_obey_signals, router, config)
        await router.run()
        nursery.cancel_scope.cancel()


async def _obey_signals(
    router: Router, config: Config, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    request_reload, requests = trio.open_memory_channel[Path](1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_reload, router, requests)
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            task_status.started()
            async for number in signals:
                if number != signal.SIGHUP:
                    router.stop()
                elif config.path is not None:
                    with suppress(trio.WouldBlock):  # the request before this one has yet to read the file
                        request_reload.send_nowait(config.path)


async def _reload(router: Router, requests: trio.MemoryReceiveChannel[Path]) -> None:
    """Reload the file at each request, once the router is ready."""
    await router.ready.wait()
    async for path in requests:
        try:
            config = await trio.to_thread.run_sync(load_config, path, limiter=COMPUTING)
        except ConfigError as error:
            log.error("not reloaded: the configuration has faults", faults=[str(f) for f in error.faults])
        except Exception:
            log.exception("not reloaded: the configuration could not be read", file=str(path))
        else:
            router.reload(config)
