"""A simulated RIS: accept every message about procedure steps, and record when it came and what it said."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar

import trio
from attrs import frozen

from pdu import ContextResult
from router.access.limits import AssociationLimits
from router.association import Acceptor, AcceptorContext
from router.config import Config, Listener
from router.dicom.dataset import TRANSFER_SYNTAXES, DataSet, items, read, text
from router.dicom.tags import REFERENCED_SOP_SEQUENCE
from router.dimse import Command, CommandField, Response, Status, response_to
from router.services import SCP, Allowance, Proposal, Replies, Request
from router.services.mpps.attributes import MPPS, STATUS, references
from router.services.mpps.instance_availability import INSTANCE_AVAILABILITY, REFERENCED_SERIES_SEQUENCE
from router.spool import Incoming, Spool
from router.tools.demo.scenario import LOOPBACK


@frozen(kw_only=True)
class ReceivedMessage:
    """One message about a step."""

    at: float
    """Seconds of trio's clock."""
    kind: str
    summary: str


class SimulatedPeer(SCP):
    """A peer that the router can call: an acceptor with this service class only."""

    name: ClassVar[str] = "stand-in"
    requests: ClassVar[frozenset[int]] = frozenset()

    def __init__(self, title: str) -> None:
        self.title = title

    def negotiate(self, proposal: Proposal) -> str | ContextResult | None:
        raise NotImplementedError

    def admit(self, request: Request) -> Command | Allowance:
        return Allowance(largest=None)

    async def perform(self, request: Request, data: Incoming | None, replies: Replies) -> Response:
        raise NotImplementedError

    @asynccontextmanager
    async def serving(self, config: Config, spool: Spool, port: int = 0) -> AsyncIterator[int]:
        """Listen while the block lasts, and yield the port; 0 is any free one. `spool` provides the receive buffers."""
        listener = Listener(address=LOOPBACK, ae_title=self.title)
        reception = AcceptorContext(
            config=config,
            services=(self,),
            spool=spool,
            limits=AssociationLimits(config.limits),
            deliver_on=_send_nothing,
        )

        async def greet(stream: trio.SocketStream) -> None:
            await Acceptor(stream.socket, LOOPBACK.host, listener, reception).run()

        async with trio.open_nursery() as nursery:
            listeners = await trio.open_tcp_listeners(port, host=LOOPBACK.host)
            nursery.start_soon(trio.serve_listeners, greet, listeners)
            yield listeners[0].socket.getsockname()[1]
            nursery.cancel_scope.cancel()


class SimulatedRIS(SimulatedPeer):
    """A RIS that accepts procedure steps and notifications of instance availability."""

    requests: ClassVar[frozenset[int]] = frozenset({CommandField.N_CREATE_RQ, CommandField.N_SET_RQ})

    def __init__(self, title: str) -> None:
        super().__init__(title)
        self.received: list[ReceivedMessage] = []

    def negotiate(self, proposal: Proposal) -> str | ContextResult | None:
        if proposal.abstract_syntax not in (MPPS, INSTANCE_AVAILABILITY):
            return None
        known = (syntax for syntax in proposal.transfer_syntaxes if syntax in TRANSFER_SYNTAXES)
        return next(known, ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED)

    async def perform(self, request: Request, data: Incoming | None, replies: Replies) -> Response:
        assert data is not None, "the router sends nothing else"
        with data.view() as view:
            tree = read(view, request.transfer_syntax)
        summary = _summarize_step(tree) if request.abstract_syntax == MPPS else _summarize_availability(tree)
        self.received.append(ReceivedMessage(at=trio.current_time(), kind=request.command.name, summary=summary))
        return Response(response_to(request.command, Status.SUCCESS))


async def _send_nothing(title: str, visit: object) -> None:
    pass


def _summarize_step(tree: DataSet) -> str:
    produced = references(tree)
    return f"{text(tree, STATUS)}{f', {len(produced)} images' if produced else ''}"


def _summarize_availability(tree: DataSet) -> str:
    instances = [
        item for series in items(tree, REFERENCED_SERIES_SEQUENCE) for item in items(series, REFERENCED_SOP_SEQUENCE)
    ]
    return f"{len(instances)} images are available"
