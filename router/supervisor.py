"""The router as one tree of tasks: spool, destinations, listeners, admin API; start, reload, stop.

Order is what this file is about. Up: spool (recovered), destinations, listeners, then "ready". Down: listeners
close, associations and destinations finish what is in flight within `shutdown_grace`, the rest is cut off (what was
not acknowledged is not kept, what was not delivered is still in the spool), the spool closes last.
"""

import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import structlog
import trio
from attrs import asdict, evolve

from router import __version__, logs
from router.access.limits import AssociationLimits
from router.association import Acceptor, AcceptorContext, AssociationPools, NameLookup, OperationContext, PooledPeers
from router.concurrency import COMPUTING, STATE
from router.config import Config, ConfigError, Listener
from router.delivery import Dispatcher, restarts
from router.model import Purpose
from router.services import SERVICES, MPPSRelay, Service, ServiceContext, load_config, services_of
from router.spool import Spool, SpoolClosed, SpoolFailure, Totals
from router.state_store import StateStore
from router.web.admin import AccessPolicy, AdminServer, RunningBackend, application, guarded, new_token, write_token
from router.web.admin.queue_views import named, shown_name

log = structlog.get_logger()

_STAGES = {Purpose.SEND: "not configured", Purpose.RETAIN: "waits for commitment"}
"""Of what no actor carries."""
_BACKLOG = 1024
"""Connections that the kernel keeps for us while all tasks are busy."""


