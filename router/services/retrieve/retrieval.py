"""One retrieve: find the instances, fetch each once, and follow each to its end.

It is a task of its own, which the client's association is told about: where the client is lost, it may go on. An
instance that an archive does not give is asked of the next one that has it. Not here: the client (`scp`), and how an
instance reaches its destination (`spooled`, `through`).
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final, Protocol

import structlog
import trio
from attrs import asdict, evolve, frozen

from router.config import Peer
from router.dimse import Response, Status, StatusClass, describe, status_class
from router.logs import escaped
from router.services.arrivals import Arrival
from router.services.base import Request, ServiceContext
from router.services.conversations import Conversation
from router.services.query.ask import Deadlines
from router.services.query.options import PeerQuery, query_ae, query_of
from router.services.refusal import refuse, refuse_for_failure
from router.services.retrieve.fetch import Fetcher, FetchSettings, Lost
from router.services.retrieve.locate import Found, Locator, Wanted, model_for, most_uids_for
from router.services.retrieve.options import RetrieveRouteOptions, retrieve_ae, retrieve_of
from router.services.retrieve.plan import Instance, Operation, Sources, Way, batches
from router.services.retrieve.responses import final, final_status
from router.services.retrieve.sub_operations import Counts, End, SubOperations
from router.spool import Incoming, OutOfSpace

_WITHDRAWING: Final = 10.0
"""Seconds that the spool has to withdraw deliveries."""

log = structlog.get_logger()


@frozen(kw_only=True)
class Archive:
    """An archive of the route."""

    name: str
    """Of the peer."""
    query: str
    """The name of the AE that performs queries."""
    habits: PeerQuery
    """What it knows of queries; of information models and lists of UIDs, in retrieves too."""
    retrieve: Peer
    """The AE that performs retrieves."""
    operations: tuple[Operation, ...]
    titles: frozenset[str]
    """The AE titles under which its system may send."""


def archive_of(peer: Peer) -> Archive:
    """Return the archive that a peer of the configuration is."""
    return Archive(
        name=peer.name,
        query=query_ae(peer).name,
        habits=query_of(peer),
        retrieve=retrieve_ae(peer),
        operations=retrieve_of(peer).operations,
        titles=frozenset(ae.ae_title for ae in peer.aes()),
    )


@frozen(kw_only=True)
class Order:
    """What a client has asked for."""

    request: Request
    what: str
    """In words, without keys."""
    wanted: Wanted
    archives: tuple[Archive, ...]
    options: RetrieveRouteOptions
    refuses_no_match: bool = False
    storable: frozenset[tuple[str, str]] | None = None
    """Of a C-GET, the (SOP class, transfer syntax) pairs that the client accepts."""


class Delivery(Protocol):
    """The way of the instances to where the client wants them."""

    async def accept(self, arrival: Arrival, data: Incoming) -> int:
        """Accept an instance, and return the status to answer the archive."""

    async def close(self, *, withdraw: bool) -> None:
        """Follow what has not ended no longer; with `withdraw`, keep it from leaving."""


class Retrieval:
    """One retrieve. `run` performs it; the rest is told and read meanwhile."""

    def __init__(self, order: Order, context: ServiceContext) -> None:
        self.finished: Final = trio.Event()
        self.cancelled: Final = trio.Event()
        self.changed: Final = trio.lowlevel.ParkingLot()
        """Unparked when the counts have changed, and at the end."""
        self._order: Final = order
        self._context: Final = context
        self._operations: SubOperations | None = None
        self._arrived: Final[set[str]] = set()
        """Instances that have come and are on their way."""
        self._found: dict[str, Found] = {}
        self._unstorable: Final[set[str]] = set()
        """Instances that a client of C-GET has no presentation context for."""
        self._fetcher: Fetcher | None = None
        self._has_crashed = False
        self._record: Conversation | None = None

    # Told and read from outside

    def cancel(self) -> None:
        """Have the archives stop, and withdraw what has not been delivered."""
        self.cancelled.set()
        self._notify()

    @property
    def counts(self) -> Counts | None:
        """The numbers of sub-operations; None until the instances are known."""
        return self._operations.numbers if self._operations else None

    @property
    def conversation_number(self) -> int:
        """The number of its conversation; 0 before it runs."""
        return self._record.number if self._record else 0

    @property
    def is_slow(self) -> bool:
        """Whether an archive has said that it will take long (FF02H)."""
        return self._fetcher is not None and self._fetcher.is_slow

    def sub_operation_ended(self, uid: str, end: End) -> None:
        """Note how the sub-operation of an instance ended."""
        if self._operations is not None and self._operations.conclude(uid, end):
            self._notify()

    def _notify(self) -> None:
        if self._record is not None and (counts := self.counts) is not None:
            self._record.counts(**asdict(counts))
        self.changed.unpark_all()

    # The task

    async def run(self, delivery: Delivery) -> None:
        """Perform the retrieve. An exception of our own code ends this one only."""
        order, sender = self._order, self._order.request.sender
        try:
            with self._context.conversations.begin(
                service="retrieve",
                calling_ae=sender.calling_ae,
                called_ae=sender.called_ae,
                peer=sender.peer,
                association=order.request.association,
                what=order.what,
            ) as record:
                self._record = record
                self._notify()
                await self._perform(delivery, record)
        except Exception:
            self._has_crashed = True
            log.exception("retrieve crashed", calling_ae=escaped(sender.calling_ae), peer=sender.peer)
        finally:
            self.finished.set()
            self._notify()

    async def _perform(self, delivery: Delivery, record: Conversation) -> None:
        has_timed_out = False
        try:
            await self._locate(record)
            if self._operations is not None:
                await self._fetch(self._operations, delivery, record)
                has_timed_out = await self._wait_for_deliveries(self._operations)
        finally:
            withdraw = self.cancelled.is_set() or (has_timed_out and self._order.options.on_timeout == "withdraw")
            with trio.move_on_after(_WITHDRAWING, shield=True):
                await _close(delivery, withdraw=withdraw)
            if self._operations is not None:
                if not self.cancelled.is_set():
                    self._operations.fail_remaining()
                counts = self._operations.numbers
                record.counts(
                    remaining=counts.remaining,
                    completed=counts.completed,
                    failed=counts.failed,
                    warning=counts.warning,
                )
            record.finish(describe(self._final_status(), "retrieve"))

    async def _locate(self, record: Conversation) -> None:
        """Ask all archives at once which instances they have."""
        options = self._order.options
        deadlines = Deadlines(
            connect=options.connect,
            first_answer=options.first_answer,
            between_answers=options.between_answers,
            deadline=options.deadline,
        )
        found: dict[str, Found] = {}

        async def locate(archive: Archive) -> None:
            priority = self._order.request.command.priority or 0
            locator = Locator(self._context.peers, archive.query, deadlines, self.cancelled, archive.habits, priority)
            one = found[archive.name] = self._storable(await locator.locate(self._order.wanted))
            self._context.last_extended.update(one.extended)
            entry = record.archive(archive.name)
            entry.asked += one.queries
            if one.cause:
                entry.answered("", one.cause)

        async with trio.open_nursery() as nursery:
            for archive in self._order.archives:
                nursery.start_soon(locate, archive)
        self._found = {archive.name: found[archive.name] for archive in self._order.archives}
        if any(not one.cause for one in found.values()) or any(one.instances for one in found.values()):
            self._operations = SubOperations(uid for one in self._found.values() for uid in one.instances)
            self._notify()

    def _storable(self, found: Found) -> Found:
        """Return the instances with the transfer syntaxes in which a client of C-GET accepts them."""
        pairs = self._order.storable
        if pairs is None:
            return found
        syntaxes: dict[str, list[str]] = {}
        for sop_class, syntax in sorted(pairs):
            syntaxes.setdefault(sop_class, []).append(syntax)
        self._unstorable.update(
            one.uid for one in found.instances.values() if one.sop_class and one.sop_class not in syntaxes
        )
        instances = {
            uid: evolve(one, transfer_syntaxes=tuple(syntaxes.get(one.sop_class, ())))
            for uid, one in found.instances.items()
        }
        return evolve(found, instances=instances)

    async def _fetch(self, operations: SubOperations, delivery: Delivery, record: Conversation) -> None:
        """Ask for each instance, by one way after the other, until it has come or no way is left."""
        settings = FetchSettings(
            priority=self._order.request.command.priority or 0,
            connect=self._order.options.connect,
            silence=self._order.options.between_answers,
            deadline=self._order.options.deadline,
        )
        for uid in self._unstorable:
            self.sub_operation_ended(uid, End.FAILED)
        accept = partial(self._accept, delivery)
        self._fetcher = Fetcher(self._context.peers, self._context.arrivals, accept, settings, self.cancelled)
        archives = {archive.name: archive for archive in self._order.archives}
        sources = Sources(
            {name: found.instances.values() for name, found in self._found.items()},
            {name: archive.operations for name, archive in archives.items()},
        )
        with trio.move_on_after(self._order.options.deadline):
            while not self.cancelled.is_set() and (asked := sources.next(self._missing_uids(operations))):
                by_archive: dict[str, dict[Way, list[Instance]]] = {}
                for way, instances in asked.items():
                    by_archive.setdefault(way.archive, {})[way] = instances
                async with trio.open_nursery() as nursery:
                    for name, ways in by_archive.items():
                        nursery.start_soon(self._ask_archive, archives[name], ways, sources, record)
        if not self.cancelled.is_set():
            for uid in self._missing_uids(operations):
                self.sub_operation_ended(uid, End.FAILED)

    def _missing_uids(self, operations: SubOperations) -> list[str]:
        return [uid for uid in operations.remaining if uid not in self._arrived]

    async def _ask_archive(
        self, archive: Archive, ways: Mapping[Way, Sequence[Instance]], sources: Sources, record: Conversation
    ) -> None:
        """Ask one archive for instances, by one operation after the other."""
        assert self._fetcher is not None
        assert self._operations is not None
        entry = record.archive(archive.name)
        for way, instances in ways.items():
            sizes, most_uids = self._found[archive.name].sizes, most_uids_for(archive.habits)
            for batch in batches(instances, sizes, way.operation, most_uids=most_uids):
                end = await self._fetcher.fetch(
                    archive.retrieve, archive.titles, way.operation, batch, model_for(archive.habits)
                )
                entry.asked += end.asked
                entry.answered(end.status, end.cause)
                if end.lost is Lost.WAY:
                    sources.is_closed(way)
                    break
                if end.lost is Lost.ARCHIVE:
                    sources.is_lost(archive.name)
                    return
            missing = set(self._missing_uids(self._operations))
            lost = [instance.uid for instance in instances if instance.uid in missing]
            sources.strike(way, lost)
            entry.failed += len(lost)
            entry.matches += len(instances) - len(lost)
            if not self.cancelled.is_set():
                for uid in lost:
                    if not sources.next([uid]):
                        self.sub_operation_ended(uid, End.FAILED)

    async def _accept(self, delivery: Delivery, arrival: Arrival, data: Incoming) -> int:
        status = await delivery.accept(arrival, data)
        if status_class(status) in (StatusClass.SUCCESS, StatusClass.WARNING):
            self._arrived.add(arrival.instance_uid)
        return status

    async def _wait_for_deliveries(self, operations: SubOperations) -> bool:
        """Wait until every sub-operation has ended. Return whether `within` has passed before."""
        with trio.move_on_after(self._order.options.within) as waiting:
            while operations.numbers.remaining and not self.cancelled.is_set():
                await self.changed.park()
        return waiting.cancelled_caught

    # The end

    def response(self) -> Response:
        """Return the final response, after `run`."""
        request, operations = self._order.request, self._operations
        if self._has_crashed:
            return Response(refuse_for_failure(request))
        status = self._final_status()
        if self.cancelled.is_set():
            return final(request, status, operations or SubOperations(()))
        if operations is None:
            return Response(refuse(request, Status.UNABLE_TO_COUNT_MATCHES, self._silence))
        if not operations.numbers.total and status == Status.UNABLE_TO_COUNT_MATCHES:
            return Response(refuse(request, Status.UNABLE_TO_COUNT_MATCHES, self._silence or "no instance matches"))
        return final(request, status, operations, self._silence)

    def _final_status(self) -> Status:
        if self.cancelled.is_set():
            return Status.CANCEL
        if self._operations is None or self._silence:
            return Status.UNABLE_TO_COUNT_MATCHES
        counts = self._operations.numbers
        if not counts.total and self._order.refuses_no_match:
            return Status.UNABLE_TO_COUNT_MATCHES
        return final_status(counts)

    @property
    def _silence(self) -> str:
        """Say which archives have not said what they have; "" if all have."""
        return ", ".join(f"no answer from {name}: {one.cause}" for name, one in self._found.items() if one.cause)


async def _close(delivery: Delivery, *, withdraw: bool) -> None:
    try:
        await delivery.close(withdraw=withdraw)
    except OutOfSpace:
        log.warning("what was not delivered of a retrieve could not be withdrawn: the disk is full")
