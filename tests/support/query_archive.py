"""A query SCP that follows a script: it falls silent, aborts, ignores a cancel, answers what nobody would."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing

import attrs
import trio

from pdu import AssociateRQ, Overtaken
from router.association.transport import Transport
from router.dicom.dataset import DataSet, Element, representation
from router.dicom.encoding import padded
from router.dimse import DATA_SET, Command, CommandField, MessageBegin, Status, encode, response_to
from router.services.query.identifier import decode_identifier, encode_identifier
from tests.support.harness import Archive


def record(values: Mapping[int, str | bytes]) -> DataSet:
    """An identifier with these values by tag, with the VRs of the dictionary."""
    return {
        tag: Element(vr := representation(tag), padded(vr, value.encode() if isinstance(value, str) else value))
        for tag, value in sorted(values.items())
    }


@attrs.define
class Query:
    """One C-FIND-RQ as the archive received it."""

    command: Command
    sop_class: str
    identifier: DataSet
    cancelled: trio.Event = attrs.field(factory=trio.Event)


Step = tuple[int, DataSet | None] | tuple[int, DataSet | None, Mapping[str, int]] | str
"""A response: status, identifier, and further attributes; or "abort", "close", "silence"."""


async def nothing(query: Query) -> AsyncGenerator[Step, None]:
    yield Status.SUCCESS, None


def answering(*records: DataSet, final: Step = (Status.SUCCESS, None), pending: int = Status.PENDING) -> "Script":
    """A script that answers every query with these records."""

    async def script(query: Query) -> AsyncGenerator[Step, None]:
        for one in records:
            if query.cancelled.is_set():
                yield Status.CANCEL, None
                return
            yield pending, one
        yield final

    return script


async def until_cancelled(query: Query) -> AsyncGenerator[Step, None]:
    """A script that never ends by itself."""
    number = 0
    while not query.cancelled.is_set():
        number += 1
        yield Status.PENDING, record({0x00080052: "STUDY", 0x0020000D: f"1.2.{number}"})
        await trio.lowlevel.checkpoint()
    yield Status.CANCEL, None


Script = Callable[[Query], AsyncGenerator[Step, None]]


@attrs.define
class QueryArchive(Archive):
    """`find` yields the responses to a query; the association is read meanwhile."""

    find: Script = nothing
    queries: list[Query] = attrs.field(factory=list)
    cancels: list[float] = attrs.field(factory=list)
    """When a C-CANCEL-RQ came."""
    requests: list[AssociateRQ] = attrs.field(factory=list)
    sent: int = 0
    """Pending responses."""
    _nursery: trio.Nursery | None = None

    async def _serve(self, stream: trio.SocketStream) -> None:
        async with trio.open_nursery() as self._nursery:
            await super()._serve(stream)
            self._nursery.cancel_scope.cancel()

    async def _accept(self, transport: Transport, request: AssociateRQ) -> None:
        self.requests.append(request)
        await super()._accept(transport, request)

    async def _answer(self, transport: Transport, begin: MessageBegin, data: bytes) -> None:
        if begin.command.field == CommandField.C_CANCEL_RQ:
            self.cancels.append(trio.current_time())
            for query in self.queries:
                if query.command.message_id == begin.command.message_id_being_responded_to:
                    query.cancelled.set()
            return
        context = transport.upper_layer.contexts[begin.context_id]
        query = Query(begin.command, context.abstract_syntax, decode_identifier(data, context.transfer_syntax))
        self.queries.append(query)
        assert self._nursery is not None
        self._nursery.start_soon(self._follow, transport, begin, query, context.transfer_syntax)

    async def _follow(self, transport: Transport, begin: MessageBegin, query: Query, syntax: str) -> None:
        async with aclosing(self.find(query)) as steps:
            async for step in steps:
                match step:
                    case "silence":
                        await trio.sleep_forever()
                    case "abort":
                        await transport.tell(transport.upper_layer.abort)
                        return
                    case "close":
                        transport.close()
                        return
                    case (int(status), identifier, *further):
                        response = response_to(begin.command, status, **(further[0] if further else {}))
                        if not await self._send(transport, begin, response, identifier, syntax):
                            return

    async def _send(
        self, transport: Transport, begin: MessageBegin, response: Command, identifier: DataSet | None, syntax: str
    ) -> bool:
        """Send one response; False if the association has ended."""
        layer = transport.upper_layer
        if identifier is not None:
            response = response.changed(data_set_type=DATA_SET)
        try:
            buffers = layer.send_data(begin.context_id, encode(response), command=True, last=True)
            if identifier is not None:
                content = encode_identifier(identifier, syntax)
                buffers += layer.send_data(begin.context_id, content, command=False, last=True)
                self.sent += 1
        except Overtaken:
            return False
        await transport.send(buffers)
        return transport.can_send
