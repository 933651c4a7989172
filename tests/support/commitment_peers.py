"""Archives and modalities that speak storage commitment by a script, on real sockets, in this process."""

from typing import Any

import trio
from attrs import define, evolve, field

from pdu import AssociateAC, AssociateRQ, RoleSelection, UserInformation, negotiate
from router.association import InMemory, RemoteAE, Requestor, plan_contexts
from router.association.transport import Transport
from router.config import Timeouts
from router.dimse import Command, CommandField, MessageBegin, encode, n_requests, response_to
from router.services.commitment.attributes import (
    STORAGE_COMMITMENT,
    WELL_KNOWN_INSTANCE,
    CommitmentRequest,
    read_report,
    read_request,
    write_report,
    write_request,
)
from router.services.commitment.transaction import (
    COMMITTED,
    ArchiveResult,
    InstanceResult,
    Reference,
    TransactionOutcome,
)
from tests.support.harness import CT, IMPLICIT, Archive, Stored, eventually

UID = "2.25.4711"


def instances(count: int, prefix: str = "2.25.9") -> tuple[Reference, ...]:
    return tuple(Reference(CT, f"{prefix}.{number}") for number in range(count))


def target(port: int, *, calling: str, called: str = "ROUTER") -> RemoteAE:
    return RemoteAE(
        host="127.0.0.1",
        port=port,
        called_ae=called,
        calling_ae=calling,
        maximum_pdu_length=16384,
        implementation_class_uid="1.2.3",
        implementation_version_name="TEST",
    )


async def invoke(
    port: int, command: Command, data_set: bytes, *, calling: str, roles: tuple[RoleSelection, ...] = ()
) -> Command:
    """One operation on an association of its own; the answer."""
    where = target(port, calling=calling)
    contexts = plan_contexts([(STORAGE_COMMITMENT, IMPLICIT)])
    async with await Requestor.open(where, contexts, Timeouts(), roles=roles) as association:
        context = association.contexts[STORAGE_COMMITMENT, IMPLICIT]
        data = InMemory(data_set) if data_set else None
        return (await association.request(context, command, data)).command


def n_action(**changes: Any) -> Command:
    command = n_requests.n_action(STORAGE_COMMITMENT, WELL_KNOWN_INSTANCE, 1)
    return evolve(command, **changes)


def n_event_report(event_type: int) -> Command:
    return n_requests.n_event_report(STORAGE_COMMITMENT, WELL_KNOWN_INSTANCE, event_type)


async def ask(port: int, references: tuple[Reference, ...], *, uid: str = UID, calling: str = "MODALITY") -> int:
    """Request storage commitment of the router; the status."""
    data_set = write_request(CommitmentRequest(transaction_uid=uid, references=references), IMPLICIT)
    answer = await invoke(port, n_action(), data_set, calling=calling)
    assert answer.status is not None
    return answer.status


@define
class Heard:
    """One N-EVENT-REPORT as a modality got it."""

    event_type: int
    transaction_uid: str
    words: dict[str, ArchiveResult]
    data_set: bytes
    calling_ae: str = ""

    @property
    def failures(self) -> dict[str, int]:
        return {uid: word.reason for uid, word in self.words.items() if word.reason != COMMITTED}


@define
class Modality(Archive):
    """It listens for reports, and answers them as `statuses` say, then 0000H."""

    heard: list[Heard] = field(factory=list)
    statuses: list[int] = field(factory=list)
    roles_offered: list[tuple[bool, bool]] = field(factory=list)

    async def reports(self, count: int = 1) -> list[Heard]:
        async def enough() -> bool:
            return len(self.heard) >= count

        await eventually(enough)
        return self.heard

    async def _accept(self, transport: Transport, request: AssociateRQ) -> None:
        self.roles_offered += [(one.scu_role, one.scp_role) for one in request.user_information.roles]
        accept = AssociateAC(
            called_ae_title=request.called_ae_title,
            calling_ae_title=request.calling_ae_title,
            presentation_contexts=negotiate(request.presentation_contexts, lambda one: one.transfer_syntaxes[0]),
            user_information=UserInformation(
                maximum_length=131072, implementation_class_uid="1.2.3", roles=request.user_information.roles
            ),
        )
        await transport.tell(transport.upper_layer.accept, accept)

    async def _answer(self, transport: Transport, begin: MessageBegin, data: bytes) -> None:
        command = begin.command
        assert command.field == CommandField.N_EVENT_REPORT_RQ
        status = self.statuses.pop(0) if self.statuses else 0
        report = read_report(data, IMPLICIT, command.event_type_id or 0)
        if not status:
            words = dict(report.results)
            self.heard.append(Heard(command.event_type_id or 0, report.transaction_uid, words, data))
        await self._respond(transport, begin.context_id, response_to(command, status))


