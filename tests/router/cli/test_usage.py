"""The command line, called as a person would: what is usage, what is configuration, and what an answer looks like."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from click.testing import CliRunner, Result
from pydicom.uid import MRImageStorage

from router.cli import COMMANDS, main
from tests.support.objects import PHI, ct
from tests.support.ports import HOST, free_port

FAULTY = """
[router]
lisen = ["0.0.0.0:11112"]
[peers.pacs]
address = "nowhere"
[[routes]]
name = "all"
service = "storage"
to = ["vna"]
"""

ROUTES = """
[peers.pacs]
ae_title = "PACS"
address = "10.0.0.5:104"
[peers.vna]
ae_title = "VNA"
address = "10.0.0.6:104"
[[routes]]
name = "ct"
service = "storage"
when = { calling_ae = "CT*", Modality = "CT" }
to = ["pacs"]
[[routes]]
name = "mr"
service = "storage"
when = { sop_class = "MRImageStorage" }
to = ["vna"]
"""


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """A command sends its log to the runner's standard error, which is closed afterwards."""
    handlers = logging.root.handlers[:]
    yield
    structlog.reset_defaults()
    logging.root.handlers[:] = handlers


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def written(folder: Path, content: str) -> Path:
    path = folder / "router.toml"
    path.write_text(content)
    return path


# Usage


