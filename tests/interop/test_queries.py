"""One AE in front of three archives of other makers: dcmqrscp, Orthanc and pynetdicom, with 300 studies.

A third of the studies is in two archives. The clients are findscu and pynetdicom.
"""

import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from tests.support.objects import Instance
from tests.support.peers import Orthanc, store_all
from tests.support.ports import HOST, free_port, until
from tests.support.programs import environment, installed, require
from tests.support.pynetdicom_query import PynetdicomQueryArchive, find, identifier
from tests.support.query_servers import Dcmqrscp, image
from tests.support.router_process import RouterProcess, configuration

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]

HOLDINGS = {"dcmqrscp": range(134), "orthanc": range(100, 234), "pynetdicom": (*range(200, 300), *range(33))}
"""The numbers of the studies in each archive: 300 studies, 101 of them in two archives."""
ROOT = "1.2.826.0.1.3680043.8.498.9"
MODELS = {"patient": "-P", "study": "-S", "patient-study": "-O"}


def study(number: int) -> list[Instance]:
    """The objects of a study; every tenth has two series, and two studies in a row are of one patient."""
    uid, patient = f"{ROOT}.{number}", f"P{number // 2:03}"
    return [
        image(patient, uid, series=f"{uid}.{series}", uid=f"{uid}.{series}.1", modality="CT" if series == 1 else "MR")
        for series in range(1, 3 if number % 10 == 0 else 2)
    ]


@cache
def objects(archive: str) -> list[Instance]:
    return [one for number in HOLDINGS[archive] for one in study(number)]


class Down:
    """An archive that is not there."""

    def __init__(self, ae_title: str) -> None:
        self.ae_title, self.address = ae_title, f"{HOST}:{free_port()}"


@frozen
class Site:
    archives: dict[str, Any]

    def router(self, folder: Path, *, without: str = "", **route: Any) -> RouterProcess:
        """A router in front of all archives, one of which may be down."""
        peers = {name: Down(one.ae_title) if name == without else one for name, one in self.archives.items()}
        # Orthanc does not know the retired Patient/Study Only
        habits = {"orthanc": {"query": {"model": ["patient", "study"]}}}
        table = {"name": "queries", "service": "query", "to": list(peers), **route}
        return RouterProcess(folder, configuration(peers, peers=habits, routes=[table]))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    dcmqrscp = Dcmqrscp(folder / "dcmqrscp")
    dcmqrscp.add(objects("dcmqrscp"))
    with ExitStack() as stack:
        stack.enter_context(dcmqrscp)
        orthanc = stack.enter_context(Orthanc(folder / "orthanc", DicomAlwaysAllowFind=True))
        assert set(store_all(HOST, orthanc.port, objects("orthanc"))) == {0}
        until(lambda: len(orthanc.instances()) == len(objects("orthanc")), "Orthanc has all objects")
        pynetdicom = stack.enter_context(PynetdicomQueryArchive(objects("pynetdicom")))
        yield Site({"dcmqrscp": dcmqrscp, "orthanc": orthanc, "pynetdicom": pynetdicom})


@pytest.fixture(scope="module")
def router(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RouterProcess]:
    with site.router(tmp_path_factory.mktemp("router")) as router:
        yield router


def held(*archives: str) -> set[int]:
    return {number for name in archives or HOLDINGS for number in HOLDINGS[name]}


QUERIES: dict[str, tuple[str, dict[str, str], set[str]]] = {
    "patients": ("PatientID", {"QueryRetrieveLevel": "PATIENT"}, {f"P{number:03}" for number in range(150)}),
    "studies": ("StudyInstanceUID", {"QueryRetrieveLevel": "STUDY"}, {f"{ROOT}.{number}" for number in held()}),
    "studies of a patient": (
        "StudyInstanceUID",
        {"QueryRetrieveLevel": "STUDY", "PatientID": "P055"},
        {f"{ROOT}.110", f"{ROOT}.111"},
    ),
    "series": (
        "SeriesInstanceUID",
        {"QueryRetrieveLevel": "SERIES", "PatientID": "P055", "StudyInstanceUID": f"{ROOT}.110"},
        {f"{ROOT}.110.1", f"{ROOT}.110.2"},
    ),
    "images": (
        "SOPInstanceUID",
        {
            "QueryRetrieveLevel": "IMAGE",
            "PatientID": "P055",
            "StudyInstanceUID": f"{ROOT}.110",
            "SeriesInstanceUID": f"{ROOT}.110.2",
        },
        {f"{ROOT}.110.2.1"},
    ),
}
POSSIBLE = {
    "patient": ["patients", "studies of a patient", "series", "images"],
    "study": ["studies", "studies of a patient", "series", "images"],
    "patient-study": ["patients", "studies of a patient"],
}
CASES = [(model, query) for model, queries in POSSIBLE.items() for query in queries]


