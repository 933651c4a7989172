"""`explain` for queries: which archives are asked, and why the others are not."""

from pathlib import Path

import pytest

from tests.support.command_line import command, json_output

ROUTES = """
[query]
calling_ae = ["WORKSTATION", "STATION*"]
[peers.pacs]
ae_title = "PACS"
address = "10.0.0.5:104"
[peers.vna]
ae_title = "VNA"
address = "10.0.0.6:104"
[peers.ris]
ae_title = "RIS"
address = "10.0.0.7:104"
[[routes]]
name = "old patients"
service = "query"
when = { PatientID = "A*", level = "STUDY" }
to = ["vna"]
[[routes]]
name = "all"
service = "query"
when = { information_model = ["study", "patient"] }
to = ["pacs"]
[[routes]]
name = "worklist"
service = "worklist"
when = { Modality = "MR" }
to = ["ris"]
[[routes]]
name = "reading room"
service = "retrieve"
when = { destination = "reading*" }
to = ["pacs", "vna"]
[[routes]]
name = "print"
service = "relay"
when = { sop_class = "*Print*" }
to = ["ris"]
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "router.toml"
    path.write_text(ROUTES)
    return str(path)


async def test_a_query_goes_where_its_keys_and_its_level_say(config: str) -> None:
    base = ("explain", "--config", config, "--service", "query", "--calling", "WORKSTATION")
    (answer,) = await json_output(*base, "--key", "PatientID=A17", "--level", "STUDY")
    assert answer["destinations"] == ["vna", "pacs"]
    assert answer["refused"] == []
    (answer,) = await json_output(*base, "--key", "PatientID=B17", "--model", "patient", "--level", "SERIES")
    assert answer["destinations"] == ["pacs"]
    reasons = answer["routes"][0]["reasons"]
    assert 'PatientID is "B17", not "A*"' in reasons
    assert 'level is "SERIES", not "STUDY"' in reasons
    text = await command(*base, "--key", "PatientID=A17")
    assert "=> vna, pacs" in text.stdout


async def test_who_may_not_query_is_told_so(config: str) -> None:
    (answer,) = await json_output("explain", "--config", config, "--service", "query", "--calling", "STRANGER")
    assert answer["refused"] == ['[query] lets "STRANGER" ask nothing']


async def test_a_worklist_is_routed_by_the_keys_of_its_step(config: str) -> None:
    base = ("explain", "--config", config, "--service", "worklist")
    (answer,) = await json_output(*base, "--key", "ScheduledProcedureStepSequence.Modality=MR")
    assert answer["destinations"] == ["ris"]
    (answer,) = await json_output(*base, "--key", "ScheduledProcedureStepSequence.Modality=CT")
    assert answer["refused"] == ["no route matches it"]


async def test_a_retrieve_is_routed_by_its_destination(config: str) -> None:
    base = ("explain", "--config", config, "--service", "retrieve", "--key", "StudyInstanceUID=1.2")
    (answer,) = await json_output(*base, "--destination", "reading1")
    assert (answer["destinations"], answer["refused"]) == (["pacs", "vna"], [])
    (answer,) = await json_output(*base, "--destination", "home")
    assert answer["refused"] == ["no route matches it"]


async def test_a_relayed_association_is_routed_by_its_sop_class(config: str) -> None:
    base = ("explain", "--config", config, "--service", "relay", "--sop-class")
    (answer,) = await json_output(*base, "1.2.840.10008.5.1.1.9")
    assert answer["destinations"] == ["ris"]
    (answer,) = await json_output(*base, "1.2.840.10008.5.1.4.34.6.1")
    assert answer["refused"] == ["no route matches it"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--service", "query", "a.dcm"),
        ("--key", "PatientID=1"),
        ("--service", "query", "--model", "worklist"),
        ("--service", "query", "--key", "Nothing=1"),
        ("--service", "query", "--level", "PATIENT"),
    ],
)
async def test_what_is_no_request_is_a_fault_of_usage(config: str, arguments: tuple[str, ...]) -> None:
    assert (await command("explain", "--config", config, *arguments)).exit_code == 2
