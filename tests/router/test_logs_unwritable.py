"""A router whose log is not read or cannot be written: objects are still accepted and delivered."""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from click.testing import CliRunner

from router.cli import main
from tests.support.harness import Archive, Modality, data_set, store_rq
from tests.support.ports import HOST, free_port, listens, until
from tests.support.router_process import configuration, write_toml

OBJECTS = 40
"""Each is an association of its own: two lines of the log, in all more than the pipe's 4 KiB."""


@contextmanager
def pipe_without_a_reader() -> Iterator[int]:
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@contextmanager
def pipe_that_nobody_reads() -> Iterator[int]:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    yield writing
    os.close(writing)
    os.close(reading)


@contextmanager
def full_disk() -> Iterator[int]:
    fd = os.open("/dev/full", os.O_WRONLY)
    yield fd
    os.close(fd)


async def pass_through(port: int, archive: Archive) -> None:
    for number in range(OBJECTS):
        async with Modality.connected(port) as modality:
            await modality.associate()
            uid = f"1.2.{number + 1}"
            assert (await modality.store(store_rq(uid), data_set(uid))).status == 0
    await archive.received(OBJECTS)


@pytest.mark.parametrize(
    ("broken", "is_told"),
    [(pipe_without_a_reader, True), (pipe_that_nobody_reads, False), (full_disk, True)],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_a_log_that_cannot_be_written_loses_lines_only(tmp_path: Path, broken: Any, is_told: bool) -> None:
    async with Archive().serving() as archive:
        pacs = SimpleNamespace(ae_title="PACS", address=f"{HOST}:{archive.port}")
        port, admin = free_port(), free_port()
        content = configuration(
            {"pacs": pacs}, router={"listen": [f"{HOST}:{port}"]}, admin={"listen": f"{HOST}:{admin}"}
        )
        config = write_toml(tmp_path / "router.toml", content)
        with broken() as stderr:
            arguments = [sys.executable, "-m", "router", "run", "--config", str(config), "--log-format", "json"]
            process = await trio.to_thread.run_sync(partial(subprocess.Popen, arguments, stderr=stderr))
            try:
                await trio.to_thread.run_sync(until, lambda: listens(admin), "the router starts")
                await pass_through(port, archive)
                shown = await trio.to_thread.run_sync(CliRunner().invoke, main, ["status", "--config", str(config)])
                assert shown.exit_code == 0, shown.output
                assert ("dropped because standard error failed" in shown.output) is is_told
                process.send_signal(signal.SIGTERM)
                assert await trio.to_thread.run_sync(process.wait, 20) == 0
            finally:
                process.kill()
                process.wait()


def test_a_router_without_standard_error_writes_no_log_into_its_own_files(tmp_path: Path) -> None:
    port, admin = free_port(), free_port()
    content = configuration({}, routes=[], router={"listen": [f"{HOST}:{port}"]}, admin={"listen": f"{HOST}:{admin}"})
    config = write_toml(tmp_path / "router.toml", content)
    process = subprocess.Popen(
        ["sh", "-c", f"exec {sys.executable} -m router run --config {config} <&- >&- 2>&-"], start_new_session=True
    )
    try:
        until(lambda: listens(admin), "the router starts")
        for fd in (0, 1, 2):
            assert os.readlink(f"/proc/{process.pid}/fd/{fd}") == os.devnull
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
