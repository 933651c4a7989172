"""Measure a query through the router against the same query asked directly, and through a raw TCP relay beside it.

Run it as a file, with the repository on PYTHONPATH. The archive is scripted: it sends N different matches as fast as a
Python process can, without Nagle's algorithm. Or it is DCMTK's dcmqrscp (TCP_NODELAY=1) with images of one series, of
which dcmqridx has made an index, asked at the IMAGE level (--dcmqrscp FOLDER). Each way is measured in turn, over
`--rounds` rounds; the medians count. Prints JSON, one line a size.
"""

import argparse
import json
import os
import resource
import signal
import socket
import statistics
import struct
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from pdu import (
    AssociateAC,
    AssociateIndication,
    Fragment,
    ReleaseIndication,
    Role,
    UpperLayer,
    UserInformation,
    negotiate,
)
from router.association import RemoteAE
from router.config import Config, Timeouts
from router.dicom.dataset import element
from router.dicom.information_models import STUDY_ROOT
from router.dicom.uids import EXPLICIT_LE
from router.dimse import DATA_SET, Command, CommandField, Status, decode, encode, response_to
from router.services.query.identifier import encode_identifier
from router.tools.bench.connection import Connection
from router.tools.bench.conversation import Asker, Measured
from router.tools.query.keys import build_identifier, parse_keys, with_return_keys
from tests.support.query_servers import Dcmqrscp
from tests.support.router_process import RouterProcess

HOST = "127.0.0.1"
VALUES = {
    0x00080020: ("DA", "20260102"),
    0x00080030: ("TM", "101500"),
    0x00080050: ("SH", "A4711"),
    0x00080052: ("CS", "STUDY"),
    0x00080061: ("CS", "CT\\SR"),
    0x00081030: ("LO", "CT of the head, without contrast"),
    0x00100010: ("PN", "Name^Of A^Patient"),
    0x00100020: ("LO", "P0000001"),
    0x00201208: ("IS", "412"),
}


def study(number: int) -> bytes:
    values = {tag: element(vr, value) for tag, (vr, value) in VALUES.items()}
    values[0x0020000D] = element("UI", f"1.2.826.0.1.3680043.8.498.1000000{number:07d}")
    return encode_identifier(values, EXPLICIT_LE)


def archive(listening: socket.socket, matches: int) -> None:
    """Serve associations in turn; send `matches` matches to each query."""
    identifiers = [study(number) for number in range(matches)]
    while True:
        sock, _ = listening.accept()
        if os.fork() == 0:
            serve(sock, identifiers)
            os._exit(0)


def serve(sock: socket.socket, identifiers: list[bytes]) -> None:
    layer = UpperLayer(role=Role.ACCEPTOR, maximum_length=131072)
    connection = Connection(sock, layer, 600)
    connection.set_timeout(600)
    connection.perform_primitive(layer.transport_connected)
    gathered = b""
    while connection.is_open:
        for one in connection.read():
            match one:
                case AssociateIndication(request=request):
                    accepted = negotiate(
                        request.presentation_contexts,
                        lambda context: EXPLICIT_LE,
                    )
                    connection.perform_primitive(
                        layer.accept,
                        AssociateAC(
                            called_ae_title=request.called_ae_title,
                            calling_ae_title=request.calling_ae_title,
                            presentation_contexts=accepted,
                            user_information=UserInformation(
                                maximum_length=131072,
                                implementation_class_uid=Config().router.implementation_class_uid,
                                implementation_version_name="SCRIPTED",
                            ),
                        ),
                    )
                case Fragment(is_command=True):
                    gathered += bytes(one.data)
                case Fragment(is_last=True):
                    command, gathered = decode(gathered), b""
                    if command.field == CommandField.C_FIND_RQ:
                        answer(connection, layer, one.context_id, command, identifiers)
                case ReleaseIndication():
                    connection.perform_primitive(layer.respond_release)


def answer(connection: Connection, layer: UpperLayer, context: int, command: Command, identifiers: list[bytes]) -> None:
    pending = encode(response_to(command, Status.PENDING, data_set_type=DATA_SET))
    head = b"".join(bytes(part) for part in layer.send_data(context, pending, command=True, last=True))
    out = bytearray()
    for identifier in identifiers:
        out += head
        out += struct.pack(">BxLLBB", 4, len(identifier) + 6, len(identifier) + 2, context, 2) + identifier
        if len(out) > 65536:
            connection.send([out])
            out = bytearray()
    final = encode(response_to(command, Status.SUCCESS))
    connection.send([out, *layer.send_data(context, final, command=True, last=True)])


def relay(listening: socket.socket, port: int) -> None:
    """Pass bytes on, both ways, knowing nothing."""
    while True:
        client, _ = listening.accept()
        server = socket.create_connection((HOST, port))
        for one in (client, server):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for source, target in ((client, server), (server, client)):
            threading.Thread(target=pump, args=(source, target), daemon=True).start()


def pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def start(work: Any, *arguments: Any) -> tuple[int, int]:
    listening = socket.create_server((HOST, 0), backlog=64)
    port = listening.getsockname()[1]
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        work(listening, *arguments)
        os._exit(0)
    listening.close()
    return pid, port


def ask(port: int, keys: Sequence[str] = (), level: str = "STUDY", called: str = "ROUTER") -> Measured:
    router = Config().router
    target = RemoteAE(
        host=HOST,
        port=port,
        called_ae=called,
        calling_ae="CLIENT",
        maximum_pdu_length=131072,
        implementation_class_uid=router.implementation_class_uid,
        implementation_version_name=router.implementation_version_name,
    )
    asker = Asker.open(target, STUDY_ROOT.find, Timeouts(dimse=600))
    identifier = build_identifier(with_return_keys(parse_keys(keys), STUDY_ROOT, level), level)
    command = Command(
        field=CommandField.C_FIND_RQ,
        affected_sop_class_uid=STUDY_ROOT.find,
        priority=0,
        data_set_type=DATA_SET,
    )
    measured = asker.measure(command, encode_identifier(identifier, asker.transfer_syntax), lambda now: None)
    asker.close()
    assert measured.final is not None
    assert measured.final.status == 0, measured.final
    return measured


def rss(pid: int) -> float:
    """Return the resident set of a process in MB, and its peak."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run(matches: int, archives: int, rounds: int, real: Path | None) -> dict[str, Any]:
    """Measure all three ways; with two archives both have the same matches, so that half are duplicates."""
    with ExitStack() as stack:
        started = [] if real else [start(archive, matches) for _ in range(archives)]
        ports = [port for _, port in started]
        keys: Sequence[str] = ()
        level, title = "STUDY", "A0"
        if real:
            dcmqrscp = stack.enter_context(Dcmqrscp(real, ae_title="A0"))
            ports = [dcmqrscp.port]
            keys, level = ("StudyInstanceUID=1.2.1", "SeriesInstanceUID=1.2.1.1"), "IMAGE"
        started.append(start(relay, ports[0]))
        for pid, _ in started:
            stack.callback(os.waitpid, pid, 0)
            stack.callback(os.kill, pid, signal.SIGKILL)
        asking = partial(ask, keys=keys, level=level, called=title)
        ways = {"direct": ports[0], "tcp relay": started[-1][1]}
        return measure(ways, ports, rounds, asking, matches)


def measure(
    ports: dict[str, int], archives: Sequence[int], rounds: int, asking: Callable[[int], Measured], matches: int
) -> dict[str, Any]:
    peers = {f"a{n}": {"ae_title": f"A{n}", "address": f"{HOST}:{port}"} for n, port in enumerate(archives)}
    route = {
        "name": "q", "service": "query", "to": list(peers), "limit": 10_000_000,
        "deadline": "600s", "first_answer": "60s", "between_answers": "60s",
    }  # fmt: skip
    content = {
        "router": {"listen": [f"{HOST}:0"], "spool": "spool"},
        "admin": {"listen": f"{HOST}:0"},
        "peers": peers,
        "routes": [route],
    }
    figures: dict[str, list[Measured]] = {"direct": [], "tcp relay": [], "router": []}
    with tempfile.TemporaryDirectory() as folder, RouterProcess(Path(folder), content) as router:
        ports["router"] = router.port
        before, peak, used = rss(router.pid), 0.0, 0.0
        for number in range(rounds + 1):
            for way, port in ports.items():
                began = cpu(router.pid)
                measured = asking(port)
                if number:  # the first is to warm up
                    figures[way].append(measured)
                    used += cpu(router.pid) - began if way == "router" else 0.0
            peak = max(peak, rss(router.pid))
    said: dict[str, Any] = {"matches": matches, "archives": len(archives)}
    for way, each in figures.items():
        said[way] = {
            "answers": each[0].pending,
            "first_ms": round(statistics.median((one.first or 0) - one.sent for one in each) * 1000, 2),
            "answers_per_s": round(statistics.median(one.pending / (one.last - one.sent) for one in each)),
        }
    for base in ("direct", "tcp relay"):
        said[f"first, to {base}"] = round(said["router"]["first_ms"] / said[base]["first_ms"], 2)
        said[f"rate, to {base}"] = round(said["router"]["answers_per_s"] / said[base]["answers_per_s"], 3)
    said["router_us_per_answer"] = round(used / rounds / max(1, figures["router"][0].pending) * 1e6, 1)
    said["router_rss_mb"] = {"before": round(before, 1), "after": round(peak, 1)}
    return said


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--archives", type=int, default=1)
    parser.add_argument("--dcmqrscp", type=Path)
    parser.add_argument("matches", type=int, nargs="*", default=[10_000])
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for size in options.matches:
        print(json.dumps(run(size, options.archives, options.rounds, options.dcmqrscp)), flush=True)
    sys.exit(0)