@define
class CommittingArchive(Archive):
    """An archive that stores what it gets, and commits to everything but what it `misses`.

    `behaviour`: "commits", "is silent", "refuses the context", "reports anew" (on an association of its own), "reports
    twice", "reports early" (before it answers the N-ACTION), "reports at the release" (when it is asked for, before it
    is answered), "refuses" (answers the N-ACTION with 0112H).
    """

    title: str = "ARCHIVE"
    router: int = 0
    """The port that it reports to."""
    behaviour: str = "commits"
    misses: frozenset[str] = frozenset()
    reason: int = 0x0112
    retrieve_ae: str = ""
    full: bool = False
    """It has no room for objects."""
    refuses: frozenset[str] = frozenset()
    """Instances that it cannot understand."""
    asked: list[CommitmentRequest] = field(factory=list)
    answers: list[int] = field(factory=list)
    """To its reports."""
    nursery: trio.Nursery | None = None
    _owed: list[tuple[int, CommitmentRequest]] = field(factory=list)
    """What it reports at the release, and in which context."""

    def __attrs_post_init__(self) -> None:
        self.accepts = lambda context: (
            not (self.behaviour == "refuses the context" and context.abstract_syntax == STORAGE_COMMITMENT)
        )

    def outcome(self, request: CommitmentRequest) -> TransactionOutcome:
        return TransactionOutcome(
            tuple(
                InstanceResult(one, self.reason if one.sop_instance_uid in self.misses else COMMITTED, self.retrieve_ae)
                for one in request.references
            )
        )

    async def _answer(self, transport: Transport, begin: MessageBegin, data: bytes) -> None:
        command = begin.command
        if command.is_response:
            self.answers.append(command.status or 0)
            return
        if command.field == CommandField.C_STORE_RQ and self.full:
            await self._respond(transport, begin.context_id, response_to(command, 0xA700))
            return
        if command.field == CommandField.C_STORE_RQ and command.sop_instance_uid in self.refuses:
            await self._respond(transport, begin.context_id, response_to(command, 0xC000))
            return
        if command.field == CommandField.C_STORE_RQ:
            self.stored.append(Stored(command, "", data))
            await self._respond(transport, begin.context_id, response_to(command, 0))
            return
        assert command.field == CommandField.N_ACTION_RQ
        request = read_request(data, IMPLICIT)
        self.asked.append(request)
        early = self.behaviour == "reports early"
        if early:
            await self._report(transport, begin.context_id, request)
        await self._respond(
            transport, begin.context_id, response_to(command, 0x0112 if self.behaviour == "refuses" else 0)
        )
        if early or self.behaviour in ("is silent", "refuses"):
            return
        if self.behaviour == "reports anew":
            assert self.nursery is not None
            self.nursery.start_soon(self.report, request)
            return
        if self.behaviour == "reports at the release":
            self._owed.append((begin.context_id, request))
            return
        for _ in range(2 if self.behaviour == "reports twice" else 1):
            await self._report(transport, begin.context_id, request)

    async def _release(self, transport: Transport) -> None:
        while self._owed:
            await self._report(transport, *self._owed.pop())
        await super()._release(transport)

    async def _report(self, transport: Transport, context_id: int, request: CommitmentRequest) -> None:
        outcome = self.outcome(request)
        command, data = n_event_report(outcome.event_type), write_report(request.transaction_uid, outcome, IMPLICIT)
        layer = transport.upper_layer
        await transport.send(
            layer.send_data(context_id, encode(command), command=True, last=True)
            + layer.send_data(context_id, data, command=False, last=True)
        )

    async def report(self, request: CommitmentRequest, *, calling: str = "") -> int:
        """On an association of its own, in the role of the SCP."""
        outcome = self.outcome(request)
        data = write_report(request.transaction_uid, outcome, IMPLICIT)
        roles = (RoleSelection(sop_class_uid=STORAGE_COMMITMENT, scu_role=False, scp_role=True),)
        command = n_event_report(outcome.event_type)
        answer = await invoke(self.router, command, data, calling=calling or self.title, roles=roles)
        self.answers.append(answer.status or 0)
        return answer.status or 0
