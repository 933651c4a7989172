"""A whole router in this process, on real sockets and a real disk, and peers that follow a script.

`running_router` starts one from the text of a router.toml. `Archive` is an SCP that answers as its script says:
any status, any rudeness. `Modality` speaks PDUs by hand, so that a test can say what no decent sender would.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Self

import attrs
import trio

from pdu import (
    Abort,
    AbortSource,
    AssociateAC,
    AssociateIndication,
    AssociateRJ,
    AssociateRQ,
    AsynchronousOperationsWindow,
    ContextResult,
    Fragment,
    Overtaken,
    PresentationContext,
    ReleaseIndication,
    Role,
    UpperLayer,
    UserInformation,
    accept_window,
    decode,
    encode,
    negotiate,
)
from router.association.transport import Transport
from router.config import Config, Timeouts
from router.dimse import (
    DATA_SET,
    Command,
    CommandField,
    DataSetPiece,
    MessageAssembler,
    MessageBegin,
    StatusClass,
    response_to,
    status_class,
)
from router.dimse import decode as decode_command
from router.dimse import encode as encode_command
from router.network.sockets import KernelSocket
from router.services import SERVICES, Service, parse_config
from router.spool import Spool
from router.spool.disk.filesystem import REAL, FileSystem
from router.supervisor import Router

PATIENCE = 20.0
"""Seconds within which anything that a test waits for has to happen."""

CT = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT = "1.2.840.10008.1.2"
VERIFICATION = "1.2.840.10008.1.1"


@attrs.define
class RunningRouter:
    """What a test needs of a router in this process."""

    router: Router
    spool: Spool
    config: Config
    port: int
    admin: str

    @property
    def options(self) -> tuple[str, ...]:
        """What a command needs to find it, and its token."""
        return ("--admin", self.admin, "--token-file", str(self.config.router.spool / "admin.token"))

    async def totals(self, destination: str) -> dict[str, Any]:
        """The five numbers of a destination."""
        status = await self.router.status()
        return status["destinations"].get(destination, {})

    async def until(self, destination: str, **numbers: int) -> dict[str, Any]:
        """Wait until the destination's numbers are these."""

        async def reached() -> bool:
            totals = await self.totals(destination)
            return all(totals.get(name, 0) == number for name, number in numbers.items())

        await eventually(reached)
        return await self.totals(destination)


async def eventually(condition: Callable[[], Awaitable[bool] | bool], within: float = PATIENCE) -> None:
    """Wait until `condition` is true; fail after `within` seconds. For the state of another actor or thread."""
    with trio.fail_after(within):
        while not (met if isinstance(met := condition(), bool) else await met):  # noqa: ASYNC110
            await trio.sleep(0.01)


def configuration(folder: Path, text: str = "", *, router: str = "", **peers: int) -> Config:
    """A configuration on free ports with a spool in `folder`; `peers` are names with ports on this host."""
    lines = [
        "[router]",
        'listen = ["127.0.0.1:0"]',
        'spool = "spool"',
        'shutdown_grace = "5s"',
        router,
        "[admin]",
        'listen = "127.0.0.1:0"',
        "[spool]",
        'free_space_floor = "1MiB"',
        'segment_size = "1MiB"',
        'reserve = "0"',
    ]
    for name, port in peers.items():
        lines += [
            f"[peers.{name}]",
            f'ae_title = "{name.upper()}"',
            f'address = "127.0.0.1:{port}"',
            'linger = "100ms"',
            'retry = { first = "20ms", factor = 2.0, max = "100ms" }',
        ]
    if "[[routes]]" not in text and peers:
        names = ", ".join(f'"{name}"' for name in peers)
        lines += ["[[routes]]", 'name = "everything"', 'service = "storage"', f"to = [{names}]"]
    return parse_config("\n".join([*lines, text]), folder)


@asynccontextmanager
async def running_router(
    config: Config, files: FileSystem = REAL, services: Sequence[type[Service]] = SERVICES
) -> AsyncIterator[RunningRouter]:
    """A router that serves while the block lasts, and is then stopped as SIGTERM would."""
    spool = await trio.to_thread.run_sync(partial(Spool.open, config.router.spool, config.spool, files=files))
    try:
        router = Router(config, spool, services)
        async with trio.open_nursery() as nursery:
            addresses = await nursery.start(router.run)
            port = int(addresses["dicom"][0].rpartition(":")[2])
            yield RunningRouter(router, spool, config, port, addresses["admin"])
            router.stop()
    finally:
        spool.close()


@attrs.define
class Stored:
    """One C-STORE as an archive received it."""

    command: Command
    transfer_syntax: str
    data: bytes


Answer = int | str
"""A status, or "silence", "abort", "abort early", "close", "wrong id"."""


