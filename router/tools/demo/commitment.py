"""Storage commitment in the demo: a modality asks whether it may delete its images.

Two archives must commit to them, and one has lost an image; the router reports exactly what they answer.
"""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import ClassVar, Final

import trio
from attrs import evolve
from pydicom.uid import generate_uid

from pdu import ContextResult, RoleSelection
from router.association import InMemory, RemoteAE, Requestor, plan_contexts
from router.config import Config, Endpoint, Listener, Options, Peer, Retry, Route
from router.dicom.uids import IMPLICIT_LE
from router.dimse import Command, CommandField, Response, Status, response_to
from router.dimse.n_requests import n_action, n_event_report
from router.services import Proposal, Replies, Request
from router.services.commitment.attributes import (
    REQUEST_ACTION,
    STORAGE_COMMITMENT,
    WELL_KNOWN_INSTANCE,
    CommitmentRequest,
    read_report,
    read_request,
    write_report,
    write_request,
)
from router.services.commitment.options import CommitmentRouteOptions
from router.services.commitment.transaction import (
    COMMITTED,
    FailureReason,
    InstanceResult,
    Reference,
    TransactionOutcome,
)
from router.spool import Incoming
from router.tools.demo.ris import SimulatedPeer
from router.tools.demo.scenario import LOOPBACK, Line, LineKind, address_of, archive, on_this_machine, running
from router.tools.send import Instance, Sent, send

_PATIENCE: Final = 30.0
"""Seconds for the report to arrive."""
_SYNTAXES: Final = (STORAGE_COMMITMENT, IMPLICIT_LE)


class _CommitmentPeer(SimulatedPeer):
    """An archive, or the modality: notes each message that it receives."""

    requests: ClassVar[frozenset[int]] = frozenset(
        {CommandField.C_STORE_RQ, CommandField.N_ACTION_RQ, CommandField.N_EVENT_REPORT_RQ}
    )

    def __init__(self, title: str, loses: int = 0) -> None:
        super().__init__(title)
        self.lines: list[Line] = []
        self.asked: list[CommitmentRequest] = []
        self.received = trio.Event()
        self._loses = loses
        self._stored: list[str] = []

    def negotiate(self, proposal: Proposal) -> str | ContextResult | None:
        return proposal.transfer_syntaxes[0]

    def roles(self, proposal: Proposal) -> tuple[bool, bool]:
        return True, True

    def note(self, what: str, kind: LineKind = LineKind.NOTE) -> None:
        self.lines.append(Line(seconds=trio.current_time(), who=self.title, what=what, kind=kind))

    async def perform(self, request: Request, data: Incoming | None, replies: Replies) -> Response:
        assert data is not None, "every message here has a data set"
        command = request.command
        if command.field == CommandField.C_STORE_RQ:
            self._stored.append(command.sop_instance_uid)
            return Response(response_to(command, Status.SUCCESS))
        with data.view() as view:
            content = bytes(view)
        if command.field == CommandField.N_ACTION_RQ:
            self.asked.append(read_request(content, request.transfer_syntax))
            self.note(f"is asked to promise {len(self.asked[-1].references)} images")
        else:
            event_type = command.event_type_id or 0
            results = read_report(content, request.transfer_syntax, event_type).results
            failed = [uid for uid, result in results.items() if result.reason != COMMITTED]
            committed = len(results) - len(failed)
            kind = LineKind.FAILURES_REPORTED if failed else LineKind.NOTE
            self.note(f"hears event {event_type}: {committed} committed, {len(failed)} failed (0112H)", kind)
        self.received.set()
        return Response(response_to(command, Status.SUCCESS))

    async def report(self, router: RemoteAE, config: Config) -> None:
        """Report which images it has and which not, on a new association."""
        await self.received.wait()
        (request,) = self.asked
        lost = self._stored[: self._loses]
        outcome = TransactionOutcome(
            tuple(
                InstanceResult(
                    one, FailureReason.NO_SUCH_OBJECT_INSTANCE if one.sop_instance_uid in lost else COMMITTED
                )
                for one in request.references
            )
        )
        self.note(f"promises {len(outcome.committed)} images" + (f", has lost {len(lost)}" if lost else ""))
        command = n_event_report(STORAGE_COMMITMENT, WELL_KNOWN_INSTANCE, outcome.event_type)
        data_set = write_report(request.transaction_uid, outcome, IMPLICIT_LE)
        await _send_request(evolve(router, calling_ae=self.title), command, data_set, config)


async def run_commitment_demo(images: Sequence[Instance], folder: Path) -> list[Line]:
    """Run it, and return what happened in order; without the last lines if they took too long."""
    started = trio.current_time()
    pacs, vna, modality = _CommitmentPeer("PACS"), _CommitmentPeer("VNA", loses=1), _CommitmentPeer("MODALITY")
    async with AsyncExitStack() as stack:
        spool, _, _ = await stack.enter_async_context(archive("LENDER", folder / "promises-lender"))
        ports = [await stack.enter_async_context(one.serving(Config(), spool)) for one in (pacs, vna, modality)]
        (folder / "promises").mkdir()
        config = on_this_machine(_config(*ports), folder / "promises")
        _, _, port = await stack.enter_async_context(running(config))
        router = address_of(config, port)
        sent: list[Sent] = []
        await send(images, router, config.timeouts, sent.append)
        modality.note(f"has sent {len(sent)} images, and asks whether it may delete them")
        with trio.move_on_after(_PATIENCE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pacs.report, router, config)
                nursery.start_soon(vna.report, router, config)
                nursery.start_soon(partial(_ask, router, images, config))
                nursery.start_soon(modality.received.wait)
    lines = sorted(pacs.lines + vna.lines + modality.lines, key=lambda line: line.seconds)
    return [evolve(line, seconds=line.seconds - started) for line in lines]


def _config(pacs: int, vna: int, modality: int) -> Config:
    retry = Retry(first=0.2, factor=1.5, max=0.5)
    peers = {
        name: Peer(
            name=name, ae_title=name.upper(), address=Endpoint(host=LOOPBACK.host, port=port), retry=retry, linger=0.5
        )
        for name, port in (("pacs", pacs), ("vna", vna), ("modality", modality))
    }
    to = ("pacs", "vna")
    terms = CommitmentRouteOptions(deadline=_PATIENCE, grace=1.0)
    routes = (
        Route(name="images to both archives", service="storage", to=to),
        Route(name="both have to promise", service="storage-commitment", to=to, options=Options((terms,))),
    )
    return evolve(Config(), peers=peers, routes=routes, listeners=(Listener(address=LOOPBACK),))


async def _ask(router: RemoteAE, images: Sequence[Instance], config: Config) -> None:
    command = n_action(STORAGE_COMMITMENT, WELL_KNOWN_INSTANCE, REQUEST_ACTION)
    references = tuple(Reference(image.sop_class_uid, image.sop_instance_uid) for image in images)
    request = CommitmentRequest(transaction_uid=str(generate_uid(prefix=None)), references=references)
    await _send_request(router, command, write_request(request, IMPLICIT_LE), config)


async def _send_request(target: RemoteAE, command: Command, data_set: bytes, config: Config) -> None:
    roles = [RoleSelection(sop_class_uid=STORAGE_COMMITMENT, scu_role=True, scp_role=True)]
    opening = Requestor.open(target, plan_contexts([_SYNTAXES]), config.timeouts, roles=roles)
    async with await opening as association:
        response = await association.request(association.contexts[_SYNTAXES], command, InMemory(data_set))
    assert response.status == 0, "the router of the demo accepts the request"
