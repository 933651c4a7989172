"""The engine against DCMTK over real sockets: as acceptor of `echoscu`, as requestor to `storescp`.

The one C-ECHO is spelled out in bytes (PS3.7 9.3.5): the engine knows no DIMSE. `storescp` is started the way inetd
does, on one end of a socket pair, so that there is no port to wait for.
"""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pdu import (
    Answer,
    AssociateConfirm,
    AssociateIndication,
    CloseTransport,
    Fragment,
    ReleaseConfirm,
    ReleaseIndication,
    Role,
    Send,
    State,
    UpperLayer,
)
from tests.pdu.coupling import VERIFICATION, answer_to, request

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(not shutil.which("echoscu"), reason="needs DCMTK"),
]


def element(tag: int, value: bytes) -> bytes:
    return b"\x00\x00" + tag.to_bytes(2, "little") + len(value).to_bytes(4, "little") + value


def command(*elements: tuple[int, bytes]) -> bytes:
    body = b"".join(element(tag, value) for tag, value in elements)
    return element(0x0000, len(body).to_bytes(4, "little")) + body


SOP_CLASS = (0x0002, VERIFICATION.encode() + b"\x00")
NO_DATA_SET = (0x0800, b"\x01\x01")
ECHO_RQ = command(SOP_CLASS, (0x0100, b"\x30\x00"), (0x0110, b"\x01\x00"), NO_DATA_SET)
ECHO_RSP = command(SOP_CLASS, (0x0100, b"\x30\x80"), (0x0120, b"\x01\x00"), NO_DATA_SET, (0x0900, b"\x00\x00"))


class Blocking:
    """The simplest transport there can be: everything is written before the next read."""

    def __init__(self, engine: UpperLayer, connection: socket.socket) -> None:
        self.engine = engine
        self.connection = connection
        self.told: list[object] = []
        self.open = True

    def perform(self, answer: Answer) -> None:
        for each in answer:
            match each:
                case Send(buffers):
                    self.connection.sendall(b"".join(buffers))
                case CloseTransport():
                    self.open = False
                case Fragment():
                    self.told.append((each.context_id, bytes(each.data)))
                case AssociateIndication() | AssociateConfirm() | ReleaseIndication() | ReleaseConfirm():
                    self.told.append(each)

    def until(self, kind: type) -> object:
        """Receive until something of this kind is told."""
        while not isinstance(self.told[-1] if self.told else None, kind):
            assert self.open
            self.perform(self.engine.received(self.connection.recv_into(self.engine.writable())))
        return self.told[-1]


@contextmanager
def running(arguments: list[str], **streams: object) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(arguments, stderr=subprocess.STDOUT, **streams)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_echoscu_is_served_from_request_to_release() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        call = ["echoscu", "-aet", "DCMTK", "-aec", "ENGINE", "--propose-ts", "3", "127.0.0.1", port]
        with running(call, stdout=subprocess.DEVNULL) as echoscu:
            listener.settimeout(30)
            connection, _ = listener.accept()
            with connection:
                peer = Blocking(UpperLayer(role=Role.ACCEPTOR), connection)
                peer.perform(peer.engine.transport_connected())
                indication = peer.until(AssociateIndication)
                assert isinstance(indication, AssociateIndication)
                rq = indication.request
                assert (rq.calling_ae_title, rq.called_ae_title) == ("DCMTK", "ENGINE")
                assert rq.presentation_contexts[0].abstract_syntax == VERIFICATION
                assert rq.user_information.implementation_class_uid.startswith("1.2.276.0.7230010.3.0.3.")
                peer.perform(peer.engine.accept(answer_to(rq)))
                assert peer.until(tuple) == (1, ECHO_RQ)
                connection.sendall(b"".join(peer.engine.send_data(1, ECHO_RSP, command=True, last=True)))
                peer.until(ReleaseIndication)
                peer.perform(peer.engine.respond_release())
                peer.perform(peer.engine.received(connection.recv_into(peer.engine.writable())))
                assert peer.engine.state is State.STA1
            assert echoscu.wait(30) == 0


def test_storescp_serves_us_from_request_to_release() -> None:
    ours, its = socket.socketpair()
    with ours, its, running(["storescp", "--inetd"], stdin=its, stdout=its):
        its.close()
        ours.settimeout(30)
        peer = Blocking(UpperLayer(role=Role.REQUESTOR), ours)
        peer.engine.associate(request())
        peer.perform(peer.engine.transport_connected())
        confirm = peer.until(AssociateConfirm)
        assert isinstance(confirm, AssociateConfirm)
        assert 1 in peer.engine.contexts
        assert 5 not in peer.engine.contexts
        ours.sendall(b"".join(peer.engine.send_data(1, ECHO_RQ, command=True, last=True)))
        assert peer.until(tuple) == (1, ECHO_RSP)
        peer.perform(peer.engine.release())
        peer.until(ReleaseConfirm)
        assert peer.engine.state is State.STA1