def test_help_names_every_command() -> None:
    result = call("--help")
    assert result.exit_code == 0
    assert all(name in result.output for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    result = call(name, "--help")
    assert result.exit_code == 0
    assert "Usage:" in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["fly"],
        ["run", "--log-format", "xml"],
        ["echo"],
        ["echo", "no-such-peer"],
        ["echo", "127.0.0.1:0"],
        ["echo", "127.0.0.1:104", "--called", "an AE title that is too long"],
        ["echo", "127.0.0.1:104", "--calling", "back\\slash"],
        ["send", "127.0.0.1:104"],
        ["send", "127.0.0.1:104", "no-such-file"],
        ["explain"],
        ["explain", "--peer", "everywhere", "x.dcm"],
        ["queue", "discard"],
        ["queue", "discard", "--all", "7"],
        ["queue", "discard", "seven"],
        ["queue", "list", "--state", "lost"],
        ["queue", "list", "--limit", "0"],
        ["queue", "list", "--admin", "nowhere"],
        ["queue", "show"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_2_with_a_message(arguments: list[str], tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path, "")
    result = call(*arguments)
    assert result.exit_code == 2
    assert "Error" in result.output


# Configuration


@pytest.mark.parametrize("command", [["check"], ["status"], ["queue", "list"], ["run"], ["explain", "x.dcm"]])
def test_all_faults_of_the_configuration_are_listed_at_once(command: list[str], tmp_path: Path) -> None:
    config = written(tmp_path, FAULTY)
    for arguments in (["--config", str(config), *command], [*command, "--config", str(config)]):
        result = call(*arguments)
        assert result.exit_code == 2
        for path in ("router.lisen", "peers.pacs.address", "peers.pacs.ae_title", "to"):
            assert path in result.output, path


@pytest.mark.parametrize("command", [["check"], ["status"], ["run"], ["echo", "pacs"]])
def test_a_named_configuration_that_is_missing_is_exit_2(command: list[str], tmp_path: Path) -> None:
    result = call(*command, "--config", tmp_path / "other.toml")
    assert result.exit_code == 2
    assert "other.toml" in result.output


def test_faults_are_listed_as_json(tmp_path: Path) -> None:
    result = call("check", "--json", "--config", written(tmp_path, FAULTY))
    assert result.exit_code == 2
    assert {fault["path"] for fault in json.loads(result.output)["faults"]} >= {"router.lisen", "peers.pacs.address"}


def test_a_good_configuration_is_fine(tmp_path: Path) -> None:
    result = call("check", "--config", written(tmp_path, ROUTES))
    assert (result.exit_code, result.output.splitlines()) == (0, [f"{tmp_path / 'router.toml'} is fine"])


@pytest.mark.parametrize("names", ['["reader*", "pacs"]', '"v?a"', '"*"'])
def test_a_condition_on_the_destination_that_a_peer_meets_is_fine(names: str, tmp_path: Path) -> None:
    route = f'[[routes]]\nname = "a"\nservice = "retrieve"\nto = ["vna"]\nwhen = {{ destination = {names} }}'
    assert call("check", "--config", written(tmp_path, ROUTES + route)).output.endswith("is fine\n")


@pytest.mark.parametrize("table", ["query", "worklist"])
def test_an_unknown_character_set_is_a_fault(table: str, tmp_path: Path) -> None:
    def checked(terms: str) -> Result:
        more = f"[peers.ris]\nae_title = 'RIS'\n[peers.ris.{table}]\ncharacter_set = '{terms}'"
        return call("check", "--config", written(tmp_path, ROUTES + more))

    for terms in ("", "ISO_IR 6", "ISO_IR 192", r"\ISO 2022 IR 87", r"ISO 2022 IR 6\ISO 2022 IR 149"):
        assert checked(terms).exit_code == 0, terms
    for terms in ("UTF-8", "ISO_IR 999", r"ISO_IR 100\latin1"):
        result = checked(terms)
        assert result.exit_code == 2, terms
        assert f"peers.ris.{table}.character_set" in result.output


def test_an_impossible_spool_folder_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = call("check", "--config", written(tmp_path, '[router]\nspool = "file/spool"'))
    assert result.exit_code == 2
    assert "router.spool" in result.output


@pytest.mark.parametrize(
    ("more", "remark"),
    [
        ('[peers.ris]\nae_title = "RIS"\naddress = "10.0.0.9:104"', "peers.ris: no route leads there"),
        (
            '[[routes]]\nname = "a"\nservice = "storage"\nto = ["vna"]\nfinal = true\n'
            '[[routes]]\nname = "b"\nservice = "storage"\nto = ["vna"]',
            'routes["b"]: is never reached',
        ),
        (
            '[peers.me]\nae_title = "ME"\naddress = "localhost:11112"\n'
            '[[routes]]\nname = "a"\nservice = "storage"\nto = ["me"]',
            "peers.me.address: localhost:11112 is this router",
        ),
        (
            '[[routes]]\nname = "a"\nservice = "retrieve"\nto = ["vna"]\nwhen = { destination = ["reader*", "x"] }',
            'routes["a"].when.destination: matches the name of no peer',
        ),
    ],
    ids=["a peer without a route", "a route behind everything", "a loop", "a destination that is no peer"],
)
def test_a_probable_mistake_is_a_remark_and_not_a_fault(more: str, remark: str, tmp_path: Path) -> None:
    result = call("check", "--config", written(tmp_path, ROUTES + more))
    assert result.exit_code == 0
    assert remark in result.output


# explain


def test_explain_tells_which_routes_match_why_the_others_do_not_and_where_it_goes(tmp_path: Path) -> None:
    config = written(tmp_path, ROUTES)
    file = ct(3000).write(tmp_path)
    result = call("explain", "--config", config, "--calling", "CT1", file)
    assert result.exit_code == 0
    assert 'route "ct": matches' in result.output
    assert 'route "mr": sop_class is' in result.output
    assert "=> pacs" in result.output


def test_explain_prints_json(tmp_path: Path) -> None:
    config = written(tmp_path, ROUTES)
    files = [ct(3000).write(tmp_path), ct(3000, sop_class_uid=MRImageStorage).write(tmp_path)]
    result = call("explain", "--json", "--config", config, "--calling", "US1", *files)
    refused, taken = json.loads(result.output)
    assert refused["destinations"] == []
    assert refused["refused"] == ["no route matches it"]
    assert [route["matched"] for route in refused["routes"]] == [False, False]
    assert "US1" in refused["routes"][0]["reasons"][0]
    assert (taken["destinations"], taken["refused"]) == (["vna"], [])


def test_explain_says_what_would_refuse_the_object_before_any_route(tmp_path: Path) -> None:
    config = written(
        tmp_path, '[access]\npeer = ["10.0.0.0/8"]\n[storage]\nsop_classes = ["MRImageStorage"]\n' + ROUTES
    )
    result = call("explain", "--config", config, "--calling", "CT1", ct(3000).write(tmp_path))
    assert "=> refused: [access] lets 127.0.0.1 open no association; [storage] accepts no CT Image" in result.output


def test_explain_shows_nothing_of_the_patient(tmp_path: Path) -> None:
    config = written(tmp_path, ROUTES)
    file = ct(3000).write(tmp_path)
    for form in ([], ["--json"]):
        output = call("explain", "--config", config, *form, file).output
        assert not any(value in output for value in PHI)


def test_explain_continues_after_a_file_that_is_not_dicom_and_fails(tmp_path: Path) -> None:
    config = written(tmp_path, ROUTES)
    file = ct(3000).write(tmp_path)
    result = call("explain", "--config", config, "--calling", "CT1", config, tmp_path / "missing.dcm", file)
    assert result.exit_code == 1
    assert "not a DICOM file" in result.output
    assert "No such file" in result.output
    assert "=> pacs" in result.output


# A router or a peer that is not there


def test_a_command_that_needs_the_running_router_says_that_none_answers(tmp_path: Path) -> None:
    config = written(tmp_path, f'[admin]\nlisten = "{HOST}:{free_port()}"')
    result = call("queue", "retry", "--all", "--config", config)
    assert result.exit_code == 1
    assert "no router answers" in result.output


def test_status_of_a_router_that_has_never_run_says_so(tmp_path: Path) -> None:
    config = written(tmp_path, f'[admin]\nlisten = "{HOST}:{free_port()}"')
    result = call("status", "--config", config)
    assert result.exit_code == 1
    assert "there is no spool" in result.output


def test_a_peer_that_does_not_answer_is_exit_1_with_a_message(tmp_path: Path) -> None:
    address = f"{HOST}:{free_port()}"
    result = call("echo", address)
    assert result.exit_code == 1
    assert f"no connection to {address}: Connection refused" in result.output
    result = call("send", address, ct(3000).write(tmp_path), ct(3000).write(tmp_path))
    assert result.exit_code == 1
    assert "0 of 2 objects stored" in result.output


def test_sending_from_a_folder_without_objects_fails(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing to see")
    result = call("send", f"{HOST}:{free_port()}", tmp_path, "--json")
    assert result.exit_code == 1
    answer = json.loads(result.output)
    assert (answer["files"], answer["skipped"], answer["failed"]) == (0, 1, 0)


def test_a_named_file_that_is_not_dicom_is_a_failure(tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("nothing to see")
    result = call("send", f"{HOST}:{free_port()}", notes, "--json")
    assert result.exit_code == 1
    assert json.loads(result.output)["failures"] == [
        {"path": str(notes), "sop_instance_uid": "", "reason": "not a DICOM file"}
    ]


def test_a_peer_without_an_address_cannot_be_called(tmp_path: Path) -> None:
    config = written(tmp_path, '[peers.ct]\nae_title = "CT1"')
    result = call("echo", "ct", "--config", config)
    assert result.exit_code == 2
    assert "has no address" in result.output
