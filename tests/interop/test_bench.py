"""`dicom-router bench` as its user sees it: each command a process of its own, its figures from its JSON."""

import json
import os
import platform
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pydicom
import pytest

from benchmarks.peers.ports import own_port
from benchmarks.peers.processes import Address
from tests.support.archive import PynetdicomArchive
from tests.support.objects import ct
from tests.support.ports import HOST, until
from tests.support.router_process import RouterProcess, configuration


def bench(*arguments: object, code: int = 0) -> dict[str, Any]:
    """The figures of a command that ends with `code`."""
    done = subprocess.run(
        [sys.executable, "-m", "router", "bench", *map(str, arguments), "--json", "-"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return dict(json.loads(done.stdout))


class Sink:
    """A running `bench sink`; `figures` are there once it has ended."""

    def __init__(self, folder: Path, *options: object) -> None:
        self._json = folder / "sink.json"
        command = [sys.executable, "-m", "router", "bench", "sink", f"{HOST}:0", "--json", self._json, *options]
        self._process = subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        ready, self.address = self._process.stdout.readline().split()
        assert ready == "ready"

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def end(self) -> dict[str, Any]:
        """What it has seen, when Ctrl-C has ended it."""
        self._process.send_signal(signal.SIGINT)
        self._process.communicate(timeout=30)
        assert self._process.returncode == 0
        return dict(json.loads(self._json.read_text()))

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


@contextmanager
def sink(folder: Path, *options: object) -> Iterator[Sink]:
    started = Sink(folder, *options)
    try:
        yield started
    finally:
        started.kill()


@pytest.mark.parametrize("options", [(), ("--associations", 3), ("--window", 16), ("--nagle",), ("--rate", 400)])
def test_what_is_sent_is_what_the_sink_counts(tmp_path: Path, options: tuple[object, ...]) -> None:
    with sink(tmp_path) as there:
        sent = bench("send", there.address, "--size", "12KB", "--objects", 60, *options)
        seen = there.end()
    assert (sent["objects"], sent["stored"], sent["unanswered"]) == (60, 60, 0)
    assert (seen["objects"], seen["distinct"], seen["bytes"]) == (60, 60, sent["bytes"])
    assert sent["answers"] == {"0000H success": 60}
    assert 0 < sent["response_ms"]["p50"] <= sent["response_ms"]["p99"] <= sent["response_ms"]["max"]
    assert sent["objects_per_s"] == pytest.approx(60 / sent["seconds"], rel=0.01)


@pytest.mark.parametrize("associations", [1, 3, 40])  # 40: more than there are processes
def test_generator_and_sink_tell_the_cpu_they_used_and_what_was_left(tmp_path: Path, associations: int) -> None:
    with sink(tmp_path) as there:
        sent = bench("send", there.address, "--size", "12KB", "--objects", 400, "--associations", associations)
        seen = there.end()
    assert (sent["stored"], seen["distinct"], seen["associations"]) == (400, 400, associations)
    assert sent["generator"]["processes"] == min(associations, 32)
    assert sent["generator"]["cpu_us_per_object"] > 0
    assert seen["sink"]["cpu_us_per_object"] > 0
    assert 0 <= sent["machine"]["cores_left"] <= sent["machine"]["cores"]
    assert sent["limit"] in (None, "generator", "machine")
    assert sent["python"].startswith(platform.python_version())


def test_a_sink_outlives_peers_that_say_nothing_nonsense_or_half_of_it(tmp_path: Path) -> None:
    with sink(tmp_path) as there:
        for said in (b"", b"\x01", bytes(100), b"GET / HTTP/1.1\r\n\r\n", b"\x04\0\0\0\0\x06\0\0\0\x02\x01\x03"):
            with socket.create_connection((HOST, there.port)) as peer:
                peer.sendall(said)
        with socket.create_connection((HOST, there.port)):
            sent = bench("send", there.address, "--size", "12KB", "--objects", 3)
            seen = there.end()
    assert (sent["stored"], seen["objects"], seen["associations"]) == (3, 3, 7)


def test_a_window_is_what_the_sink_grants(tmp_path: Path) -> None:
    with sink(tmp_path, "--sink-window", 4) as there:
        sent = bench("send", there.address, "--size", "12KB", "--objects", 20, "--window", 16)
    assert (sent["asked"]["window"], sent["window"], sent["stored"]) == (16, 4, 20)


def test_a_rate_is_kept_and_a_peer_that_cannot_keep_up_is_charged_for_all_that_waited(tmp_path: Path) -> None:
    with sink(tmp_path, "--delay", "20ms") as there:
        sent = bench("send", there.address, "--size", "12KB", "--objects", 50, "--rate", 200)
    assert sent["objects_per_s"] < 60
    assert sent["response_ms"]["max"] > 500  # the last was due after 250 ms, and answered after a second
    assert sent["response_ms"]["p50"] > sent["response_ms"]["max"] / 4


def test_a_load_of_a_duration_ends_after_it(tmp_path: Path) -> None:
    with sink(tmp_path) as there:
        sent = bench("send", there.address, "--size", "525KB", "--duration", "300ms")
    assert 0.2 < sent["seconds"] < 3
    assert sent["stored"] == sent["objects"] > 5


def test_a_mixture_has_objects_of_all_its_sizes(tmp_path: Path) -> None:
    (tmp_path / "mix").write_text("3 12KB\n1 100KB\n")
    with sink(tmp_path) as there:
        sent = bench("send", there.address, "--size", f"mix:{tmp_path / 'mix'}", "--objects", 100)
    assert sent["stored"] == 100
    assert 100 * 12_000 < sent["bytes"] < 100 * 60_000


def test_the_sink_stores_the_sent_objects_under_new_uids(tmp_path: Path) -> None:
    original = ct(20_000)
    original.write(tmp_path)
    with sink(tmp_path, "--store", tmp_path / "kept") as there:
        sent = bench("send", there.address, "--files", tmp_path / f"{original.sop_instance_uid}.dcm", "--objects", 3)
        there.end()
    assert sent["stored"] == 3
    kept = sorted((tmp_path / "kept").iterdir())
    uids = [pydicom.dcmread(path).SOPInstanceUID for path in kept]
    assert [path.stem for path in kept] == uids
    assert len(set(uids)) == 3
    for path, uid in zip(kept, uids, strict=True):
        assert path.read_bytes().endswith(original.data.replace(original.sop_instance_uid.encode(), uid.encode()))


def test_a_peer_that_refuses_fails_the_command(tmp_path: Path) -> None:
    with sink(tmp_path, "--status", "A700") as there:
        sent = bench("send", there.address, "--size", "12KB", "--objects", 5, code=1)
        seen = there.end()
    assert (sent["stored"], sent["answers"]) == (0, {"A700H refused: out of resources": 5})
    assert (seen["objects"], seen["answers"]) == (0, {"A700H": 5})


def test_associations_that_end_early_are_opened_again_and_what_was_in_flight_counts_as_unanswered(
    tmp_path: Path,
) -> None:
    with sink(tmp_path, "--abort-every", 4) as there:
        sent = bench("send", there.address, "--size", "12KB", "--objects", 20, code=1)
        seen = there.end()
    assert (sent["stored"], sent["unanswered"], sent["not_sent"]) == (15, 5, 0)
    assert (seen["objects"], seen["aborted"]) == (15, 5)
    assert sum(sent["associations_ended_early"].values()) == 5


def test_a_peer_that_ends_one_association_after_the_other_is_given_up(tmp_path: Path) -> None:
    with sink(tmp_path, "--abort-every", 1) as there:
        sent = bench("send", there.address, "--size", "12KB", "--objects", 20, code=1)
    assert (sent["stored"], sent["unanswered"]) == (0, 3)
    assert "aborted by the peer" in sent["given_up"]


def test_a_port_that_refuses_fails_the_command_with_a_message() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "router", "bench", "send", f"{HOST}:{own_port()}", "--objects", "1"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "Connection refused" in done.stderr


def test_a_sink_ends_after_its_number_of_objects_and_prints_a_line_for_each() -> None:
    port = own_port()
    command = [sys.executable, "-m", "router", "bench", "sink", f"{HOST}:{port}", "--objects", "7", "--follow"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"ready {HOST}:{port}\n"
        sent = bench("send", f"{HOST}:{port}", "--size", "12KB", "--objects", 7)
        lines = [line.split() for line in process.stdout]
    assert process.returncode == 0
    assert len({uid for uid, _, _ in lines}) == len(lines) == sent["stored"] == 7
    assert sum(int(length) for _, _, length in lines) == sent["bytes"]


def test_objects_are_followed_through_the_router_and_nothing_is_missing(tmp_path: Path) -> None:
    there = Address(own_port())
    with RouterProcess(tmp_path / "router", configuration({"sink": there})) as router:
        figures = bench(
            "route", f"{HOST}:{router.port}", "--sink", there.address, "--size", "12KB", "--objects", 100,
            "--associations", 4,
        )  # fmt: skip
    assert (figures["acknowledged"]["stored"], figures["arrived"], figures["missing"]) == (100, 100, 0)
    assert (figures["repeated"], figures["strangers"]) == (0, 0)
    assert figures["end_to_end_ms"]["max"] >= figures["end_to_end_ms"]["p50"] > 0
    assert figures["objects_per_s"] > 0


def test_an_acknowledged_object_that_does_not_arrive_is_named_and_fails_the_command(tmp_path: Path) -> None:
    there = Address(own_port())
    with RouterProcess(tmp_path / "router", configuration({"sink": there})) as router:
        figures = bench(
            "route", f"{HOST}:{router.port}", "--sink", there.address, "--size", "12KB", "--objects", 3,
            "--abort-every", 1, "--patience", "300ms", code=1,
        )  # fmt: skip
    assert (figures["acknowledged"]["stored"], figures["arrived"], figures["missing"]) == (3, 0, 3)
    assert len(set(figures["missing_uids"])) == 3


@pytest.mark.parametrize("victim", ["generator", "sink"])
def test_a_process_that_is_killed_fails_the_command_with_words_and_leaves_nothing_running(
    victim: str, tmp_path: Path
) -> None:
    port = own_port()
    send = ["send", f"{HOST}:{port}", "--size", "12KB", "--duration", "60s", "--associations", "2"]
    with ExitStack() as stack:
        there = stack.enter_context(started("sink", f"{HOST}:{port}"))
        assert there.stdout is not None
        there.stdout.readline()
        load = stack.enter_context(started(*send))
        hit = load if victim == "generator" else there
        until(lambda: len(descendants(load.pid)) == 2 and len(descendants(there.pid)) == 3, "all have started")
        everyone = [*descendants(load.pid), *descendants(there.pid)]
        os.kill(descendants(hit.pid)[-1], signal.SIGKILL)
        _, told = hit.communicate(timeout=30)
        assert hit.returncode == 1
        assert f"a process of the {victim} was killed by SIGKILL" in told
        there.terminate()
        load.send_signal(signal.SIGINT)
        for process in (there, load):
            process.communicate(timeout=30)
        until(lambda: not any(psutil.pid_exists(pid) for pid in everyone), "nothing is left")


@contextmanager
def started(*command: str) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        [sys.executable, "-m", "router", "bench", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def descendants(pid: int) -> list[int]:
    return [one.pid for one in psutil.Process(pid).children(recursive=True)]


def test_a_refused_object_is_not_missing_but_fails_the_command(tmp_path: Path) -> None:
    there = Address(own_port())
    with RouterProcess(tmp_path / "router", configuration({"sink": there}, routes=[])) as router:
        figures = bench(
            "route", f"{HOST}:{router.port}", "--sink", there.address, "--size", "12KB", "--objects", 3, code=1
        )
    assert (figures["acknowledged"]["stored"], figures["missing"]) == (0, 0)
    assert sum(figures["acknowledged"]["answers"].values()) == 3


def test_without_a_router_the_command_fails_and_ends_the_sink() -> None:
    port = own_port()
    command = ["bench", "route", f"{HOST}:{own_port()}", "--sink", f"{HOST}:{port}", "--objects", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "router", *command], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "Connection refused" in done.stderr
    socket.create_server((HOST, port)).close()  # the sink's port is free again


def test_another_implementation_accepts_what_the_generator_sends(tmp_path: Path) -> None:
    with PynetdicomArchive() as archive:
        sent = bench("send", archive.address, "--size", "300KB", "--objects", 5, "--associations", 2)
        received = archive.wait_for(5)
    assert sent["stored"] == 5
    assert len({one.sop_instance_uid for one in received}) == 5
    for one in received:
        assert one.sop_instance_uid.encode() in one.data


def test_without_a_source_checkout_compare_says_that_it_needs_one(tmp_path: Path) -> None:
    installed = tmp_path / "site-packages" / "router" / "__init__.py"
    code = (
        f"import router; router.__file__ = {str(installed)!r}; import router.cli; router.cli.main(['bench', 'compare'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "source checkout" in done.stderr
