"""The third act: a modality asks whether it may delete its images. Two archives have to promise, one of them has lost
an image; the router reports what they say, and nothing else."""

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
from router.dimse.commands import n_action, n_event_report
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
from router.tools.demo.mpps import Line
from router.tools.demo.ris import DemoRIS
from router.tools.demo.stage import HERE, archive, local, running, target_of
from router.tools.send import Instance, Sent, send

_PATIENCE: Final = 30.0
"""Seconds for the report to come."""
_PAIR: Final = (STORAGE_COMMITMENT, IMPLICIT_LE)


class _Asked(DemoRIS):
    """An archive, or the modality: what it is told, it writes down as lines."""

    requests: ClassVar[frozenset[int]] = frozenset(
        {CommandField.C_STORE_RQ, CommandField.N_ACTION_RQ, CommandField.N_EVENT_REPORT_RQ}
    )

    def __init__(self, title: str, loses: int = 0) -> None:
        super().__init__(title)
        self.lines: list[Line] = []
        self.asked: list[CommitmentRequest] = []
        self.heard = trio.Event()
        self._loses = loses
        self._stored: list[str] = []

    def negotiate(self, proposal: Proposal) -> str | ContextResult | None:
        return proposal.transfer_syntaxes[0]

    def roles(self, proposal: Proposal) -> tuple[bool, bool]:
        return True, True

    def note(self, what: str) -> None:
        self.lines.append(Line(seconds=trio.current_time(), who=self.title, what=what))

    async def perform(self, request: Request, data: Incoming | None, replies: Replies) -> Response:
        assert data is not None, "nothing comes without a data set"
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
            words = read_report(content, request.transfer_syntax, event_type).results
            failed = [uid for uid, word in words.items() if word.reason != COMMITTED]
            self.note(f"hears event {event_type}: {len(words) - len(failed)} committed, {len(failed)} failed (0112H)")
        self.heard.set()
        return Response(response_to(command, Status.SUCCESS))

    async def promise(self, router: RemoteAE, config: Config) -> None:
        """Report what there is and what is not, on an association of its own."""
        await self.heard.wait()
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
        await _say(evolve(router, calling_ae=self.title), command, data_set, config)


async def perform_promises(images: Sequence[Instance], folder: Path) -> list[Line]:
    """Everything in order; the last lines are missing where it did not come in time."""
    started = trio.current_time()
    pacs, vna, modality = _Asked("PACS"), _Asked("VNA", loses=1), _Asked("MODALITY")
    async with AsyncExitStack() as stack:
        spool, _, _ = await stack.enter_async_context(archive("LENDER", folder / "promises-lender"))
        ports = [await stack.enter_async_context(one.serving(Config(), spool)) for one in (pacs, vna, modality)]
        (folder / "promises").mkdir()
        config = local(_config(*ports), folder / "promises")
        _, _, port = await stack.enter_async_context(running(config))
        router = target_of(config, port)
        sent: list[Sent] = []
        await send(images, router, config.timeouts, sent.append)
        modality.note(f"has sent {len(sent)} images, and asks whether it may delete them")
        with trio.move_on_after(_PATIENCE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pacs.promise, router, config)
                nursery.start_soon(vna.promise, router, config)
                nursery.start_soon(partial(_ask, router, images, config))
                nursery.start_soon(modality.heard.wait)
    lines = sorted(pacs.lines + vna.lines + modality.lines, key=lambda line: line.seconds)
    return [evolve(line, seconds=line.seconds - started) for line in lines]


def _config(pacs: int, vna: int, modality: int) -> Config:
    retry = Retry(first=0.2, factor=1.5, max=0.5)
    peers = {
        name: Peer(
            name=name, ae_title=name.upper(), address=Endpoint(host=HERE.host, port=port), retry=retry, linger=0.5
        )
        for name, port in (("pacs", pacs), ("vna", vna), ("modality", modality))
    }
    to = ("pacs", "vna")
    terms = CommitmentRouteOptions(deadline=_PATIENCE, grace=1.0)
    routes = (
        Route(name="images to both archives", service="storage", to=to),
        Route(name="both have to promise", service="storage-commitment", to=to, options=Options((terms,))),
    )
    return evolve(Config(), peers=peers, routes=routes, listeners=(Listener(address=HERE),))


async def _ask(router: RemoteAE, images: Sequence[Instance], config: Config) -> None:
    command = n_action(STORAGE_COMMITMENT, WELL_KNOWN_INSTANCE, REQUEST_ACTION)
    references = tuple(Reference(image.sop_class_uid, image.sop_instance_uid) for image in images)
    request = CommitmentRequest(transaction_uid=str(generate_uid(prefix=None)), references=references)
    await _say(router, command, write_request(request, IMPLICIT_LE), config)


async def _say(target: RemoteAE, command: Command, data_set: bytes, config: Config) -> None:
    roles = [RoleSelection(sop_class_uid=STORAGE_COMMITMENT, scu_role=True, scp_role=True)]
    opening = Requestor.open(target, plan_contexts([_PAIR]), config.timeouts, roles=roles)
    async with await opening as association:
        response = await association.request(association.contexts[_PAIR], command, InMemory(data_set))
    assert response.status == 0, "the router of the demonstration takes what it is told"
