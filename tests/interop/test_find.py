"""`dicom-router find` against DCMTK's archive and RIS, and against peers that misbehave."""

import signal
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support.command_line import command, json_output
from tests.support.harness import eventually
from tests.support.ports import free_port
from tests.support.query_archive import QueryArchive, answering, record, until_cancelled
from tests.support.query_servers import Dcmqrscp, Wlmscpfs, image, scheduled_step

pytestmark = pytest.mark.interop

PATIENT_ID = 0x00100020


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dcmqrscp]:
    archive = Dcmqrscp(tmp_path_factory.mktemp("find") / "archive")
    objects = [
        image(f"P{patient}", f"1.2.{patient}", series=f"1.2.{patient}.{series}", uid=f"1.2.{patient}.{series}.7")
        for patient in range(1, 4)
        for series in (1, 2)
    ]
    archive.add([*objects, image("P9", "1.2.9", name="Müller^Jürgen")])
    with archive:
        yield archive


async def ask(archive: Dcmqrscp, *arguments: str) -> Any:
    return await json_output("find", archive.address, "--called", archive.ae_title, *arguments)


async def test_every_level_of_every_model_gives_what_the_archive_has(archive: Dcmqrscp) -> None:
    for arguments, key, expected in (
        (("--model", "patient", "--level", "PATIENT"), "PatientID", {"P1", "P2", "P3", "P9"}),
        (("--model", "patient", "--level", "STUDY", "PatientID=P2"), "StudyInstanceUID", {"1.2.2"}),
        (("--model", "patient-study", "--level", "study", "PatientID=P2"), "StudyInstanceUID", {"1.2.2"}),
        (("PatientID=P?",), "StudyInstanceUID", {"1.2.1", "1.2.2", "1.2.3", "1.2.9"}),
        (("--level", "SERIES", "StudyInstanceUID=1.2.3"), "SeriesInstanceUID", {"1.2.3.1", "1.2.3.2"}),
        (
            ("--level", "IMAGE", "StudyInstanceUID=1.2.1", "SeriesInstanceUID=1.2.1.2"),
            "SOPInstanceUID",
            {"1.2.1.2.7"},
        ),
    ):
        found = await ask(archive, *arguments)
        assert {match[key] for match in found["matches"]} == expected, arguments
        assert found["complete"]


async def test_tags_wildcards_and_lists_are_keys_and_a_key_without_a_value_is_asked_for(archive: Dcmqrscp) -> None:
    found = await ask(archive, "(0020,000D)=1.2.1\\1.2.3", "0010,0010", "PatientID", "StudyDate=20260101-20260103")
    assert sorted((match["PatientID"], match["PatientName"]) for match in found["matches"]) == [
        ("P1", "Name^P1"),
        ("P3", "Name^P3"),
    ]
    assert {len(match["StudyInstanceUID"]) for match in found["matches"]} == {5}
    assert "AccessionNumber" not in found["matches"][0]


async def test_names_are_sent_and_shown_in_the_character_set_that_is_given(archive: Dcmqrscp) -> None:
    found = await ask(archive, "PatientName=Müller^*", "SpecificCharacterSet=ISO_IR 100", "PatientID")
    assert [match["PatientName"] for match in found["matches"]] == ["Müller^Jürgen"]


async def test_the_table_has_a_row_for_each_match(archive: Dcmqrscp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    result = await command("find", archive.address, "--called", archive.ae_title, "PatientID=P1")
    assert result.exit_code == 0, result.output
    assert "Study of P1" in result.stdout
    assert "1.2.1" in result.stdout
    assert "1 match of DCMQRSCP" in result.stdout


async def test_past_the_limit_the_query_is_cancelled_and_says_so(archive: Dcmqrscp) -> None:
    result = await command("find", archive.address, "--called", archive.ae_title, "--limit", "2")
    assert result.exit_code == 1
    assert "there are more" in result.stderr


async def test_a_worklist_is_asked_by_paths_into_its_sequence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "240")
    ris = Wlmscpfs(tmp_path / "ris")
    ris.add(scheduled_step("P1", "CT"), scheduled_step("P2", "MR"))
    with ris:
        found = await json_output(
            *("find", ris.address, "--called", ris.ae_title, "--model", "worklist"),
            "ScheduledProcedureStepSequence[0].Modality=MR",
        )
        table = await command("find", ris.address, "--called", ris.ae_title, "--model", "worklist")
    (match,) = found["matches"]
    assert match["PatientID"] == "P2"
    (step,) = match["ScheduledProcedureStepSequence"]
    assert (step["Modality"], step["ScheduledProcedureStepDescription"]) == ("MR", "MR of the head")
    assert "CT of the head" in table.stdout


async def test_a_peer_of_the_configuration_is_asked_at_the_ae_that_it_has_for_queries(
    tmp_path: Path, archive: Dcmqrscp
) -> None:
    config = tmp_path / "router.toml"
    config.write_text(f"""
        [peers.pacs]
        ae_title = "STORE"
        address = "127.0.0.1:{free_port()}"
        query = {{ ae_title = "{archive.ae_title}", address = "{archive.address}" }}
    """)
    found = await json_output("find", "pacs", "PatientID=P1", "--config", str(config))
    assert len(found["matches"]) == 1


async def test_a_peer_that_fails_or_is_silent_or_not_there_is_told_in_words(tmp_path: Path) -> None:
    config = tmp_path / "router.toml"
    config.write_text("[timeouts]\ndimse = '1s'\n")
    for script, words in (
        (answering(record({PATIENT_ID: "1"}), final=(0xA700, None)), "A700H refused: out of resources"),
        (answering(record({PATIENT_ID: "1"}), final="silence"), "silent"),
        (answering(final="abort"), "abort"),
    ):
        async with QueryArchive(find=script).serving() as peer:
            result = await command("find", f"127.0.0.1:{peer.port}", "--config", str(config))
        assert result.exit_code == 1
        assert words in result.stderr
    result = await command("find", f"127.0.0.1:{free_port()}")
    assert result.exit_code == 1
    assert "no connection" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("nowhere",),
        ("127.0.0.1:1", "PatientIDD=1"),
        ("127.0.0.1:1", "PatientID=1", "PatientID=2"),
        ("127.0.0.1:1", "PatientID.Modality=CT"),
        ("127.0.0.1:1", "ScheduledProcedureStepSequence=1"),
        ("127.0.0.1:1", "Rows=many"),
        ("127.0.0.1:1", "QueryRetrieveLevel=STUDY"),
        ("127.0.0.1:1", "--level", "PATIENT"),
        ("127.0.0.1:1", "--model", "worklist", "--level", "STUDY"),
        ("127.0.0.1:1", "PatientName=Müller", "SpecificCharacterSet=ISO_IR 13"),
    ],
)
async def test_a_wrong_query_is_a_fault_of_usage(arguments: tuple[str, ...]) -> None:
    result = await command("find", *arguments)
    assert result.exit_code == 2, result.output


async def test_ctrl_c_cancels_the_query_and_shows_what_has_come() -> None:
    async with QueryArchive(find=until_cancelled).serving() as peer, trio.open_nursery() as nursery:
        arguments = [sys.executable, "-m", "router", "find", f"127.0.0.1:{peer.port}", "--json"]
        run = partial(trio.run_process, arguments, capture_stdout=True, capture_stderr=True, check=False)
        process: trio.Process = await nursery.start(run)

        async def has_answered() -> bool:
            return peer.sent > 10

        await eventually(has_answered)
        process.send_signal(signal.SIGINT)
        await process.wait()
        assert process.returncode == 1
        assert len(peer.cancels) == 1
