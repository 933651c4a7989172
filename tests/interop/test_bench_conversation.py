"""`bench find` and `bench retrieve` against DCMTK's archive: the counts are right, and times are told."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.command_line import command
from tests.support.ports import HOST, free_port
from tests.support.query_archive import QueryArchive, answering, record
from tests.support.query_servers import Dcmqrscp, image

pytestmark = pytest.mark.interop


async def json_figures(*arguments: str) -> Any:
    result = await command(*arguments)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


async def test_answers_and_objects_of_an_archive_are_counted(tmp_path: Path) -> None:
    port = free_port()
    archive = Dcmqrscp(tmp_path / "archive", destinations={"SINK": port})
    images = [image("P1", "1.2.1") for _ in range(30)]
    archive.add([*images, image("P2", "1.2.2")])
    ae = ("--called", archive.ae_title, "--json", "-")
    with archive:
        found = await json_figures("bench", "find", archive.address, "--queries", "3", *ae)
        moved = await json_figures(
            *("bench", "retrieve", archive.address, "StudyInstanceUID=1.2.1", "--level", "STUDY"),
            *("--sink", f"{HOST}:{port}", "--to", "SINK", *ae),
        )
    assert (found["answers"], found["queries"]) == (6, 3)
    assert found["statuses"] == {"0000H success": 3}
    assert 0 < found["first_answer_ms"]["p50"] <= found["query_ms"]["max"]
    assert moved["objects"] == moved["counts"]["completed"] == 30
    assert moved["bytes"] == sum(len(one.data) for one in images)
    assert moved["first_object_ms"] > 0


async def test_a_query_that_fails_fails_the_measurement() -> None:
    script = answering(*[record({0x00100020: "1"})] * 3, final=(0xA700, None))
    async with QueryArchive(find=script).serving() as peer:
        result = await command("bench", "find", f"127.0.0.1:{peer.port}")
        assert result.exit_code == 1
        assert "3 answers" in result.stdout
        assert "1 x A700H" in result.stdout
    result = await command("bench", "find", f"127.0.0.1:{free_port()}")
    assert result.exit_code == 1
    assert "no connection" in result.stderr