class Router:
    """One running router. `run` serves; the rest is told to it."""

    def __init__(self, config: Config, spool: Spool, services: Sequence[type[Service]] = SERVICES) -> None:
        self._config = config
        self._spool = spool
        self._state = StateStore.open(config.router.spool, spool)
        self._state.keep_room(config.spool.reserve if spool.intake.accepting else 0, spool.relieve)
        self._pools = AssociationPools()
        self._peers = PooledPeers(self._pools, lambda: self._config)
        context = ServiceContext(config=config, spool=spool, state=self._state, peers=self._peers)
        running = services_of(context, services)
        self._peers.operations = OperationContext(running, spool, config.statuses)
        (self._mpps,) = (service for service in running if isinstance(service, MPPSRelay))
        self._dispatcher = Dispatcher(config, spool, running, self._pools)
        self._reception = AcceptorContext(
            config=config,
            services=running,
            spool=spool,
            doors=AssociationLimits(config.limits),
            visited=self._dispatcher.visited,
        )
        self._acceptors: set[Acceptor] = set()
        self._token = new_token()
        self._admin: AdminServer | None = None
        self._started_with = config
        self.ready: Final = trio.Event()
        """Set when everything is up."""
        self._stopping = trio.Event()
        self._nobody_left = trio.Event()
        self._started = trio.current_time()

    # What it is told

    def stop(self) -> None:
        """Finish what is in flight, then end `run`."""
        self._stopping.set()

    def reload(self, config: Config) -> None:
        """Judge and deliver by `config` from now on, or by the old one as a whole where any part of it fails.

        Open associations keep what they negotiated. What needs a restart stays as it is, and the log says so. Nothing
        is reloaded before the router is `ready` or while it stops. Never raises.
        """
        if self._stopping.is_set() or not self.ready.is_set():
            log.warning("not reloaded: the router is stopping" if self.ready.is_set() else "not reloaded: not ready")
            return
        try:
            changes = [service.prepare(config) for service in self._reception.services]
            changes.append(self._dispatcher.prepare(config))
        except Exception:
            log.exception("not reloaded: this configuration makes the router fail, so the old one stays in force")
            return
        for change in changes:
            change()
        self._reception.config = self._config = config
        self._peers.operations = OperationContext(self._reception.services, self._spool, config.statuses)
        self._reception.doors.limits = config.limits
        _tell_restarts(self._started_with, config)
        log.info("reloaded", routes=len(config.routes), peers=len(config.peers))

    async def status(self) -> dict[str, Any]:
        """What `dicom-router status` shows."""
        sent, retained = [await self._spool.queue.totals(purpose) for purpose in Purpose]
        totals = sent | {shown_name(name, Purpose.RETAIN): numbers for name, numbers in retained.items()}
        actors = self._dispatcher.statistics()
        destinations = {}
        for name in sorted(totals.keys() | actors.keys()):
            numbers = asdict(totals[name]) if name in totals else {}
            actor = asdict(actors[name]) if name in actors else {"stage": _STAGES[named(name)[1]]}
            promised = _promised(sent[name], retained[name]) if name in sent and name in retained else {}
            destinations[name] = _account(numbers, actor) | promised
        return {
            "version": __version__,
            "ae_title": self._config.router.ae_title,
            "seconds": round(trio.current_time() - self._started, 1),
            "accepting": self._spool.intake.accepting and not self._stopping.is_set(),
            "doors": asdict(self._reception.doors.statistics()),
            "associations": [acceptor.statistics() for acceptor in self._acceptors],
            "spool": asdict(self._spool.statistics()),
            "admin": self._admin.statistics() if self._admin else {},
            "log": {"dropped_lines": logs.dropped()},
            "steps": await self._mpps.statistics(),
            "destinations": destinations,
        }

    # The tree

    async def run(self, *, task_status: trio.TaskStatus[dict[str, Any]] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until `stop`ped. Reports the bound addresses when everything is up.

        Raises:
            SpoolFailure: the disk did not keep its word; nothing was acknowledged that it may have lost.
            OSError: an address could not be bound.
        """
        trio.socket.set_custom_hostname_resolver(NameLookup())
        try:
            await self._run(task_status)
        finally:
            self._state.close()
            if self._admin is not None:
                self._admin.close()
        log.info("stopped")

    async def _run(self, task_status: trio.TaskStatus[dict[str, Any]]) -> None:
        async with trio.open_nursery() as foundation:
            foundation.start_soon(self._state.watch)
            await foundation.start(self._spool.run)
            async with trio.open_nursery() as serving:
                crashed = partial(log.exception, "association pools crashed")
                serving.start_soon(_keep_running, self._pools.run, crashed)
                for service in self._reception.services:
                    crashed = partial(log.exception, "service crashed", service=service.name)
                    serving.start_soon(_keep_running, service.run, crashed)
                await serving.start(self._dispatcher.run)
                if not await self._write_token():
                    serving.start_soon(self._keep_writing_token)
                async with self._open_doors(serving) as bound:
                    admin = await self._open_admin(serving)
                    addresses = {"dicom": bound, "admin": admin}
                    log.info("ready", **addresses, spool=str(self._config.router.spool))
                    self.ready.set()
                    task_status.started(addresses)
                    await self._stopping.wait()
                await self._wind_down()
                serving.cancel_scope.cancel()
            foundation.cancel_scope.cancel()

    async def _write_token(self) -> bool:
        """Write the admin API's token for the command line. Return whether the disk took it."""
        try:
            await trio.to_thread.run_sync(write_token, self._config.router.spool, self._token, limiter=STATE)
        except OSError as error:
            log.error("admin token not written", why=error.strerror or str(error))
            return False
        return True

    async def _keep_writing_token(self) -> None:
        for delay in restarts():
            await trio.sleep(delay)
            if await self._write_token():
                return

    async def _open_admin(self, nursery: trio.Nursery) -> str:
        """Bind the admin API and serve it in a task of its own, again and again where it crashes."""
        admin = self._config.admin
        self._admin = await AdminServer.bind(admin)
        hosts = frozenset({admin.listen.host.lower(), *admin.hosts})
        api = guarded(application(self._admin_backend()), AccessPolicy(token=self._token, hosts=hosts))
        crashed = partial(log.exception, "admin API crashed")
        nursery.start_soon(_keep_running, partial(self._admin.run, api), crashed)
        return str(self._admin.bound)

    def _admin_backend(self) -> RunningBackend:
        return RunningBackend(
            status=self.status,
            spool=self._spool,
            state=self._state,
            destinations=self._dispatcher.statistics,
            discard_step=self._mpps.discard,
            rescan=self._dispatcher.rescan,
        )

    @asynccontextmanager
    async def _open_doors(self, nursery: trio.Nursery) -> AsyncIterator[list[str]]:
        """Listen on every address of the configuration while the block lasts."""
        async with trio.open_nursery() as listening:
            bound = []
            for listener in self._config.listeners:
                bound += await self._listen(listener, listening, nursery)
            yield bound
            listening.cancel_scope.cancel()

    async def _listen(self, listener: Listener, listening: trio.Nursery, serving: trio.Nursery) -> list[str]:
        address = listener.address
        try:
            sockets = await trio.open_tcp_listeners(address.port, host=address.host, backlog=_BACKLOG)
        except OSError as error:
            raise OSError(error.errno, f"cannot listen on {address}: {error.strerror or error}") from error

        async def greet(stream: trio.SocketStream) -> None:
            await self._serve(stream, listener)

        listening.start_soon(partial(trio.serve_listeners, greet, sockets, handler_nursery=serving))
        return [str(evolve(address, port=one.socket.getsockname()[1])) for one in sockets]

    async def _serve(self, stream: trio.SocketStream, listener: Listener) -> None:
        """One connection, whatever happens to it: nothing here may end the router."""
        try:
            peer = stream.socket.getpeername()[0]
        except OSError:  # gone before we looked
            stream.socket.close()
            return
        with self._reception.doors.count_socket(peer) as admitted:
            if not admitted:
                stream.socket.close()
                return
            try:
                await self._serve_association(stream, peer, listener)
            except Exception:
                log.exception("association crashed", peer=peer)
            finally:
                stream.socket.close()  # where no acceptor has taken its descriptor

    async def _serve_association(self, stream: trio.SocketStream, peer: str, listener: Listener) -> None:
        acceptor = Acceptor(stream.socket, peer, listener, self._reception)
        self._acceptors.add(acceptor)
        try:
            await acceptor.run()
        finally:
            self._acceptors.discard(acceptor)
            if self._stopping.is_set() and not self._acceptors:
                self._nobody_left.set()

    async def _wind_down(self) -> None:
        """Let what is in flight come to its end, for `shutdown_grace` at the most."""
        grace = self._config.router.shutdown_grace
        log.info("stopping", associations=len(self._acceptors), grace_seconds=grace)
        with trio.move_on_after(grace) as patience:
            self._dispatcher.drain()
            if not self._acceptors:
                self._nobody_left.set()
            for acceptor in list(self._acceptors):
                acceptor.drain()
            await self._nobody_left.wait()
            await self._dispatcher.drained.wait()
            await self._pools.drain()
        if patience.cancelled_caught:
            log.warning("cut off what was still in flight", associations=len(self._acceptors))


async def _keep_running(run: Callable[[], Awaitable[None]], crashed: Callable[..., None]) -> None:
    """Run something in the background, again and again where it crashes; `crashed` logs it. Only the spool's failure
    comes out."""
    for delay in restarts():
        try:
            await run()
        except* (SpoolFailure, SpoolClosed):
            raise
        except* Exception:
            crashed(restart_seconds=delay)
        await trio.sleep(delay)


def _tell_restarts(started_with: Config, config: Config) -> None:
    """Log what has changed since the start and is not in force before the next one."""
    changed = [name for name in ("listeners", "spool", "admin") if getattr(config, name) != getattr(started_with, name)]
    if config.router.spool != started_with.router.spool:
        changed.append("router.spool")
    for section in changed:
        log.warning("a change that needs a restart", section=section)


def _account(numbers: dict[str, int], actor: dict[str, Any]) -> dict[str, Any]:
    """One destination's five numbers, which always add up to what was accepted for it, and its actor's state."""
    in_flight = actor.pop("in_flight", 0)
    waiting = max(0, numbers.get("waiting", 0) - in_flight)
    five = {
        "waiting": waiting,
        "in_flight": numbers.get("waiting", 0) - waiting,
        "delivered": numbers.get("delivered", 0),
        "held": numbers.get("held", 0),
        "discarded": numbers.get("discarded", 0),
    }
    return five | {"accepted": sum(five.values())} | {f"actor_{key}": value for key, value in actor.items()}


def _promised(sent: Totals, retained: Totals) -> dict[str, int]:
    """Of a destination that has to commit: how many objects it has promised to keep, and of how many that it was
    given it has not. Each object that it does not have yet is retained too."""
    gap = retained.waiting + retained.held - sent.waiting - sent.held
    return {"committed": retained.delivered, "gap": max(0, gap)}


async def serve(config: Config, spool: Spool) -> None:
    """`dicom-router run`: a router that obeys signals. SIGTERM and SIGINT stop it, SIGHUP reloads its file."""
    router = Router(config, spool)
    async with trio.open_nursery() as nursery:
        await nursery.start(_obey_signals, router, config)
        await router.run()
        nursery.cancel_scope.cancel()


async def _obey_signals(
    router: Router, config: Config, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    ask, asked = trio.open_memory_channel[Path](1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_reload, router, asked)
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            task_status.started()
            async for number in signals:
                if number != signal.SIGHUP:
                    router.stop()
                elif config.path is not None:
                    with suppress(trio.WouldBlock):  # one is asked for already, and has yet to read the file
                        ask.send_nowait(config.path)


async def _reload(router: Router, asked: trio.MemoryReceiveChannel[Path]) -> None:
    """Reload the file whenever that is asked for, from the moment on at which the router is ready."""
    await router.ready.wait()
    async for path in asked:
        try:
            config = await trio.to_thread.run_sync(load_config, path, limiter=COMPUTING)
        except ConfigError as error:
            log.error("not reloaded: the configuration has faults", faults=[str(f) for f in error.faults])
        except Exception:
            log.exception("not reloaded: the configuration could not be read", file=str(path))
        else:
            router.reload(config)
