"""Storage (PS3.4 Annex B): any SOP class, any transfer syntax, kept bit for bit.

As SCP: a request is admitted by its command set, before its data set comes in. Then the scanner reads as far into the
data set as the routing table needs, the destinations are frozen into the envelope, and the spool makes both durable.
Only then is 0000H sent.
"""

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, ClassVar, Final, Literal

import trio
from attrs import evolve, frozen

from pdu import ContextResult
from router.concurrency import COMPUTING, DISK_OUT
from router.config import Config, RouteOptions, ServiceOptions
from router.config.conditions import required_element
from router.config.identifiers import one_of
from router.config.keys import (
    ANY_SOP_CLASS,
    ANY_TRANSFER_SYNTAX,
    ANYTHING,
    Patterns,
    RankedTransferSyntaxes,
    SOPClasses,
    TransferSyntaxes,
)
from router.config.reading import Each, One
from router.dicom.encoding import MalformedDataSet, TooMuchToRead
from router.dicom.scanner import AT_ONCE, IN_ALL, Bounds, scan
from router.dicom.tags import SOP_CLASS_UID, SOP_INSTANCE_UID, tag_name
from router.dicom.uids import is_storage_sop_class, is_uid
from router.dimse import Command, CommandField, Response, Status, response_to
from router.model import Envelope, Purpose, Recipient
from router.routing import Facts, RoutingTable
from router.services.arrivals import Arrival
from router.services.base import SCP, Allowance, Change, Proposal, Replies, Request, ServiceContext
from router.services.commitment.options import commitment_of
from router.services.refusal import refuse, refuse_for_space
from router.services.storage_delivery import StorageDelivery, StoragePeerOptions
from router.spool import DuplicateRefused, Incoming, OutOfSpace

_MOST_KNOWN: Final = 1024
"""Combinations of sender, SOP class and transfer syntax whose recipients are kept."""

Elements = Mapping[int, tuple[str, ...]]
"""Values by tag."""


@frozen(kw_only=True)
class StorageSettings:
    """[storage]: which objects the storage service accepts, and from whom."""

    sop_classes: SOPClasses = ANY_SOP_CLASS
    transfer_syntaxes: TransferSyntaxes = ANY_TRANSFER_SYNTAX
    prefer: RankedTransferSyntaxes = ()
    calling_ae: Patterns = ANYTHING
    duplicates: Annotated[Literal["forward", "hold", "refuse"], One(one_of("forward", "hold", "refuse"))] = "forward"
    require: Annotated[tuple[int, ...], Each(required_element)] = ()


def _with_duplicates(config: Config) -> Config:
    """Return the configuration with the spool's settings for duplicates, which stand in [storage]."""
    duplicates = config.options[StorageSettings].duplicates
    return evolve(config, spool=evolve(config.spool, duplicates=duplicates))


