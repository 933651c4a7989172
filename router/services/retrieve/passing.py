"""Pass a C-MOVE on: each archive is told to send to the destination itself.

The archives are asked at once, with the client's identifier and the AE title of the destination. What an archive says
of its sub-operations is added up: the counts and the failed list are the archives' own, because nothing comes through
the router. An instance that two archives have is sent twice. Not here: the client (`scp`).
"""

from collections.abc import Mapping
from typing import Final

import structlog
import trio
from attrs import field, frozen

from router.config import Peer
from router.dicom.dataset import DataSet, identifier
from router.dicom.encoding import MalformedDataSet
from router.dimse import (
    DATA_SET,
    Command,
    CommandField,
    Response,
    Status,
    StatusClass,
    describe,
    status_class,
)
from router.logs import escaped
from router.services.base import Request, ServiceContext
from router.services.conversations import Conversation
from router.services.peers import PeerConversation, PeerRequest, PeerUnanswered
from router.services.query.identifier import PROPOSED_SYNTAXES, decode_identifier, encode_identifier
from router.services.refusal import refuse, refuse_for_failure
from router.services.retrieve.fetch import DRAIN, POOL
from router.services.retrieve.responses import FAILED_SOP_INSTANCE_UID_LIST, final_status, final_with
from router.services.retrieve.retrieval import Archive, Order
from router.services.retrieve.sub_operations import Counts

log = structlog.get_logger()


@frozen(kw_only=True)
class _Told:
    """The last words of one archive."""

    counts: Counts = field(factory=Counts)
    status: int | None = None
    """Status of the final response."""
    failed: tuple[str, ...] = ()
    cause: str = ""
    """Why there is no final response."""

    @property
    def has_ended(self) -> bool:
        return self.status is not None or bool(self.cause)


