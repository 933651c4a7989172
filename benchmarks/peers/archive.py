"""An archive that keeps nothing but the memory of what came: UID, length, when, and its CRC where asked for.

It accepts every SOP class in every transfer syntax and answers 0000H, on this project's own engine, so that it costs
as little as a receiver in Python can. In a test it lives in the test's own process (`serving`); for a measurement it
is a process that takes its orders on standard input: each line is a number of objects to wait for, and is answered
with all arrivals since the last answer, as JSON. It ends with its standard input.
"""

import argparse
import json
import sys
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Self

import trio
from attrs import define, frozen

from pdu import (
    AssociateAC,
    AssociateIndication,
    AssociateRQ,
    Fragment,
    ReleaseIndication,
    Role,
    UpperLayer,
    UserInformation,
    negotiate,
)
from router.association.transport import Transport
from router.config import Timeouts
from router.dimse import Command, DataSetPiece, MessageAssembler, MessageBegin, Status, encode, response_to

HOST = "127.0.0.1"
MAXIMUM_LENGTH = 131072
SILENCE = 3600.0
"""Seconds that an association may rest."""


@frozen
class Arrival:
    """One object that was answered with success."""

    sop_instance_uid: str
    at: float
    """On the monotonic clock, which the processes of one machine share."""
    length: int
    crc: int
    """CRC-32 of the data set; 0 where the archive does not look."""


@define
class _Store:
    """The C-STORE that is coming in."""

    context_id: int
    command: Command
    length: int = 0
    crc: int = 0


class Archive:
    """A storage SCP on the loopback interface. `ae_title` and `address` are what a router.toml wants to know."""

    def __init__(self, ae_title: str = "ARCHIVE", *, port: int = 0, checks: bool = False) -> None:
        self.ae_title = ae_title
        self.port = port
        self.arrivals: list[Arrival] = []
        self._checks = checks
        self._news = trio.lowlevel.ParkingLot()

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Self]:
        """Serve while the block lasts; entered again, on the same port."""
        async with trio.open_nursery() as nursery:
            listeners = await trio.open_tcp_listeners(self.port, host=HOST)
            self.port = listeners[0].socket.getsockname()[1]
            nursery.start_soon(partial(trio.serve_listeners, self._associate, listeners))
            yield self
            nursery.cancel_scope.cancel()

    async def holds(self, count: int) -> list[Arrival]:
        """Wait until so many objects have come; repeats count."""
        while len(self.arrivals) < count:
            await self._news.park()
        return self.arrivals

    async def _associate(self, stream: trio.SocketStream) -> None:
        transport = Transport(stream.socket, UpperLayer(role=Role.ACCEPTOR, maximum_length=MAXIMUM_LENGTH), Timeouts())
        assembler, store = MessageAssembler(), None
        try:
            await transport.perform(transport.upper_layer.transport_connected())
            while transport.is_open:
                for indication in await transport.read(SILENCE):
                    match indication:
                        case Fragment():
                            store = await self._take(transport, assembler, indication, store)
                        case AssociateIndication(request=request):
                            await transport.tell(transport.upper_layer.accept, _acceptance(request))
                        case ReleaseIndication():
                            await transport.tell(transport.upper_layer.respond_release)
        finally:
            transport.close()

    async def _take(
        self, transport: Transport, assembler: MessageAssembler, fragment: Fragment, store: _Store | None
    ) -> _Store | None:
        piece = assembler.feed(fragment)
        if isinstance(piece, MessageBegin):
            store = _Store(piece.context_id, piece.command)
        elif isinstance(piece, DataSetPiece) and store is not None:
            store.length += len(piece.data)
            if self._checks:
                store.crc = zlib.crc32(piece.data, store.crc)
        if store is None or assembler.in_message:
            return store
        command = store.command
        if command.has_data_set:
            self.arrivals.append(Arrival(command.sop_instance_uid, time.monotonic(), store.length, store.crc))
            self._news.unpark_all()
        response = encode(response_to(command, Status.SUCCESS))
        await transport.send(transport.upper_layer.send_data(store.context_id, response, command=True, last=True))
        return None


def _acceptance(request: AssociateRQ) -> AssociateAC:
    return AssociateAC(
        called_ae_title=request.called_ae_title,
        calling_ae_title=request.calling_ae_title,
        presentation_contexts=negotiate(request.presentation_contexts, lambda context: context.transfer_syntaxes[0]),
        user_information=UserInformation(maximum_length=MAXIMUM_LENGTH, implementation_class_uid="2.25.1"),
    )


async def _serve(port: int) -> None:
    async with Archive(port=port).serving() as archive:
        print(archive.port, flush=True)
        async for line in trio.wrap_file(sys.stdin):
            arrivals = await archive.holds(int(line))
            archive.arrivals = []
            print(json.dumps([[one.sop_instance_uid, one.at, one.length, one.crc] for one in arrivals]), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0, the default, is any free port")
    trio.run(_serve, parser.parse_args().port)
