"""Conversations as an operator sees them: live in `status`, finished in `conversations`, and once in the log."""

import json
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from router.dimse import Status
from tests.support.command_line import command, json_output
from tests.support.harness import eventually
from tests.support.ports import HOST
from tests.support.query_archive import Query, QueryArchive, Step, answering, record
from tests.support.router_process import RouterProcess, configuration

pytestmark = pytest.mark.interop

STUDY_INSTANCE_UID, PATIENT_ID = 0x0020000D, 0x00100020
STUDIES = [record({STUDY_INSTANCE_UID: f"1.2.{number}", PATIENT_ID: "SECRET-ID"}) for number in range(3)]


@asynccontextmanager
async def running(folder: Path, archives: dict[str, QueryArchive]) -> AsyncIterator[RouterProcess]:
    """A router with a route for queries to these archives, as a process."""
    peers = {
        name: {"ae_title": name.upper(), "address": f"{HOST}:{archive.port}"} for name, archive in archives.items()
    }
    route = {"name": "all", "service": "query", "to": list(archives)}
    router = RouterProcess(folder, configuration({}, peers=peers, routes=[route]))
    await trio.to_thread.run_sync(router.start)
    try:
        yield router
    except BaseException:
        router.kill()
        raise
    await trio.to_thread.run_sync(router.stop)


async def test_a_query_is_live_while_an_archive_is_slow_and_then_says_what_each_archive_did(tmp_path: Path) -> None:
    release = trio.Event()

    async def slow(query: Query) -> AsyncGenerator[Step, None]:
        yield Status.PENDING, STUDIES[0]
        await release.wait()
        yield 0xA700, None

    async with (
        QueryArchive(find=answering(*STUDIES)).serving() as quick,
        QueryArchive(find=slow).serving() as late,
        running(tmp_path / "router", {"quick": quick, "late": late}) as router,
        trio.open_nursery() as nursery,
    ):
        where = f"{router.host}:{router.port}"
        arguments = [sys.executable, "-m", "router", "find", where, "PatientID=SECRET-ID", "--calling", "VIEWER"]
        found: list[Any] = []

        async def ask() -> None:
            found.append(await trio.run_process([*arguments, "--json"], capture_stdout=True, check=False))

        nursery.start_soon(ask)
        status = partial(json_output, "status", *router.options)

        async def is_live() -> bool:
            live = (await status())["conversations"]
            return bool(live) and live[0]["archives"].get("late", {}).get("matches", 0) == 1

        await eventually(is_live)
        (live,) = (await json_output("conversations", "list", "--live", *router.options))["live"]
        assert (live["service"], live["calling_ae"], live["status"]) == ("query", "VIEWER", "")
        text = await command("status", *router.options)
        assert "C-FIND STUDY (Study Root)" in text.stdout
        release.set()

        async def has_ended() -> bool:
            return not (await status())["conversations"]

        await eventually(has_ended)
        number = str(live["number"])
        one = await json_output("conversations", "show", number, *router.options)
        assert not one["live"]
        assert one["status"].startswith("C001H")
        assert one["archives"]["quick"]["matches"] == 3
        assert one["archives"]["quick"]["status"] == "0000H success"
        assert one["archives"]["late"]["matches"] == 1
        assert one["archives"]["late"]["cause"].startswith("A700H")
        assert one["archives"]["quick"]["duplicates"] + one["archives"]["late"]["duplicates"] == 1
        shown = await command("conversations", "show", number, *router.options)
        assert "late" in shown.stdout
        assert "SECRET-ID" not in shown.stdout + text.stdout + str(one)
        gone = await command("conversations", "show", "999", *router.options)
        assert gone.exit_code == 1
        assert "no conversation 999" in gone.stderr
    assert len(json.loads(found[0].stdout)["matches"]) == 3
    assert found[0].returncode == 1
    lines = [line for line in router.logs if line.get("event") == "conversation"]
    assert [line["number"] for line in lines] == [1]
    assert "SECRET-ID" not in router.tail(1000)


async def test_without_a_running_router_there_are_no_conversations(tmp_path: Path) -> None:
    config = tmp_path / "router.toml"
    config.write_text(f'[router]\nspool = "{tmp_path / "spool"}"\n[admin]\nlisten = "127.0.0.1:1"\n')
    result = await command("conversations", "list", "--config", str(config))
    assert result.exit_code == 1
