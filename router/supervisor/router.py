"""One router: build its parts, start them in order, reload them together, stop them in reverse.

Start: spool (recovered), services, destinations, listeners, admin API, then `ready`. Stop: listeners close,
associations and destinations finish what is in flight within `shutdown_grace`, the rest is cut off, the spool closes
last. Cut off, an unacknowledged object is not kept and an unsettled delivery is still in the spool. Not here: signals
(`signals`).
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import structlog
import trio
from attrs import asdict

from router import __version__, logs
from router.access.limits import AssociationLimits
from router.association import AcceptorContext, AssociationPools, NameLookup, OperationPerformer, PooledPeers
from router.config import Config
from router.delivery import Dispatcher
from router.model import Purpose
from router.remote import Connectors
from router.services import SERVICES, MPPSRelay, Service, ServiceContext, services_of
from router.services.retrieve.operator_fetch import OperatorFetches
from router.services.retrieve.scp import Retrieve
from router.services.storage import Storage
from router.spool import Spool
from router.state_store import StateStore
from router.supervisor.admin import AdminAPI
from router.supervisor.listeners import Listeners
from router.supervisor.restart import keep_running
from router.supervisor.status import destinations_status
from router.web.admin.backend import RunningBackend

log = structlog.get_logger()


class Router:
    """One running router: `run` serves, other methods are called meanwhile."""

    def __init__(self, config: Config, spool: Spool, services: Sequence[type[Service]] = SERVICES) -> None:
        self._config = config
        self._spool = spool
        self._state = StateStore.open(config.router.spool, spool)
        self._state.keep_room(config.spool.reserve if spool.intake.accepting else 0, spool.relieve)
        self._pools = AssociationPools()
        self._peers = PooledPeers(self._pools, lambda: self._config)
        context = ServiceContext(config=config, spool=spool, state=self._state, peers=self._peers)
        self._conversations = context.conversations
        running = services_of(context, services)
        self._peers.operations = OperationPerformer(running, spool, config.statuses)
        (self._mpps,) = (service for service in running if isinstance(service, MPPSRelay))
        (storage,) = (service for service in running if isinstance(service, Storage))
        (retrieve,) = (service for service in running if isinstance(service, Retrieve))
        self._fetches = OperatorFetches(context, storage, retrieve.spooled)
        connectors = Connectors(spool, running, self._pools)
        self._dispatcher = Dispatcher(config, spool, running, connectors)
        self._acceptor_context = AcceptorContext(
            config=config,
            services=running,
            spool=spool,
            limits=AssociationLimits(config.limits),
            deliver_on=lambda title, association: self._dispatcher.deliver_on(title, connectors.reverse(association)),
        )
        self._listeners = Listeners(self._acceptor_context)
        self._admin = AdminAPI(config)
        self._started_with = config
        self.ready: Final = trio.Event()
        """Set when everything has been started."""
        self._stopping = trio.Event()
        self._started = trio.current_time()

    def stop(self) -> None:
        """Finish what is in flight, then end `run`."""
        self._stopping.set()

    def reload(self, config: Config) -> None:
        """Use `config` from now on, or keep the old one as a whole if any part of the router fails to prepare for it.

        Open associations keep what they negotiated. Sections that need a restart are logged and stay as they are.
        Before the router is `ready` and while it stops, nothing is reloaded. Never raises.
        """
        if self._stopping.is_set() or not self.ready.is_set():
            log.warning("not reloaded: the router is stopping" if self.ready.is_set() else "not reloaded: not ready")
            return
        try:
            changes = [service.prepare(config) for service in self._acceptor_context.services]
            changes.append(self._dispatcher.prepare(config))
        except Exception:
            log.exception("not reloaded: this configuration makes the router fail, so the old one stays in force")
            return
        for change in changes:
            change()
        self._acceptor_context.config = self._config = config
        self._peers.operations = OperationPerformer(self._acceptor_context.services, self._spool, config.statuses)
        self._acceptor_context.limits.limits = config.limits
        _log_needed_restarts(self._started_with, config)
        log.info("reloaded", routes=len(config.routes), peers=len(config.peers))

    async def status(self) -> dict[str, Any]:
        """Return what `dicom-router status` shows."""
        sent, retained = [await self._spool.queue.totals(purpose) for purpose in Purpose]
        return {
            "version": __version__,
            "ae_title": self._config.router.ae_title,
            "seconds": round(trio.current_time() - self._started, 1),
            "accepting": self._spool.intake.accepting and not self._stopping.is_set(),
            "doors": asdict(self._acceptor_context.limits.statistics()),
            "associations": self._listeners.statistics(),
            "conversations": self._conversations.live(),
            "spool": asdict(self._spool.statistics()),
            "admin": self._admin.statistics(),
            "log": {"dropped_lines": logs.dropped()},
            "steps": await self._mpps.statistics(),
            "destinations": destinations_status(sent, retained, self._dispatcher.statistics()),
        }

    async def run(self, *, task_status: trio.TaskStatus[dict[str, Any]] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until `stop` is called. Report the bound addresses to `nursery.start` once everything has been started.

        Raises:
            SpoolFailure: the disk failed; nothing was acknowledged that it may have lost.
            OSError: an address could not be bound.
        """
        trio.socket.set_custom_hostname_resolver(NameLookup())
        try:
            await self._run(task_status)
        finally:
            self._state.close()
            self._admin.close()
        log.info("stopped")

    async def _run(self, task_status: trio.TaskStatus[dict[str, Any]]) -> None:
        async with trio.open_nursery() as foundation:
            foundation.start_soon(self._state.watch)
            await foundation.start(self._spool.run)
            async with trio.open_nursery() as serving:
                log_crash = partial(log.exception, "association pools crashed")
                serving.start_soon(keep_running, self._pools.run, log_crash)
                for service in self._acceptor_context.services:
                    log_crash = partial(log.exception, "service crashed", service=service.name)
                    serving.start_soon(keep_running, service.run, log_crash)
                log_crash = partial(log.exception, "fetches for operators crashed")
                serving.start_soon(keep_running, self._fetches.run, log_crash)
                await serving.start(self._dispatcher.run)
                await self._admin.publish_token(serving)
                async with self._listeners.open(serving) as bound:
                    addresses = {"dicom": bound, "admin": await self._admin.open(serving, self._admin_backend())}
                    log.info("ready", **addresses, spool=str(self._config.router.spool))
                    self.ready.set()
                    task_status.started(addresses)
                    await self._stopping.wait()
                await self._wind_down()
                serving.cancel_scope.cancel()
            foundation.cancel_scope.cancel()

    def _admin_backend(self) -> RunningBackend:
        return RunningBackend(
            status=self.status,
            spool=self._spool,
            state=self._state,
            destinations=self._dispatcher.statistics,
            discard_step=self._mpps.discard,
            conversations=self._conversations,
            fetch=lambda name, wanted, to: self._fetches.begin(self._config, name, wanted, to),
            cancel_fetch=self._fetches.cancel,
            rescan=self._dispatcher.rescan,
        )

    async def _wind_down(self) -> None:
        """Let associations and destinations finish what is in flight, for at most `shutdown_grace` seconds.

        Destinations deliver on for up to half of that, while an association may wait for what a retrieve delivers.
        """
        grace = self._config.router.shutdown_grace
        log.info("stopping", associations=self._listeners.associations, grace_seconds=grace)
        with trio.move_on_after(grace) as deadline:
            self._listeners.drain()
            with trio.move_on_after(grace / 2):
                await self._listeners.drained.wait()
            self._dispatcher.drain()
            await self._listeners.drained.wait()
            await self._dispatcher.drained.wait()
            await self._pools.drain()
        if deadline.cancelled_caught:
            log.warning("cut off what was still in flight", associations=self._listeners.associations)


def _log_needed_restarts(started_with: Config, config: Config) -> None:
    """Log the sections that have changed since the start and need a restart."""
    changed = [name for name in ("listeners", "spool", "admin") if getattr(config, name) != getattr(started_with, name)]
    if config.router.spool != started_with.router.spool:
        changed.append("router.spool")
    for section in changed:
        log.warning("a change that needs a restart", section=section)
