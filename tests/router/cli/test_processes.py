"""The command line and the routers it talks to, each a process of its own, on loopback."""

import json
import logging
import os
import pty
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pydicom
import pytest
import structlog
from click.testing import CliRunner
from pydicom.data import get_testdata_file
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)

from router.cli import main
from tests.support.archive import PynetdicomArchive
from tests.support.objects import PHI, Instance, ct, stored_files
from tests.support.ports import HOST, free_port, until
from tests.support.router_process import RouterProcess, configuration, write_toml

TOP = Path(__file__).parents[3]
TRANSFER_SYNTAXES = (ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, JPEG2000Lossless)


def command(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """`dicom-router` with these arguments, run to its end."""
    return subprocess.run(
        [sys.executable, "-m", "router", *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": os.getcwd()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def answer(*arguments: str | Path) -> Any:
    """What a command says with --json; it must succeed. Called in this process, which is faster."""
    done = CliRunner().invoke(main, [*map(str, arguments), "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def address(router: RouterProcess) -> str:
    return f"{router.host}:{router.port}"


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """A command sends its log to the runner's standard error, which is closed afterwards."""
    handlers = logging.root.handlers[:]
    yield
    structlog.reset_defaults()
    logging.root.handlers[:] = handlers


@pytest.fixture(scope="module")
def sink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RouterProcess]:
    """A router that holds whatever comes."""
    content = configuration({}, router={"ae_title": "SINK", "unrouted": "hold"}, routes=[])
    with RouterProcess(tmp_path_factory.mktemp("sink"), content) as router:
        yield router


@pytest.fixture
def to_sink(sink: RouterProcess, tmp_path: Path) -> Iterator[RouterProcess]:
    """A router with a route to the sink."""
    there = SimpleNamespace(ae_title="SINK", address=address(sink))
    with RouterProcess(tmp_path / "to-sink", configuration({"sink": there})) as router:
        yield router


@pytest.fixture
def to_nobody(tmp_path: Path) -> Iterator[RouterProcess]:
    """A router whose only destination does not answer."""
    gone = SimpleNamespace(ae_title="GONE", address=f"{HOST}:{free_port()}")
    with RouterProcess(tmp_path / "to-nobody", configuration({"gone": gone})) as router:
        yield router


# run


def test_run_is_ready_where_its_addresses_say_and_ends_with_0_on_sigterm(tmp_path: Path) -> None:
    router = RouterProcess(tmp_path, configuration({}, routes=[])).start()
    assert router.get("/healthz") == {"status": "ok"}
    socket.create_connection((router.host, router.port), timeout=5).close()
    router.stop()


def test_ipv4_and_ipv6_are_two_addresses_to_listen_on(tmp_path: Path) -> None:
    port = free_port()
    for listen, hosts in ((["[::]"], {"::1"}), (["0.0.0.0", "[::]"], {"127.0.0.1", "::1"})):
        content = configuration({}, routes=[], router={"listen": [f"{host}:{port}" for host in listen]})
        with RouterProcess(tmp_path / str(len(listen)), content):
            assert {host for host in ("127.0.0.1", "::1") if _answers(host, port)} == hosts


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


def test_a_second_router_on_the_same_spool_ends_with_1_and_says_why(tmp_path: Path) -> None:
    with RouterProcess(tmp_path, configuration({}, routes=[])) as first:
        second = command("run", "--config", first.config)
        assert second.returncode == 1
        assert "in use by another router" in second.stderr
        assert str(first.pid) in second.stderr
        assert first.get("/healthz") == {"status": "ok"}


@pytest.mark.parametrize("section", ["router", "admin"])
def test_a_port_in_use_ends_with_1_and_is_named(section: str, tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as taken:
        name = f"{HOST}:{taken.getsockname()[1]}"
        listen = {"router": {"listen": [name]}, "admin": {"listen": name}}[section]
        config = write_toml(tmp_path / "router.toml", configuration({}, routes=[], **{section: listen}))
        done = command("run", "--config", config)
        assert done.returncode == 1
        assert name in done.stderr
        assert "Traceback" not in done.stderr


def test_a_state_that_cannot_be_opened_ends_with_1_and_is_named(tmp_path: Path) -> None:
    config = write_toml(tmp_path / "router.toml", configuration({}, routes=[]))
    (tmp_path / "spool/state.sqlite").mkdir(parents=True)
    done = command("run", "--config", config)
    assert done.returncode == 1
    assert "state.sqlite cannot be opened: Is a directory" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_faulty_configuration_ends_with_2_and_every_fault_is_a_line_of_the_log(tmp_path: Path) -> None:
    config = tmp_path / "router.toml"
    config.write_text("[router]\nlisen = []\n[peers.pacs]\naddress = 5\n")
    done = command("run", "--config", config)
    assert done.returncode == 2
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert {"router.lisen", "peers.pacs.address", "peers.pacs.ae_title"} <= {line["path"] for line in lines}


def test_the_log_is_one_json_object_a_line_and_without_patients(to_sink: RouterProcess, tmp_path: Path) -> None:
    assert command("send", address(to_sink), ct(3000).write(tmp_path)).returncode == 0
    to_sink.wait_for_log(lambda event: event.get("event") == "delivery")
    to_sink.stop()
    assert not [event for event in to_sink.logs if "raw" in event]
    assert not [value for value in PHI if value in to_sink.tail(1000)]


def test_sigint_stops_the_router(tmp_path: Path) -> None:
    router = RouterProcess(tmp_path, configuration({}, routes=[])).start()
    os.kill(router.pid, signal.SIGINT)
    router.stop()


def test_sighup_reloads_the_configuration_unless_it_has_faults(tmp_path: Path) -> None:
    with RouterProcess(tmp_path, configuration({}, routes=[])) as router:
        router.config.write_text("[router]\nlisen = []")
        os.kill(router.pid, signal.SIGHUP)
        refused = router.wait_for_log(lambda event: "not reloaded" in event.get("event", ""))
        assert "router.lisen" in str(refused["faults"])
        gone = SimpleNamespace(ae_title="GONE", address=f"{HOST}:{free_port()}")
        write_toml(router.config, configuration({"gone": gone}))
        os.kill(router.pid, signal.SIGHUP)
        assert router.wait_for_log(lambda event: event.get("event") == "reloaded")["routes"] == 1


# echo


def test_echo_by_address_and_by_name_in_all_three_syntaxes(sink: RouterProcess, to_sink: RouterProcess) -> None:
    by_address = answer("echo", address(sink), "--calling", "TESTER", "--called", "SINK")
    assert [one["words"] for one in by_address["echoes"]] == ["0000H success"] * 3
    assert (by_address["calling"], by_address["called"]) == ("TESTER", "SINK")
    by_name = command("echo", "sink", "--config", to_sink.config)
    assert by_name.returncode == 0
    assert by_name.stdout.count("0000H success in") == 3


def test_echo_to_an_unknown_ae_title_ends_with_1_and_a_message(tmp_path: Path) -> None:
    content = configuration({}, routes=[], access={"called_ae": ["ROUTER"]})
    with RouterProcess(tmp_path, content) as router:
        done = command("echo", address(router), "--called", "WRONG")
        assert done.returncode == 1
        assert "rejected: called AE title not recognized" in done.stderr


# send


def test_every_real_object_is_sent_unchanged(tmp_path: Path) -> None:
    instances = stored_files()
    assert len({instance.transfer_syntax for instance in instances}) > 10
    with PynetdicomArchive() as archive:
        sent = answer("send", archive.address, *(str(instance.path) for instance in instances))
        assert (sent["stored"], sent["failed"]) == (len(instances), 0)
        received = archive.wait_for(len(instances))
    assert sorted((one.sop_instance_uid, one.transfer_syntax, one.data) for one in received) == sorted(
        (one.sop_instance_uid, str(one.transfer_syntax), one.data) for one in instances
    )


def test_objects_sent_to_a_router_arrive_at_its_destination(sink: RouterProcess, to_sink: RouterProcess) -> None:
    instances = [instance for instance in stored_files() if instance.path is not None][:40]
    sent = answer("send", address(to_sink), *(str(one.path) for one in instances), "--calling", "CT1")
    assert sent["statuses"] == {"0000H success": len(instances)}

    def delivered() -> bool:
        return answer_numbers(to_sink)["delivered"] >= len({one.data for one in instances})

    until(delivered, "all delivered")
    numbers = answer_numbers(to_sink)
    assert (numbers["waiting"], numbers["held"], numbers["discarded"]) == (0, 0, 0)


def answer_numbers(router: RouterProcess) -> dict[str, int]:
    numbers: dict[str, int] = answer("status", *router.options)["destinations"]["sink"]
    return numbers


def test_more_than_128_kinds_of_objects_take_further_associations(tmp_path: Path) -> None:
    for number in range(130):
        ct(2500, sop_class_uid=f"2.25.1.{number}").write(tmp_path)
    with PynetdicomArchive() as archive:
        sent = answer("send", archive.address, tmp_path)
        assert (sent["stored"], sent["associations"]) == (130, 2)
        assert len({one.association for one in archive.wait_for(130)}) == 2


def test_folders_are_searched_and_other_files_are_skipped(tmp_path: Path) -> None:
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    for transfer_syntax in TRANSFER_SYNTAXES:
        ct(4000, transfer_syntax=transfer_syntax).write(below)
    (below / "notes.txt").write_text("no object")
    (below / "empty").touch()
    with PynetdicomArchive() as archive:
        sent = answer("send", archive.address, tmp_path)
        assert (sent["stored"], sent["skipped"], sent["failed"]) == (len(TRANSFER_SYNTAXES), 2, 0)


def test_a_dicomdir_stands_for_the_files_it_names() -> None:
    path = get_testdata_file("dicomdirtests/DICOMDIR")
    assert isinstance(path, str)
    records = pydicom.dcmread(path).DirectoryRecordSequence
    images = [record for record in records if "ReferencedFileID" in record]
    with PynetdicomArchive() as archive:
        sent = answer("send", archive.address, path)
        assert sent["stored"] == len(images) > 0
        assert sent["failed"] == 0


def test_failures_are_counted_by_status_and_listed_with_their_reasons(tmp_path: Path) -> None:
    files = [ct(3000).write(tmp_path) for _ in range(3)]
    with PynetdicomArchive(answer=0xA700) as archive:
        done = command("send", archive.address, *files)
        assert done.returncode == 1
        assert "0 of 3 objects stored" in done.stdout
        assert "3 x A700H refused: out of resources" in done.stdout
        assert str(files[2]) in done.stdout


def test_a_warning_counts_as_stored(tmp_path: Path) -> None:
    with PynetdicomArchive(answer=0xB000) as archive:
        sent = answer("send", archive.address, ct(3000).write(tmp_path))
        assert (sent["stored"], sent["stored_with_warning"], sent["failed"]) == (0, 1, 0)


def test_an_association_that_ends_early_costs_one_file_and_not_the_rest(tmp_path: Path) -> None:
    instances = [ct(3000) for _ in range(4)]
    files = [instance.write(tmp_path) for instance in instances]

    def abort_the_second(event: Any, received: Any) -> int:
        if received.sop_instance_uid == instances[1].sop_instance_uid:
            event.assoc.abort()
        return 0

    with PynetdicomArchive(answer=abort_the_second) as archive:
        done = command("send", archive.address, *files, "--json")
        sent = json.loads(done.stdout)
        assert done.returncode == 1
        assert (sent["stored"], sent["associations"]) == (3, 2)
        assert [one["sop_instance_uid"] for one in sent["failures"]] == [instances[1].sop_instance_uid]


def test_a_peer_that_ends_every_association_is_given_up(tmp_path: Path) -> None:
    files = [ct(3000).write(tmp_path) for _ in range(10)]

    def abort(event: Any, received: Any) -> int:
        event.assoc.abort()
        return 0

    with PynetdicomArchive(answer=abort) as archive:
        sent = json.loads(command("send", archive.address, *files, "--json").stdout)
        assert (sent["stored"], sent["failed"]) == (0, 10)
        assert sent["associations"] == 3


def test_progress_is_shown_on_a_terminal_only(tmp_path: Path) -> None:
    files = [ct(3000).write(tmp_path) for _ in range(3)]
    with PynetdicomArchive() as archive:
        ours, theirs = pty.openpty()
        done = subprocess.run(
            [sys.executable, "-m", "router", "send", archive.address, *map(str, files)],
            stdout=theirs,
            stderr=subprocess.STDOUT,
            timeout=60,
            check=False,
        )
        os.close(theirs)
        shown = _read_all(ours)
        assert done.returncode == 0
        assert "sending" in shown
        assert "3 of 3 objects stored" in shown
        assert "sending" not in command("send", archive.address, *files).stdout


def _read_all(terminal: int) -> str:
    shown = b""
    try:
        while piece := os.read(terminal, 65536):
            shown += piece
    except OSError:  # how Linux says that the other end of a terminal is closed
        pass
    finally:
        os.close(terminal)
    return shown.decode()


# status and queue


def test_status_shows_destinations_associations_and_spool(to_nobody: RouterProcess, tmp_path: Path) -> None:
    assert command("send", address(to_nobody), ct(3000).write(tmp_path)).returncode == 0
    now = answer("status", *to_nobody.options)
    numbers = now["destinations"]["gone"]
    assert now["running"]
    assert now["accepting"]
    assert numbers["accepted"] == 1
    assert numbers["waiting"] + numbers["in_flight"] == 1
    shown = command("status", *to_nobody.options)
    assert shown.returncode == 0
    assert "gone" in shown.stdout
    assert "no connection to" in shown.stdout


@pytest.fixture
def crowded(tmp_path: Path) -> Iterator[RouterProcess]:
    """A router with long names everywhere, and a queue of what waits and of what no route took."""
    nobody = {
        f"archive-of-the-{quarter}-quarter": SimpleNamespace(ae_title="GONE", address=f"{HOST}:{free_port()}")
        for quarter in ("northern", "southern")
    }
    content = configuration(nobody, router={"unrouted": "hold"})
    content["routes"][0]["when"] = {"Modality": "CT"}
    with RouterProcess(tmp_path / "crowded", content) as router:
        for number in (3000, 3001):
            sent = command("send", address(router), ct(number).write(tmp_path), "--calling", "A_VERY_LONG_NAME")
            assert sent.returncode == 0
        yield router


def widest(arguments: Sequence[str | Path], columns: str | None = None) -> int:
    """Characters in the longest line that a command prints into a pipe; at least six lines are wanted."""
    environ = {name: value for name, value in os.environ.items() if name != "COLUMNS"} | {"PYTHONPATH": os.getcwd()}
    whole = [sys.executable, "-m", "router", *map(str, arguments)]
    done = subprocess.run(
        whole, env=environ | ({"COLUMNS": columns} if columns else {}), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) >= 6
    return max(map(len, lines))


def test_tables_in_a_pipe_are_100_columns_wide_at_most_or_as_wide_as_columns_says(crowded: RouterProcess) -> None:
    admin = crowded.options
    for arguments in (("status", *admin), ("queue", "list", *admin)):
        assert widest(arguments) <= 100
        assert widest(arguments, "79") <= 79


def test_the_demo_fits_in_100_columns_and_succeeds() -> None:
    assert widest(["demo", "--objects", "20", "--config", TOP / "router.toml"]) <= 100


def test_the_operator_lists_and_changes_the_queue(to_nobody: RouterProcess, tmp_path: Path) -> None:
    instances = [ct(3000, transfer_syntax=transfer_syntax) for transfer_syntax in TRANSFER_SYNTAXES]
    admin = to_nobody.options
    answer("send", address(to_nobody), *(one.write(tmp_path) for one in instances))
    listed = answer("queue", "list", *admin)["deliveries"]
    assert {one["sop_instance_uid"] for one in listed} == {one.sop_instance_uid for one in instances}
    first, second = (one["message_id"] for one in listed[:2])

    assert answer("queue", "hold", first, *admin) == {"changed": 1}
    assert answer("queue", "show", first, *admin)["deliveries"][0]["state"] == "held"
    assert answer("queue", "release", first, *admin) == {"changed": 1}
    assert answer("queue", "retry", "--destination", "gone", *admin) == {"changed": 4}
    assert answer("queue", "discard", first, second, *admin) == {"changed": 2}
    assert len(answer("queue", "list", *admin)["deliveries"]) == 2
    assert command("queue", "retry", first, *admin).returncode == 1
    assert command("queue", "show", "99999", *admin).returncode == 1

    shown = command("queue", "list", *admin, "--state", "all")
    assert shown.returncode == 0
    assert all(one.sop_instance_uid in shown.stdout for one in instances[2:])


def test_an_object_is_exported_as_it_was_received(to_nobody: RouterProcess, tmp_path: Path) -> None:
    instance = ct(3_000_000)
    answer("send", address(to_nobody), instance.write(tmp_path))
    out = tmp_path / "out.dcm"
    _export_is(instance, out, *to_nobody.options)
    again = command("queue", "export", "1", "-o", out, *to_nobody.options)
    assert again.returncode == 1
    assert "File exists" in again.stderr


def _export_is(instance: Instance, out: Path, *options: str | Path) -> None:
    done = command("queue", "export", "1", "-o", out, *options)
    assert done.returncode == 0, done.stderr
    assert out.read_bytes().endswith(instance.data)
    meta = pydicom.dcmread(out, stop_before_pixels=True).file_meta
    assert (meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID) == (CTImageStorage, instance.transfer_syntax)


def test_the_queue_of_a_stopped_router_can_be_read_and_not_changed(to_nobody: RouterProcess, tmp_path: Path) -> None:
    instance = ct(300_000)
    answer("send", address(to_nobody), instance.write(tmp_path))
    to_nobody.stop()
    config = ("--config", to_nobody.config)
    (listed,) = answer("queue", "list", *config)["deliveries"]
    assert (listed["sop_instance_uid"], listed["state"]) == (instance.sop_instance_uid, "waiting")
    assert answer("queue", "show", "1", *config)["sop_instance_uid"] == instance.sop_instance_uid
    now = answer("status", *config)
    assert (now["running"], now["destinations"]["gone"]["waiting"]) == (False, 1)
    _export_is(instance, tmp_path / "out.dcm", *config)
    done = command("queue", "discard", "--all", *config)
    assert done.returncode == 1
    assert "--admin" in done.stderr


def test_queue_verbs_find_the_router_by_its_configuration(tmp_path: Path) -> None:
    content = configuration({}, routes=[], admin={"listen": f"{HOST}:{free_port()}"})
    with RouterProcess(tmp_path, content) as router:
        done = command("status", cwd=router.folder)
        assert done.returncode == 0
        assert "accepting" in done.stdout
        assert done.stderr == ""