class Storage(SCP, StorageDelivery):
    """C-STORE, both roles."""

    name: ClassVar[str] = "storage"
    options: ClassVar[ServiceOptions] = ServiceOptions(
        route=RouteOptions,
        peer=StoragePeerOptions,
        tables={"storage": StorageSettings},
        complete=_with_duplicates,
    )
    requests: ClassVar[frozenset[int]] = frozenset({CommandField.C_STORE_RQ})
    parallel: ClassVar[bool] = True

    def __init__(self, context: ServiceContext) -> None:
        self._spool = context.spool
        self._arrivals = context.arrivals
        self.prepare(context.config)()

    def prepare(self, config: Config) -> Change:
        return partial(self._adopt, config, RoutingTable(config.routes))

    def _adopt(self, config: Config, table: RoutingTable) -> None:
        self._settings = config.options[StorageSettings]
        self._allowance = Allowance(largest=config.limits.object_size or None)
        self._has_retrieves = any(route.service == "retrieve" for route in config.routes)
        self._holds_unrouted = config.router.unrouted == "hold"
        self._table = table
        self._committing = {peer.name for peer in config.peers.values() if commitment_of(peer).request}
        self.use_peers(config)
        self._recipients_known: dict[tuple[str, ...], tuple[Recipient, ...]] = {}
        self._wanted = self._table.elements | {SOP_CLASS_UID, SOP_INSTANCE_UID, *self._settings.require}

    def negotiate(self, proposal: Proposal) -> str | ContextResult | None:
        if not is_storage_sop_class(proposal.abstract_syntax):
            return None
        if not self._settings.sop_classes.matches(proposal.abstract_syntax):
            return ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED
        return proposal.choose(self._accepts_transfer_syntax, self._settings.prefer)

    def roles(self, proposal: Proposal) -> tuple[bool, bool]:
        """Allow the requestor to be SCP: it may get instances by C-GET (PS3.4 C.5.3)."""
        return True, self._has_retrieves

    def _accepts_transfer_syntax(self, uid: str) -> bool:
        return is_uid(uid) and self._settings.transfer_syntaxes.matches(uid)

    def admit(self, request: Request) -> Command | Allowance:
        command, sender = request.command, request.sender
        if not self._settings.calling_ae.matches(sender.calling_ae) and not self._is_expected(request):
            return refuse(request, Status.NOT_AUTHORIZED, f"{sender.calling_ae} may not store here")
        if missing := [name for name in command.missing() if name.startswith("affected")]:
            names = ", ".join(name.replace("_", " ") for name in missing)
            return refuse(request, Status.DATA_SET_DOES_NOT_MATCH, f"command set without {names}")
        if command.affected_sop_class_uid != request.abstract_syntax:
            return refuse(request, Status.SOP_CLASS_NOT_SUPPORTED, "SOP class is not the presentation context's")
        if not is_uid(command.sop_instance_uid):
            return refuse(request, Status.INVALID_SOP_INSTANCE, "the SOP Instance UID is no UID")
        if not command.has_data_set:
            return refuse(request, Status.CANNOT_UNDERSTAND, "C-STORE-RQ without a data set")
        return self._allowance

    async def perform(self, request: Request, data: Incoming | None, replies: Replies) -> Response:
        return Response(await self._store(request, data))

    async def accept_fetched(self, request: Request, data: Incoming) -> int:
        """Accept an object that the router has fetched, as if its archive had sent it; return the status."""
        return Response(await self._store(request, data, is_fetched=True)).status

    async def _store(self, request: Request, data: Incoming | None, *, is_fetched: bool = False) -> Command:
        assert data is not None, "admit() lets no C-STORE-RQ without a data set through"
        command = request.command
        try:
            elements = await self._read(data, request.transfer_syntax)
        except MalformedDataSet as error:
            return refuse(request, Status.CANNOT_UNDERSTAND, str(error))
        if message := _disagreement(command, elements):
            return refuse(request, Status.DATA_SET_DOES_NOT_MATCH, message, offending_element=(SOP_INSTANCE_UID,))
        expected = self._arrivals.find(arrival := arrival_of(request)) if self._arrivals and not is_fetched else None
        if expected is not None:
            return response_to(command, await expected.bring_in(arrival, data))
        if missing := [tag for tag in self._settings.require if not any(elements.get(tag, ()))]:
            message = f"the data set has no {', '.join(map(tag_name, missing))}"
            return refuse(request, Status.DATA_SET_DOES_NOT_MATCH, message, offending_element=tuple(missing))
        recipients = self._recipients(request, elements)
        if not recipients and not self._holds_unrouted:
            return refuse(
                request, Status.CANNOT_UNDERSTAND, "no route of this router takes the object", named="unrouted"
            )
        return await self._commit(request, data, recipients)

    def _is_expected(self, request: Request) -> bool:
        return bool(self._arrivals) and self._arrivals.find(arrival_of(request)) is not None

    async def _read(self, data: Incoming, transfer_syntax: str) -> Elements:
        """Read the wanted elements. Reading much for them waits for other such reads, and delays no small ones."""
        try:
            if data.file is None:
                return self._scan(data, transfer_syntax, AT_ONCE)
            # pages of its file may have to be read
            return await trio.to_thread.run_sync(self._scan, data, transfer_syntax, AT_ONCE, limiter=DISK_OUT)
        except TooMuchToRead:
            return await trio.to_thread.run_sync(self._scan, data, transfer_syntax, IN_ALL, limiter=COMPUTING)

    def _scan(self, data: Incoming, transfer_syntax: str, bounds: Bounds) -> Elements:
        with data.view() as view:
            return scan(view, transfer_syntax, self._wanted, bounds)

    def _recipients(self, request: Request, elements: Elements) -> tuple[Recipient, ...]:
        """Match the routes. The result is kept where no route looks at the data set."""
        sender = request.sender
        key = sender.calling_ae, sender.called_ae, sender.peer, request.abstract_syntax, request.transfer_syntax
        if (known := self._recipients_known.get(key)) is not None:
            return known
        recipients = self._deliveries(self._table.match(self._facts(request, elements)).destinations)
        if not self._table.elements:
            if len(self._recipients_known) >= _MOST_KNOWN:
                self._recipients_known.clear()
            self._recipients_known[key] = recipients
        return recipients

    def _facts(self, request: Request, elements: Elements) -> Facts:
        return Facts(
            service=self.name,
            calling_ae=request.sender.calling_ae,
            called_ae=request.sender.called_ae,
            peer=request.sender.peer,
            sop_class=request.abstract_syntax,
            transfer_syntax=request.transfer_syntax,
            elements=elements,
        )

    async def _commit(self, request: Request, data: Incoming, recipients: tuple[Recipient, ...]) -> Command:
        command, sender = request.command, request.sender
        envelope = Envelope(
            kind=command.name,
            command=request.command_bytes,
            service=self.name,
            abstract_syntax=request.abstract_syntax,
            transfer_syntax=request.transfer_syntax,
            sop_class_uid=command.sop_class_uid,
            sop_instance_uid=command.sop_instance_uid,
            calling_ae=sender.calling_ae,
            called_ae=sender.called_ae,
            peer=sender.peer,
            received=time.time(),
            deliveries=recipients,
        )
        try:
            await self._spool.intake.store(data, envelope)
        except OutOfSpace:
            return refuse_for_space(request)
        except DuplicateRefused:
            return refuse(
                request,
                Status.CANNOT_UNDERSTAND,
                "another object with this SOP Instance UID is waiting",
                named="duplicate",
            )
        return response_to(command, Status.SUCCESS)

    def _deliveries(self, destinations: Sequence[str]) -> tuple[Recipient, ...]:
        """Return a delivery to each destination, and a second one, to retain the object, if the archive must commit."""
        sent = (Recipient(destination=name) for name in destinations)
        retained = (
            Recipient(destination=name, purpose=Purpose.RETAIN) for name in destinations if name in self._committing
        )
        return (*sent, *retained)


def arrival_of(request: Request) -> Arrival:
    """Return the C-STORE-RQ of a request, to look up whether it was asked for."""
    return Arrival(
        command=request.command,
        transfer_syntax=request.transfer_syntax,
        calling_ae=request.sender.calling_ae,
        called_ae=request.sender.called_ae,
        peer=request.sender.peer,
    )


def _disagreement(command: Command, elements: Elements) -> str:
    """Return how the UIDs of the data set disagree with those of the command set, or "" if they agree."""
    for tag, expected, name in (
        (SOP_CLASS_UID, command.affected_sop_class_uid, "SOP Class UID"),
        (SOP_INSTANCE_UID, command.affected_sop_instance_uid, "SOP Instance UID"),
    ):
        found = elements.get(tag, ())
        if not any(found):
            return f"the data set has no {name}"
        if found != (expected,):
            return f"{name} differs between command and data set"
    return ""