@pytest.mark.parametrize(("model", "query"), CASES)
def test_pynetdicom_finds_the_union_once_at_every_level_of_every_model(
    router: RouterProcess, model: str, query: str
) -> None:
    key, keys, expected = QUERIES[query]
    matches, final = find(router.port, model, identifier(**{key: "", "PatientName": "", **keys}))
    found = [str(match[key].value) for match in matches]
    assert final.Status == 0x0000
    assert sorted(found) == sorted(expected)
    assert {match.status for match in matches} == {0xFF00}
    for match in matches:
        if "patients" not in query and "studies" in query:
            number = int(match.StudyInstanceUID.rpartition(".")[2])
            assert match.PatientName == f"Name^P{number // 2:03}", "no answer mixes two records"
        assert match.RetrieveAETitle == "ROUTER"


@pytest.mark.parametrize(("model", "query"), CASES)
def test_findscu_finds_the_union_once_at_every_level_of_every_model(
    router: RouterProcess, model: str, query: str
) -> None:
    require("findscu")
    key, keys, expected = QUERIES[query]
    arguments = [f"{keyword}={value}" for keyword, value in {key: "", **keys}.items()]
    options = [part for argument in arguments for part in ("-k", argument)]
    command = [str(installed("findscu")), "-v", MODELS[model], "-aec", "ROUTER", *options, HOST, str(router.port)]
    result = subprocess.run(command, capture_output=True, text=True, env=environment(nodelay=True), timeout=60)
    assert result.returncode == 0, result.stderr
    output = result.stdout + result.stderr
    tag = {"PatientID": "0010,0020", "StudyInstanceUID": "0020,000d", "SeriesInstanceUID": "0020,000e"}.get(
        key, "0008,0018"
    )
    responses = output[output.index("Find Response") :]
    found = re.findall(rf"\({tag}\) .. \[([^]]*)\]", responses)
    assert sorted(one.strip("\0 ") for one in found) == sorted(expected)
    assert "Success" in output


def test_wildcards_and_lists_reach_every_archive(router: RouterProcess) -> None:
    keys = identifier(QueryRetrieveLevel="STUDY", StudyInstanceUID="", PatientID="P05?")
    matches, _ = find(router.port, "study", keys)
    assert {int(match.StudyInstanceUID.rpartition(".")[2]) for match in matches} == set(range(100, 120))
    uids = [f"{ROOT}.{number}" for number in (1, 120, 299)]
    matches, _ = find(router.port, "study", identifier(QueryRetrieveLevel="STUDY", StudyInstanceUID=uids))
    assert sorted(str(match.StudyInstanceUID) for match in matches) == uids


def test_an_ordered_answer_is_the_sorted_union_every_time(site: Site, tmp_path: Path) -> None:
    keys = identifier(QueryRetrieveLevel="STUDY", StudyInstanceUID="", ModalitiesInStudy="")
    with site.router(tmp_path, merge="ordered") as router:
        answers = [[str(match.StudyInstanceUID) for match in find(router.port, "study", keys)[0]] for _ in range(2)]
    assert answers[0] == sorted(f"{ROOT}.{number}" for number in held())
    assert answers[1] == answers[0]


@pytest.mark.parametrize("missing", list(HOLDINGS))
@pytest.mark.parametrize("partial", ["fail", "success"])
def test_without_one_archive_the_rest_comes_and_the_end_says_so(
    site: Site, tmp_path: Path, missing: str, partial: str
) -> None:
    keys = identifier(QueryRetrieveLevel="STUDY", StudyInstanceUID="")
    with site.router(tmp_path, without=missing, partial=partial) as router:
        matches, final = find(router.port, "study", keys)
        line = router.wait_for_log(lambda event: event.get("event") == "conversation")
    rest = held(*(name for name in HOLDINGS if name != missing))
    assert sorted(str(match.StudyInstanceUID) for match in matches) == sorted(f"{ROOT}.{number}" for number in rest)
    assert final.Status == (0x0000 if partial == "success" else 0xC001)
    if partial == "fail":
        assert missing in final.ErrorComment
    assert line["archives"][missing]["cause"]
    assert not any(one["cause"] for name, one in line["archives"].items() if name != missing)