@attrs.define
class Archive:
    """An SCP on a free port that accepts everything and answers by its script."""

    script: Callable[[Command], Answer] = lambda command: 0
    on_request: Callable[[AssociateRQ], AssociateRJ | str | None] = lambda request: None
    accepts: Callable[[PresentationContext], bool] = lambda context: True
    port: int = 0
    window: int = 0
    """The asynchronous operations window that it grants, where one is proposed; 0 grants none."""
    prefers: str = ""
    """The transfer syntax that it chooses where it is offered; else it chooses the first one."""
    gathers: int = 1
    """Requests that it waits for before it answers them, the last one first."""
    comment: str | None = None
    """The Error Comment of its responses."""
    extended: dict[str, bytes] = attrs.field(factory=dict)
    """Its answers to SOP Class Extended Negotiation, by SOP class."""
    stored: list[Stored] = attrs.field(factory=list)
    associations: int = 0
    most_at_once: int = 0
    _open: int = 0
    _unanswered: list[tuple[int, Command]] = attrs.field(factory=list)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Self]:
        async with trio.open_nursery() as nursery:
            listeners = await trio.open_tcp_listeners(self.port, host="127.0.0.1")
            self.port = listeners[0].socket.getsockname()[1]
            nursery.start_soon(trio.serve_listeners, self._serve, listeners)
            yield self
            nursery.cancel_scope.cancel()

    async def received(self, count: int) -> list[Stored]:
        """Wait until that many objects are in."""

        async def enough() -> bool:
            return len(self.stored) >= count

        await eventually(enough)
        return self.stored

    async def _serve(self, stream: trio.SocketStream) -> None:
        self.associations += 1
        self._unanswered.clear()
        self._open += 1
        self.most_at_once = max(self.most_at_once, self._open)
        transport = Transport(KernelSocket(stream.socket), UpperLayer(role=Role.ACCEPTOR), Timeouts())
        try:
            await self._associate(transport)
        finally:
            self._open -= 1
            transport.close()

    async def _associate(self, transport: Transport) -> None:
        await transport.perform(transport.upper_layer.transport_connected())
        assembler, data, request = MessageAssembler(), b"", None
        while transport.is_open:
            for indication in await transport.read(60):
                if isinstance(indication, AssociateIndication):
                    await self._accept(transport, indication.request)
                elif isinstance(indication, ReleaseIndication):
                    await self._release(transport)
                elif isinstance(indication, Fragment):
                    piece = assembler.feed(indication)
                    if isinstance(piece, MessageBegin):
                        request, data = piece, b""
                        if self.script(piece.command) == "abort early":
                            await transport.tell(transport.upper_layer.abort)
                            return
                    elif isinstance(piece, DataSetPiece):
                        data += piece.data
                    if request is not None and not assembler.in_message:
                        await self._answer(transport, request, data)

    async def _accept(self, transport: Transport, request: AssociateRQ) -> None:
        verdict = self.on_request(request)
        if verdict == "silence":
            await trio.sleep_forever()
        if isinstance(verdict, AssociateRJ):
            await transport.tell(transport.upper_layer.reject, verdict)
            return

        def choose(context: PresentationContext) -> str | ContextResult:
            if self.accepts(context):
                offered = context.transfer_syntaxes
                return self.prefers if self.prefers in offered else offered[0]
            return ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED

        accept = AssociateAC(
            called_ae_title=request.called_ae_title,
            calling_ae_title=request.calling_ae_title,
            presentation_contexts=negotiate(request.presentation_contexts, choose),
            user_information=UserInformation(
                maximum_length=131072,
                implementation_class_uid="1.2.3",
                asynchronous_operations_window=accept_window(
                    request.user_information.asynchronous_operations_window if self.window else None,
                    AsynchronousOperationsWindow(invoked=self.window, performed=1),
                ),
                extended=tuple(
                    attrs.evolve(item, information=self.extended[item.sop_class_uid])
                    for item in request.user_information.extended
                    if item.sop_class_uid in self.extended
                ),
            ),
        )
        await transport.tell(transport.upper_layer.accept, accept)

    async def _release(self, transport: Transport) -> None:
        await transport.tell(transport.upper_layer.respond_release)

    async def _answer(self, transport: Transport, begin: MessageBegin, data: bytes) -> None:
        answer = self.script(begin.command)
        context = transport.upper_layer.contexts[begin.context_id]
        if isinstance(answer, int) and status_class(answer) in (StatusClass.SUCCESS, StatusClass.WARNING):
            self.stored.append(Stored(begin.command, context.transfer_syntax, data))
        match answer:
            case "silence":
                await trio.sleep_forever()
            case "abort":
                await transport.tell(transport.upper_layer.abort)
            case "close":
                transport.close()
            case "wrong id":
                response = attrs.evolve(response_to(begin.command, 0), message_id_being_responded_to=999)
                await self._respond(transport, begin.context_id, response)
            case int():
                self._unanswered.append(
                    (begin.context_id, response_to(begin.command, answer, error_comment=self.comment))
                )
                if len(self._unanswered) >= self.gathers:
                    while self._unanswered:
                        await self._respond(transport, *self._unanswered.pop())

    async def _respond(self, transport: Transport, context_id: int, response: Command) -> None:
        with suppress(Overtaken):  # the peer has ended the association
            await transport.send(
                transport.upper_layer.send_data(context_id, encode_command(response), command=True, last=True)
            )


