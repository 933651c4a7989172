"""Fetch instances from one archive, by C-GET, or by C-MOVE to ourselves.

The instances come in as C-STOREs, which the router's services perform (`router.services.arrivals`); here the request is
made, its responses are read, and the archive is given up when it is silent for too long. Counts and final status of the
archive decide nothing: an instance has come or has not. Not here: which instances (`plan`), and what becomes of them.
"""

from enum import Enum
from typing import ClassVar, Final

import trio
from attrs import frozen

from pdu import ContextResult, RoleSelection
from router.config import Peer
from router.dicom.dataset import DataSet, element
from router.dicom.information_models import (
    IMAGE,
    INSTANCE_UID,
    PATIENT,
    PATIENT_ID,
    QUERY_RETRIEVE_LEVEL,
    SERIES_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    STUDY_ROOT,
    InformationModel,
)
from router.dimse import (
    DATA_SET,
    Command,
    CommandField,
    Priority,
    Response,
    Status,
    StatusClass,
    describe,
    response_to,
    status_class,
)
from router.services.arrivals import Accept, Arrivals, Expected
from router.services.base import SCP, Allowance, Proposal, Replies, Request
from router.services.peers import ContextRefused, PeerConversation, PeerRequest, Peers, PeerUnanswered
from router.services.query.identifier import PROPOSED_SYNTAXES, encode_identifier
from router.services.retrieve.plan import Batch, Instance, Operation, Part
from router.services.storage import arrival_of
from router.spool import Incoming

POOL: Final = "retrieve"
DRAIN: Final = 2.0
"""Seconds that an archive has to end a cancelled operation; then the association is aborted."""
LATE: Final = 5.0
"""Seconds of silence after which an archive that has said that it has sent everything will send nothing more: some
say so as soon as they have queued the instances."""


class Lost(Enum):
    """What cannot be asked for any more."""

    NOTHING = "nothing"
    WAY = "way"
    """The archive does not perform the operation."""
    ARCHIVE = "archive"


@frozen(kw_only=True)
class FetchEnd:
    """How the requests to one archive ended."""

    lost: Lost = Lost.NOTHING
    status: str = ""
    """The last final status in words."""
    cause: str = ""
    """Why an operation had no final response, or failed; "" if none did."""
    asked: int = 0


class Deliveries(SCP):
    """Performs the C-STOREs that an archive invokes on the association of a C-GET."""

    name: ClassVar[str] = "retrieve"
    requests: ClassVar[frozenset[int]] = frozenset({CommandField.C_STORE_RQ})

    def __init__(self, expected: Expected) -> None:
        self._expected = expected

    def negotiate(self, proposal: Proposal) -> str | ContextResult | None:
        return proposal.transfer_syntaxes[0]

    def admit(self, request: Request) -> Command | Allowance:
        if self._expected.is_closed or not request.command.has_data_set:
            return response_to(request.command, Status.CANNOT_UNDERSTAND)
        return Allowance(largest=None)

    async def perform(self, request: Request, data: Incoming | None, replies: Replies) -> Response:
        assert data is not None, "admit() lets no C-STORE-RQ without a data set through"
        return Response(response_to(request.command, await self._expected.bring_in(arrival_of(request), data)))


@frozen(kw_only=True)
class FetchSettings:
    """How one retrieve asks its archives."""

    priority: int = Priority.MEDIUM
    connect: float = 5.0
    """Seconds to connect and negotiate, where no association of the pool can be used."""
    silence: float = 60.0
    """Seconds without a response or an instance after which an archive is given up."""
    deadline: float = 86400.0
    """Seconds that waiting for an association may take."""


