"""The worklist of two information systems as one, whatever they do."""

from pathlib import Path

import pytest

from router.dicom.dataset import DataSet, Element, items, text
from router.dicom.information_models import WORKLIST
from router.dimse import Status
from tests.support.find_client import Found, find_client
from tests.support.harness import configuration, running_router
from tests.support.query_archive import QueryArchive, Script, answering, record

STEPS, PATIENT_ID, NAME, STUDY_UID = 0x00400100, 0x00100020, 0x00100010, 0x0020000D
STEP_ID, PROCEDURE_ID, MODALITY, ACCESSION = 0x00400009, 0x00401001, 0x00080060, 0x00080050
ROUTE = '[[routes]]\nname = "worklist"\nservice = "worklist"\nto = ["one", "two"]\nbetween_answers = "300ms"\n'
KEYS = {
    **record({PATIENT_ID: "", NAME: "", STUDY_UID: ""}),
    STEPS: Element("SQ", (record({MODALITY: "", STEP_ID: ""}),)),
}


def step(patient: str, number: str, modality: str = "CT") -> DataSet:
    outer = record({PATIENT_ID: patient, NAME: f"N{patient}", STUDY_UID: f"1.2.{patient}", ACCESSION: f"A{patient}"})
    item = record({MODALITY: modality, STEP_ID: number})
    return {**outer, **record({PROCEDURE_ID: f"R{patient}"}), STEPS: Element("SQ", (item,))}


async def ask(folder: Path, one: Script, two: Script, route: str = "", keys: DataSet = KEYS) -> Found:
    async with QueryArchive(find=one).serving() as first, QueryArchive(find=two).serving() as second:
        config = configuration(folder, ROUTE + route, one=first.port, two=second.port)
        async with running_router(config) as router, find_client(router.port, WORKLIST.find) as client:
            return await client.find(keys)


async def test_two_worklists_are_one_without_duplicates(tmp_path: Path) -> None:
    one = answering(step("1", "S1"), step("1", "S2"), step("2", "S1"))
    found = await ask(tmp_path, one, answering(step("2", "S1"), step("3", "S1")))
    assert sorted(found.values(PATIENT_ID)) == ["1", "1", "2", "3"]
    assert found.final.status == Status.SUCCESS
    for _, match in found.matches:
        assert match.keys() == KEYS.keys(), "what was asked for identity is not returned"
        assert text(match, NAME) == f"N{text(match, PATIENT_ID)}"
        assert items(match, STEPS)[0].keys() == {MODALITY, STEP_ID}


@pytest.mark.parametrize("partial", ["fail", "success"])
async def test_a_silent_information_system_is_named_or_allowed_to_be_missing(tmp_path: Path, partial: str) -> None:
    two = answering(step("3", "S1"), final="silence")
    found = await ask(tmp_path, answering(step("1", "S1")), two, f'partial = "{partial}"')
    assert sorted(found.values(PATIENT_ID)) == ["1", "3"]
    assert found.final.status == (Status.SUCCESS if partial == "success" else 0xC001)
    assert partial == "success" or "two" in str(found.final.command.error_comment)


async def test_a_key_of_the_scheduled_step_chooses_the_route(tmp_path: Path) -> None:
    keys = {**KEYS, STEPS: Element("SQ", (record({MODALITY: "MR", STEP_ID: ""}),))}
    one, two = answering(step("1", "S1")), answering(step("2", "S1", "MR"))
    async with QueryArchive(find=one).serving() as first, QueryArchive(find=two).serving() as second:
        routes = (
            '[[routes]]\nname = "mr"\nservice = "worklist"\nto = "two"\nwhen = { Modality = "MR" }\nfinal = true\n'
            '[[routes]]\nname = "rest"\nservice = "worklist"\nto = "one"\n'
        )
        config = configuration(tmp_path, routes, one=first.port, two=second.port)
        async with running_router(config) as router, find_client(router.port, WORKLIST.find) as client:
            assert (await client.find(keys)).values(PATIENT_ID) == ["2"]
            assert (await client.find(KEYS)).values(PATIENT_ID) == ["1"]


async def test_who_may_not_see_the_worklist_is_told(tmp_path: Path) -> None:
    found = await ask(tmp_path, answering(), answering(), '[worklist]\ncalling_ae = "CT*"')
    assert found.final.status == 0x0124


async def test_a_second_item_of_the_scheduled_step_is_a900(tmp_path: Path) -> None:
    keys = {**KEYS, STEPS: Element("SQ", (record({MODALITY: "MR"}), record({MODALITY: "CT"})))}
    found = await ask(tmp_path, answering(), answering(), keys=keys)
    assert (found.final.status, found.final.command.offending_element) == (0xA900, (STEPS,))