def associate_rq(
    *contexts: tuple[str, tuple[str, ...]], calling: str = "MODALITY", called: str = "ROUTER", **changes: Any
) -> AssociateRQ:
    """A request for these (abstract syntax, transfer syntaxes)."""
    return AssociateRQ(
        called_ae_title=called,
        calling_ae_title=calling,
        presentation_contexts=tuple(
            PresentationContext(id=2 * number + 1, abstract_syntax=abstract, transfer_syntaxes=syntaxes)
            for number, (abstract, syntaxes) in enumerate(contexts or [(CT, (IMPLICIT,))])
        ),
        user_information=UserInformation(maximum_length=16384, implementation_class_uid="1.2.3"),
        **changes,
    )


def p_data(context_id: int, data: bytes, *, command: bool, last: bool = True) -> bytes:
    """One P-DATA-TF with one PDV."""
    pdv = (len(data) + 2).to_bytes(4, "big") + bytes([context_id, (command and 1) | (last and 2)]) + data
    return b"\x04\x00" + len(pdv).to_bytes(4, "big") + pdv


def store_rq(sop_instance: str, sop_class: str = CT, **changes: Any) -> Command:
    """A C-STORE-RQ."""
    return attrs.evolve(
        Command(
            field=CommandField.C_STORE_RQ,
            message_id=1,
            affected_sop_class_uid=sop_class,
            affected_sop_instance_uid=sop_instance,
            priority=0,
            data_set_type=DATA_SET,
        ),
        **changes,
    )


def data_set(sop_instance: str, sop_class: str = CT, *, size: int = 64, extra: bytes = b"") -> bytes:
    """A small object in Implicit VR Little Endian: the two UIDs, Modality, and `size` bytes of pixels."""

    def element(group: int, number: int, value: bytes, pad: bytes = b"\0") -> bytes:
        value += pad * (len(value) % 2)
        return group.to_bytes(2, "little") + number.to_bytes(2, "little") + len(value).to_bytes(4, "little") + value

    return (
        element(0x0008, 0x0016, sop_class.encode())
        + element(0x0008, 0x0018, sop_instance.encode())
        + element(0x0008, 0x0060, b"CT")
        + extra
        + element(0x7FE0, 0x0010, b"\x5a" * size)
    )


class Modality:
    """A sender that speaks PDUs by hand."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._unread = b""

    @classmethod
    @asynccontextmanager
    async def connected(cls, port: int) -> AsyncIterator["Modality"]:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with stream:
            yield cls(stream)

    async def say(self, data: bytes | AssociateRQ | Abort | Any) -> None:
        await self.stream.send_all(data if isinstance(data, bytes) else encode(data))

    async def hear(self) -> Any:
        """The next PDU; None at the end of the stream."""
        with trio.fail_after(PATIENCE):
            header = await self._exactly(6)
            if not header:
                return None
            return decode(header + await self._exactly(int.from_bytes(header[2:6], "big")))

    async def _exactly(self, count: int) -> bytes:
        while len(self._unread) < count:
            try:
                more = await self.stream.receive_some()
            except trio.BrokenResourceError:
                more = b""
            if not more:
                return b""
            self._unread += more
        taken, self._unread = self._unread[:count], self._unread[count:]
        return taken

    async def associate(self, *contexts: tuple[str, tuple[str, ...]], **changes: Any) -> Any:
        await self.say(associate_rq(*contexts, **changes))
        return await self.hear()

    async def store(self, command: Command, data: bytes, context_id: int = 1) -> Command:
        """Send one C-STORE whole and hear its response."""
        await self.say(p_data(context_id, encode_command(command), command=True))
        for start in range(0, max(len(data), 1), 16000):
            piece = data[start : start + 16000]
            await self.say(p_data(context_id, piece, command=False, last=start + 16000 >= len(data)))
        return await self.response()

    async def response(self) -> Command:
        (pdv,) = (await self.hear()).pdvs
        return decode_command(pdv.data)


ABORT_BY_USER = Abort(source=AbortSource.USER)
