"""Both ends of a relay, PDU by PDU: a test says what the client and the peer say, and hears what arrives."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

from pdu import (
    AssociateAC,
    AssociateRQ,
    AsynchronousOperationsWindow,
    ContextResult,
    PDataTF,
    PresentationContextResult,
    UserInformation,
)
from router.config import Config
from router.dimse import Command, CommandField, decode, encode
from tests.support.harness import IMPLICIT, PATIENCE, VERIFICATION, Modality, associate_rq, configuration, p_data
from tests.support.ports import HOST
from tests.support.router_process import RouterProcess
from tests.support.router_process import configuration as router_toml

PRINT = "1.2.840.10008.5.1.1.9"
PRIVATE = "1.2.826.0.1.3680043.9.3811.99"
N_GET = Command(
    field=CommandField.N_GET_RQ,
    message_id=1,
    requested_sop_class_uid="1.2.840.10008.5.1.1.16",
    requested_sop_instance_uid="1.2.840.10008.5.1.1.17",
)
ROUTE = {"name": "print", "service": "relay", "when": {"sop_class": ["*Print*", PRIVATE]}, "to": "printer"}
ECHO = Command(field=CommandField.C_ECHO_RQ, message_id=50, affected_sop_class_uid=VERIFICATION)


@attrs.frozen
class At:
    """A peer on this host."""

    port: int
    ae_title: str = "PRINTER"

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"


def router_to(folder: Path, printer: Any) -> RouterProcess:
    """A router process that relays print management, and the private class, to the peer."""
    return RouterProcess(folder, router_toml({"printer": printer}, routes=[ROUTE]))


def memory_of(router: RouterProcess) -> int:
    """Bytes of resident memory."""
    return int(Path(f"/proc/{router.pid}/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


class End(Modality):
    """One end of a relay."""

    request: AssociateRQ
    """Of the peer's end: what the router has asked for."""

    async def tell(self, context_id: int, command: Command, data: bytes | None = None, *, last: bool = True) -> None:
        """Send a message; without `last` its data set goes on."""
        if data is not None:
            command = attrs.evolve(command, data_set_type=1)
        await self.say(p_data(context_id, encode(command), command=True))
        if data is not None:
            await self.say(p_data(context_id, data, command=False, last=last))

    async def message(self) -> tuple[int, Command, bytes | None]:
        """Return the next message: presentation context ID, command set, data set."""
        pdv = await self.pdv()
        command, data = decode(pdv.data), b""
        if not command.has_data_set:
            return pdv.context_id, command, None
        while True:
            pdv = await self.pdv()
            data += pdv.data
            if pdv.is_last:
                return pdv.context_id, command, data

    async def pdv(self) -> Any:
        pdu = await self.hear()
        assert isinstance(pdu, PDataTF), pdu
        (pdv,) = pdu.pdvs
        return pdv


@attrs.define
class Peer:
    """A peer that a test speaks for."""

    port: int
    _accepted: trio.MemoryReceiveChannel[trio.SocketStream]

    async def called(self) -> End:
        """Return the next connection of the router, and the request on it."""
        with trio.fail_after(PATIENCE):
            end = End(await self._accepted.receive())
        end.request = await end.hear()
        return end

    async def accepted(self, **information: Any) -> End:
        """Accept the next association, each context in its last transfer syntax."""
        end = await self.called()
        results = {
            one.id: PresentationContextResult(
                id=one.id, result=ContextResult.ACCEPTANCE, transfer_syntax=one.transfer_syntaxes[-1]
            )
            for one in end.request.presentation_contexts
        }
        await end.say(answer(end.request, *results.values(), **information))
        return end


def answer(request: AssociateRQ, *results: PresentationContextResult, **information: Any) -> AssociateAC:
    return AssociateAC(
        called_ae_title=request.called_ae_title,
        calling_ae_title=request.calling_ae_title,
        presentation_contexts=results,
        user_information=UserInformation(maximum_length=16384, implementation_class_uid="1.2.3", **information),
    )


@asynccontextmanager
async def peer() -> AsyncIterator[Peer]:
    send, receive = trio.open_memory_channel[trio.SocketStream](100)

    async def connected(stream: trio.SocketStream) -> None:
        await send.send(stream)
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, connected, listeners)
        yield Peer(listeners[0].socket.getsockname()[1], receive)
        nursery.cancel_scope.cancel()


def relaying(folder: Path, port: int, text: str = "", *, route: str = "") -> Config:
    """A configuration that relays print management, and the private class, to `printer` on this port."""
    routes = f"""
    [[routes]]
    name = "print"
    service = "relay"
    when = {{ sop_class = ["*Print*", "{PRIVATE}"] }}
    to = "printer"
    {route}"""
    return configuration(folder, text + routes, printer=port)


@asynccontextmanager
async def client_of(port: int, peers: Peer, *contexts: str, window: int = 0) -> AsyncIterator[tuple[End, End]]:
    """An association that is relayed: the client's end and the peer's. Contexts 1, 3... are `contexts`."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        client = End(stream)
        request = associate(*(contexts or (PRINT, VERIFICATION)), window=window)
        await client.say(request)
        granted = AsynchronousOperationsWindow(invoked=window, performed=window) if window else None
        theirs = await peers.accepted(asynchronous_operations_window=granted)
        accept = await client.hear()
        assert isinstance(accept, AssociateAC)
        assert [one.result for one in accept.presentation_contexts] == [ContextResult.ACCEPTANCE] * len(
            request.presentation_contexts
        )
        async with theirs.stream:
            yield client, theirs


def associate(*abstract_syntaxes: str, window: int = 0, **information: Any) -> AssociateRQ:
    request = associate_rq(*((uid, (IMPLICIT,)) for uid in abstract_syntaxes))
    if window:
        information["asynchronous_operations_window"] = AsynchronousOperationsWindow(invoked=window, performed=window)
    return attrs.evolve(request, user_information=attrs.evolve(request.user_information, **information))