class Fetcher:
    """Asks archives for instances."""

    def __init__(
        self, peers: Peers, arrivals: Arrivals, accept: Accept, settings: FetchSettings, cancelled: trio.Event
    ) -> None:
        self._peers = peers
        self._arrivals = arrivals
        self._accept = accept
        self._settings = settings
        self._cancelled = cancelled
        self.is_slow = False
        """Whether an archive has said that it will take long (FF02H)."""

    async def fetch(
        self,
        archive: Peer,
        titles: frozenset[str],
        operation: Operation,
        batch: Batch,
        model: InformationModel = STUDY_ROOT,
    ) -> FetchEnd:
        """Ask for what is in a batch, part by part. Return when the archive has sent it, or nothing more comes.

        `archive` is the AE that is asked, in `model`, `titles` those that may send.
        """
        expected = Expected(
            (instance.uid for part in batch.parts for instance in part.instances),
            self._accept,
            titles=titles,
            host=archive.address.host if archive.address else "",
            originator=archive.calling_ae,
        )
        end = FetchEnd()
        with self._arrivals.expect(expected):
            deliveries = Deliveries(expected)
            for part in batch.parts:
                if self._cancelled.is_set():
                    break
                request = self._request(archive, operation, batch, part, deliveries, model)
                end = await _Asking(request, expected, self).run(self._peers)
                if end.lost is not Lost.NOTHING:
                    return end
        return FetchEnd(lost=end.lost, status=end.status, cause=end.cause, asked=len(batch.parts))

    @property
    def silence(self) -> float:
        return self._settings.silence

    @property
    def cancelled(self) -> trio.Event:
        return self._cancelled

    def _request(
        self,
        archive: Peer,
        operation: Operation,
        batch: Batch,
        part: Part,
        deliveries: Deliveries,
        model: InformationModel,
    ) -> PeerRequest:
        is_get = operation is Operation.GET
        sop_class = model.get if is_get else model.move
        keys = _keys(part.level, part.instances, model)
        return PeerRequest(
            peer=archive.name,
            abstract_syntax=sop_class,
            transfer_syntaxes=PROPOSED_SYNTAXES,
            command=Command(
                field=CommandField.C_GET_RQ if is_get else CommandField.C_MOVE_RQ,
                affected_sop_class_uid=sop_class,
                priority=self._settings.priority,
                move_destination=None if is_get else archive.calling_ae,
                data_set_type=DATA_SET,
            ),
            data_set=lambda context: encode_identifier(keys, context.transfer_syntax),
            deadline=self._settings.deadline,
            connect=self._settings.connect,
            patience=float("inf"),  # silence is measured here, because instances break it
            further=tuple((uid, (syntax,)) for uid, syntax in batch.contexts),
            roles=tuple(RoleSelection(sop_class_uid=uid, scu_role=False, scp_role=True) for uid in batch.sop_classes),
            performer=deliveries,
            pool=POOL,
        )


def _keys(level: str, instances: tuple[Instance, ...], model: InformationModel) -> DataSet:
    first = instances[0]
    keys = {
        QUERY_RETRIEVE_LEVEL: element("CS", level),
        STUDY_INSTANCE_UID: element("UI", first.study),
        SERIES_INSTANCE_UID: element("UI", first.series),
    }
    if PATIENT in model.levels:
        keys[PATIENT_ID] = element("LO", first.patient)
    if level == IMAGE:
        keys[INSTANCE_UID] = element("UI", "\\".join(instance.uid for instance in instances))
    return keys


class _Asking:
    """One C-GET or C-MOVE, from the association to its end."""

    def __init__(self, request: PeerRequest, expected: Expected, fetcher: Fetcher) -> None:
        self._request = request
        self._expected = expected
        self._fetcher = fetcher
        self._conversation: PeerConversation | None = None
        self._end = FetchEnd()

    async def run(self, peers: Peers) -> FetchEnd:
        """Ask, and read the responses to the end."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._cancel_when_told, nursery.cancel_scope)
            await self._exchange(peers)
            await self._expected.wait_until_performed()  # an archive may die after it has sent one whole
            nursery.cancel_scope.cancel()
        return self._end

    async def _cancel_when_told(self, scope: trio.CancelScope) -> None:
        """When the retrieve is cancelled, have the archive end; `scope` ends all of it."""
        await self._fetcher.cancelled.wait()
        self._expected.is_closed = True
        if self._conversation is None:
            scope.cancel()
            return
        scope.deadline = trio.current_time() + DRAIN
        try:
            await self._conversation.cancel()
        except PeerUnanswered:
            scope.cancel()

    async def _exchange(self, peers: Peers) -> None:
        try:
            async with peers.converse(self._request) as conversation:
                self._conversation = conversation
                self._expected.message_id = conversation.request_message_id
                self._expected.last = trio.current_time()
                final = await self._read(conversation)
        except ContextRefused as error:
            self._end = FetchEnd(lost=Lost.WAY, cause=str(error))
            return
        except PeerUnanswered as error:
            lost = Lost.ARCHIVE if self._conversation is None else Lost.WAY
            self._end = FetchEnd(lost=lost, cause=str(error))
            return
        finally:
            self._conversation = None
        if final is None:
            self._end = FetchEnd(lost=Lost.ARCHIVE, cause=f"silent for {self._fetcher.silence:g} s")
            return
        status = describe(final.status, "retrieve")
        if status_class(final.status) in (StatusClass.SUCCESS, StatusClass.WARNING):
            if final.status == Status.SUCCESS and self._request.command.field == CommandField.C_MOVE_RQ:
                await self._expected.wait_for_late_ones(LATE)
            self._end = FetchEnd(status=status)
        else:
            self._end = FetchEnd(status=status, cause=status)

    async def _read(self, conversation: PeerConversation) -> Response | None:
        """Return the final response; None if the archive is silent for too long."""
        while True:
            response = await self._next(conversation)
            if response is None or not response.is_pending:
                return response
            self._fetcher.is_slow |= response.status == Status.PENDING_FOR_LONG

    async def _next(self, conversation: PeerConversation) -> Response | None:
        expected, silence = self._expected, self._fetcher.silence
        began = trio.current_time()
        while True:
            quiet_since = trio.current_time() if expected.performing else max(began, expected.last)
            with trio.move_on_at(quiet_since + silence):
                return await anext(conversation)
            if not expected.performing and trio.current_time() >= max(began, expected.last) + silence:
                return None
