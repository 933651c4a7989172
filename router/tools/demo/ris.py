"""A stand-in of a RIS: takes what it is told about procedure steps, says yes, and remembers when and what."""

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
from router.tools.demo.stage import HERE


@frozen(kw_only=True)
class Told:
    """One message."""

    at: float
    """trio's clock."""
    kind: str
    words: str


class DemoRIS(SCP):
    """Somebody to call: a service class of its own is all that an acceptor needs."""

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
        """Its port, any free one unless told, where it listens while the block lasts. `spool` lends the memory for
        what comes in."""
        listener = Listener(address=HERE, ae_title=self.title)
        reception = AcceptorContext(
            config=config, services=(self,), spool=spool, doors=AssociationLimits(config.limits), visited=_nothing_waits
        )

        async def greet(stream: trio.SocketStream) -> None:
            await Acceptor(stream.socket, HERE.host, listener, reception).run()

        async with trio.open_nursery() as nursery:
            listeners = await trio.open_tcp_listeners(port, host=HERE.host)
            nursery.start_soon(trio.serve_listeners, greet, listeners)
            yield listeners[0].socket.getsockname()[1]
            nursery.cancel_scope.cancel()


class RIS(DemoRIS):
    """One RIS."""

    requests: ClassVar[frozenset[int]] = frozenset({CommandField.N_CREATE_RQ, CommandField.N_SET_RQ})

    def __init__(self, title: str) -> None:
        super().__init__(title)
        self.told: list[Told] = []

    def negotiate(self, proposal: Proposal) -> str | ContextResult | None:
        if proposal.abstract_syntax not in (MPPS, INSTANCE_AVAILABILITY):
            return None
        known = (syntax for syntax in proposal.transfer_syntaxes if syntax in TRANSFER_SYNTAXES)
        return next(known, ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED)

    async def perform(self, request: Request, data: Incoming | None, replies: Replies) -> Response:
        assert data is not None, "the router sends nothing else"
        with data.view() as view:
            tree = read(view, request.transfer_syntax)
        words = _step(tree) if request.abstract_syntax == MPPS else _availability(tree)
        self.told.append(Told(at=trio.current_time(), kind=request.command.name, words=words))
        return Response(response_to(request.command, Status.SUCCESS))


async def _nothing_waits(title: str, visit: object) -> None:
    pass


def _step(tree: DataSet) -> str:
    produced = references(tree)
    return f"{text(tree, STATUS)}{f', {len(produced)} images' if produced else ''}"


def _availability(tree: DataSet) -> str:
    instances = [
        item for series in items(tree, REFERENCED_SERIES_SEQUENCE) for item in items(series, REFERENCED_SOP_SEQUENCE)
    ]
    return f"{len(instances)} images are available"