class Passing:
    """One C-MOVE that is passed on. `run` performs it; the rest is told and read meanwhile."""

    def __init__(self, order: Order, destination: Peer, keys: DataSet, context: ServiceContext) -> None:
        self.finished: Final = trio.Event()
        self.cancelled: Final = trio.Event()
        self.changed: Final = trio.lowlevel.ParkingLot()
        self.is_slow = False
        self._order: Final = order
        self._destination: Final = destination
        self._keys: Final = keys
        self._context: Final = context
        self._told: dict[str, _Told] = {}
        self._has_crashed = False

    def cancel(self) -> None:
        """Have the archives stop."""
        self.cancelled.set()
        self.changed.unpark_all()

    @property
    def counts(self) -> Counts | None:
        """The sums of the archives' counts; None until each has said something."""
        if len(self._told) < len(self._order.archives):
            return None
        return _sum([one.counts for one in self._told.values()])

    async def run(self) -> None:
        """Ask all archives. An exception of our own code ends this one only."""
        sender = self._order.request.sender
        try:
            with self._context.conversations.begin(
                service="retrieve",
                calling_ae=sender.calling_ae,
                called_ae=sender.called_ae,
                peer=sender.peer,
                association=self._order.request.association,
                what=self._order.what,
            ) as record:
                async with trio.open_nursery() as nursery:
                    for archive in self._order.archives:
                        nursery.start_soon(self._pass_to, archive, record)
                counts = self.counts or Counts()
                record.counts(
                    remaining=counts.remaining,
                    completed=counts.completed,
                    failed=counts.failed,
                    warning=counts.warning,
                )
                record.finish(describe(self._final_status(), "retrieve"))
        except Exception:
            self._has_crashed = True
            log.exception("retrieve crashed", calling_ae=escaped(sender.calling_ae), peer=sender.peer)
        finally:
            self.finished.set()
            self.changed.unpark_all()

    async def _pass_to(self, archive: Archive, record: Conversation) -> None:
        entry = record.archive(archive.name)
        entry.asked += 1
        under_way: list[PeerConversation] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._cancel_when_told, under_way, nursery.cancel_scope)
            try:
                async with self._context.peers.converse(self._request_to(archive)) as conversation:
                    under_way.append(conversation)
                    await self._follow_responses(archive.name, conversation)
            except PeerUnanswered as error:
                self._give_up_on(archive.name, cause=str(error))
            nursery.cancel_scope.cancel()
        if archive.name not in self._told or not self._told[archive.name].has_ended:
            self._give_up_on(archive.name, cause="cancelled")
        told = self._told[archive.name]
        entry.matches, entry.failed = told.counts.completed + told.counts.warning, told.counts.failed
        entry.answered("" if told.status is None else describe(told.status, "retrieve"), told.cause)

    def _request_to(self, archive: Archive) -> PeerRequest:
        command = self._order.request.command
        return PeerRequest(
            peer=archive.retrieve.name,
            abstract_syntax=self._order.request.abstract_syntax,
            transfer_syntaxes=PROPOSED_SYNTAXES,
            command=Command(
                field=CommandField.C_MOVE_RQ,
                affected_sop_class_uid=self._order.request.abstract_syntax,
                priority=command.priority or 0,
                move_destination=self._destination.ae_title,
                data_set_type=DATA_SET,
            ),
            data_set=lambda context: encode_identifier(self._keys, context.transfer_syntax),
            deadline=self._order.options.deadline,
            connect=self._order.options.connect,
            patience=float("inf"),
            pool=POOL,
        )

    async def _follow_responses(self, name: str, conversation: PeerConversation) -> None:
        """Read the responses of one archive to the final one, or until it is silent for too long."""
        options = self._order.options
        patience = options.first_answer
        while True:
            with trio.move_on_after(patience) as waiting:
                response = await anext(conversation)
            if waiting.cancelled_caught:
                self._give_up_on(name, cause=f"silent for {patience:g} s")
                return
            patience = options.between_answers
            self._note_response(name, response, conversation.context.transfer_syntax)
            if not response.is_pending:
                return

    async def _cancel_when_told(self, under_way: list[PeerConversation], scope: trio.CancelScope) -> None:
        """When the retrieve is cancelled, have the archive end; `scope` ends all of it."""
        await self.cancelled.wait()
        if not under_way:
            scope.cancel()
            return
        scope.deadline = trio.current_time() + DRAIN
        try:
            await under_way[0].cancel()
        except PeerUnanswered:
            scope.cancel()

    def _note_response(self, name: str, response: Response, transfer_syntax: str) -> None:
        command = response.command
        self.is_slow |= response.status == Status.PENDING_FOR_LONG
        counts = Counts(
            remaining=command.number_of_remaining_suboperations or 0,
            completed=command.number_of_completed_suboperations or 0,
            failed=command.number_of_failed_suboperations or 0,
            warning=command.number_of_warning_suboperations or 0,
        )
        if response.is_pending:
            self._told[name] = _Told(counts=counts)
        else:
            if command.number_of_completed_suboperations is None and name in self._told:
                counts = _ended(self._told[name].counts, response.status)
            failed = _failed_uids(response, transfer_syntax)
            self._told[name] = _Told(counts=counts, status=response.status, failed=failed)
        self.changed.unpark_all()

    def _give_up_on(self, name: str, cause: str) -> None:
        """Note that an archive says nothing more: what remained has failed."""
        counts = self._told.get(name, _Told()).counts
        failed = counts.failed + (0 if self.cancelled.is_set() else counts.remaining)
        remaining = counts.remaining if self.cancelled.is_set() else 0
        counts = Counts(remaining=remaining, completed=counts.completed, failed=failed, warning=counts.warning)
        self._told[name] = _Told(counts=counts, cause=cause)
        self.changed.unpark_all()

    # The end

    def response(self) -> Response:
        """Return the final response, after `run`."""
        request: Request = self._order.request
        if self._has_crashed:
            return Response(refuse_for_failure(request))
        status, silence, counts = self._final_status(), _silence(self._told), self.counts or Counts()
        if status == Status.UNABLE_TO_COUNT_MATCHES and silence and not counts.total:
            return Response(refuse(request, Status.UNABLE_TO_COUNT_MATCHES, silence))
        failed = [uid for one in self._told.values() for uid in one.failed]
        return final_with(request, status, counts, list(dict.fromkeys(failed)), silence)

    def _final_status(self) -> int:
        """Return the status that says the worst that is true of all archives together."""
        if self.cancelled.is_set():
            return Status.CANCEL
        if _silence(self._told):
            return Status.UNABLE_TO_COUNT_MATCHES
        counts = self.counts or Counts()
        statuses = [one.status for one in self._told.values() if one.status is not None]
        failures = [one for one in statuses if status_class(one) in (StatusClass.FAILURE, StatusClass.CANCEL)]
        if failures and len(failures) == len(statuses):
            return failures[0]
        if failures or any(status_class(one) is StatusClass.WARNING for one in statuses):
            return Status.SUBOPERATIONS_COMPLETE_WITH_FAILURES
        return final_status(counts)


def _silence(told: Mapping[str, _Told]) -> str:
    return ", ".join(f"no answer from {name}: {one.cause}" for name, one in told.items() if one.cause)


def _ended(counts: Counts, status: int) -> Counts:
    """Return the last counts of an archive whose final response has none."""
    is_success = status == Status.SUCCESS
    return Counts(
        completed=counts.completed + (counts.remaining if is_success else 0),
        failed=counts.failed + (0 if is_success else counts.remaining),
        warning=counts.warning,
    )


def _sum(some: list[Counts]) -> Counts:
    return Counts(
        remaining=sum(one.remaining for one in some),
        completed=sum(one.completed for one in some),
        failed=sum(one.failed for one in some),
        warning=sum(one.warning for one in some),
    )


def _failed_uids(response: Response, transfer_syntax: str) -> tuple[str, ...]:
    """Return the Failed SOP Instance UID List of a final response; none if it cannot be read."""
    try:
        listed = decode_identifier(response.data_set, transfer_syntax)
    except MalformedDataSet:
        return ()
    return tuple(filter(None, identifier(listed, FAILED_SOP_INSTANCE_UID_LIST).split("\\")))
