"""Run the admin API: publish its token, bind its address, restart it if it crashes."""

from functools import partial
from typing import Any

import structlog
import trio

from router.concurrency import STATE
from router.config import Config
from router.delivery import restarts
from router.supervisor.restart import keep_running
from router.web.admin.access import AccessPolicy, guarded
from router.web.admin.api import application
from router.web.admin.backend import RunningBackend
from router.web.admin.server import AdminServer
from router.web.admin.token import new_token, write_token

log = structlog.get_logger()


class AdminAPI:
    """The admin API of a router, with a new token at each start."""

    def __init__(self, config: Config) -> None:
        self._settings = config.admin
        self._folder = config.router.spool
        self._token = new_token()
        self._server: AdminServer | None = None

    def statistics(self) -> dict[str, Any]:
        """Return the counts of the server; none before `open`."""
        return self._server.statistics() if self._server else {}

    async def publish_token(self, nursery: trio.Nursery) -> None:
        """Write the token for the command line. If the disk fails, try again in the background."""
        if not await self._write_token():
            nursery.start_soon(self._keep_writing_token)

    async def open(self, nursery: trio.Nursery, backend: RunningBackend) -> str:
        """Bind the address, serve in `nursery`, and return the bound address.

        Raises:
            OSError: the address could not be bound.
        """
        self._server = await AdminServer.bind(self._settings)
        hosts = frozenset({self._settings.listen.host.lower(), *self._settings.hosts})
        api = guarded(application(backend), AccessPolicy(token=self._token, hosts=hosts))
        log_crash = partial(log.exception, "admin API crashed")
        nursery.start_soon(keep_running, partial(self._server.run, api), log_crash)
        return str(self._server.bound)

    def close(self) -> None:
        """Close the socket."""
        if self._server is not None:
            self._server.close()

    async def _write_token(self) -> bool:
        """Write the token. Return False if the disk failed."""
        try:
            await trio.to_thread.run_sync(write_token, self._folder, self._token, limiter=STATE)
        except OSError as error:
            log.error("admin token not written", why=error.strerror or str(error))
            return False
        return True

    async def _keep_writing_token(self) -> None:
        for delay in restarts():
            await trio.sleep(delay)
            if await self._write_token():
                return
