"""What an archive is asked by its habits, and SOP Class Extended Negotiation: told truthfully, remembered, proposed."""

from pathlib import Path
from typing import Any

import pytest
import trio

from router.dicom.dataset import DataSet, Element, text
from router.dicom.information_models import PATIENT_ROOT, PATIENT_STUDY_ONLY, STUDY_ROOT, WORKLIST
from router.services.query.extended import negotiated, proposal
from router.services.query.habits import CannotAsk, queries_for
from router.services.query.identifier import decode_identifier, encode_identifier
from router.services.query.options import PeerQuery
from tests.support.find_client import find_client
from tests.support.harness import configuration, running_router
from tests.support.query_archive import QueryArchive, answering, record

LEVEL, STUDY_UID, PATIENT_ID, NAME, MODALITIES = 0x00080052, 0x0020000D, 0x00100020, 0x00100010, 0x00080061
KEYS = record({LEVEL: "STUDY", STUDY_UID: "", NAME: "", PATIENT_ID: ""})
SERIES_KEYS = record({LEVEL: "SERIES", STUDY_UID: "1.2", 0x0020000E: ""})


def asked(keys: DataSet, **habits: Any) -> list[DataSet]:
    return [one.keys for one in queries_for(keys, STUDY_ROOT, PeerQuery(**habits))]


def test_lists_are_asked_value_by_value_where_an_archive_matches_none() -> None:
    keys = {**KEYS, **record({STUDY_UID: "1.2\\1.3\\1.2", MODALITIES: "CT\\MR"})}
    assert asked(keys) == [keys]
    one_by_one = asked(keys, uid_lists=False, modality_lists=False)
    assert {(text(one, STUDY_UID), text(one, MODALITIES)) for one in one_by_one} == {
        (uid, modality) for uid in ("1.2", "1.3") for modality in ("CT", "MR")
    }
    assert len(one_by_one) == 4


def test_names_get_a_wildcard_where_the_archive_wants_one() -> None:
    values = {"Doe": "Doe*", "D?e": "D?e", "": ""}
    for name, expected in values.items():
        (one,) = asked({**KEYS, **record({NAME: name})}, append_wildcard=True)
        assert text(one, NAME) == expected


def test_the_model_of_an_archive_is_used_with_its_levels() -> None:
    patient_keys = record({LEVEL: "PATIENT", PATIENT_ID: "", NAME: "D*", 0x00201200: "", 0x00080020: ""})
    (one,) = queries_for(patient_keys, PATIENT_ROOT, PeerQuery(model=("study",)))
    assert one.sop_class == STUDY_ROOT.find
    assert text(one.keys, LEVEL) == "STUDY"
    assert one.keys.keys() >= {PATIENT_ID, NAME, STUDY_UID}
    assert 0x00080020 not in one.keys
    (one,) = queries_for(KEYS, STUDY_ROOT, PeerQuery(model=("patient",)))
    assert (one.sop_class, one.is_relational) == (PATIENT_ROOT.find, True)
    with_id = {**KEYS, **record({PATIENT_ID: "1"})}
    (one,) = queries_for(with_id, STUDY_ROOT, PeerQuery(model=("patient",)))
    assert not one.is_relational
    (one,) = queries_for(with_id, PATIENT_STUDY_ONLY, PeerQuery(model=("study", "patient")))
    assert one.sop_class == STUDY_ROOT.find
    with pytest.raises(CannotAsk, match="SERIES"):
        queries_for(SERIES_KEYS, STUDY_ROOT, PeerQuery(model=("patient-study",)))


@pytest.mark.parametrize(
    ("proposed", "archives", "answer"),
    [
        (b"\1", [b"\1", b"\1\0"], b"\1"),
        (b"\1", [b"\1", b"\0"], b"\0"),
        (b"\1", [b"\1", None], b"\0"),
        (b"\1", [], b"\0"),
        (b"\0\1\1", [b"\1\0\1"], b"\0\1\1"),
        (b"\1\1\1\1\1", [b"\1\1\1\1\1"], b"\1\1\1\0\0"),
        (b"\1\1\1\1\1\1\1", [b"\1\1\1\1\1\1\1"], b"\1\1\1\0\0"),
        (b"", [b"\1"], b""),
    ],
)
def test_one_is_answered_only_for_what_the_router_or_every_archive_does(
    proposed: bytes, archives: list[bytes | None], answer: bytes
) -> None:
    assert negotiated(proposed, archives) == answer


def test_the_first_two_bytes_of_a_worklist_are_always_one() -> None:
    assert negotiated(b"\1\1\1", [None], is_worklist=True) == b"\1\1\0"
    assert proposal(record({NAME: ""}), None, is_worklist=True) == b"\1\1\1"


def test_fuzzy_matching_is_proposed_only_where_it_changes_nothing_or_is_wanted() -> None:
    assert proposal(KEYS, None) == b"\1\0\1"
    assert proposal({**KEYS, **record({NAME: "Doe"})}, None) == b"\1\0\0"
    assert proposal({**KEYS, **record({NAME: "Doe"})}, b"\0\0\1") == b"\1\0\1"


async def test_what_archives_answered_last_is_what_the_next_client_is_told(tmp_path: Path) -> None:
    one = QueryArchive(find=answering(), extended={STUDY_ROOT.find: b"\1\0\1"})
    two = QueryArchive(find=answering(), extended={STUDY_ROOT.find: b"\1\0\0"})
    text_ = """
        [[routes]]
        name = "both"
        service = "query"
        to = ["one", "two"]
        when = { called_ae = "PACS" }
    """
    async with one.serving(), two.serving():
        async with running_router(configuration(tmp_path, text_, one=one.port, two=two.port)) as router:

            async def told() -> bytes | None:
                async with find_client(router.port, extended=b"\1\1\1\1\1") as client:
                    await client.find(KEYS)
                    return client.association.extended.get(STUDY_ROOT.find)

            assert await told() == b"\0\1\0\0\0"
            assert await told() == b"\1\1\0\0\0"
            async with find_client(router.port, extended=b"\1") as client:
                assert client.association.extended[STUDY_ROOT.find] == b"\1"
                relational = await client.find(record({LEVEL: "SERIES", 0x0020000E: ""}))
                assert relational.final.status == 0
            async with find_client(router.port) as client:
                assert STUDY_ROOT.find not in client.association.extended
                assert (await client.find(record({LEVEL: "SERIES"}))).final.status == 0xA900
        assert one.requests[0].user_information.extended[0].information == b"\1\0\1"


async def test_an_archive_that_does_no_relational_queries_is_not_asked_one(tmp_path: Path) -> None:
    one = QueryArchive(find=answering(), extended={PATIENT_ROOT.find: b"\0"})
    route = '[[routes]]\nname = "q"\nservice = "query"\nto = "one"\n[peers.one.query]\nmodel = "patient"'
    async with one.serving(), running_router(configuration(tmp_path, route, one=one.port)) as router:
        async with find_client(router.port) as client:
            found = await client.find(KEYS)
    assert found.final.status == 0xC001
    assert "one" in str(found.final.command.error_comment)
    assert not one.queries


async def test_patients_are_found_at_an_archive_that_knows_studies_only(tmp_path: Path) -> None:
    studies = [record({STUDY_UID: f"1.{n}", PATIENT_ID: f"P{n % 2}", NAME: f"N{n % 2}"}) for n in range(6)]
    one = QueryArchive(find=answering(*studies))
    route = '[[routes]]\nname = "q"\nservice = "query"\nto = "one"\n[peers.one.query]\nmodel = "study"'
    async with one.serving(), running_router(configuration(tmp_path, route, one=one.port)) as router:
        async with find_client(router.port, PATIENT_ROOT.find) as client:
            found = await client.find(record({LEVEL: "PATIENT", PATIENT_ID: "", NAME: ""}))
    assert sorted(found.values(PATIENT_ID)) == ["P0", "P1"]
    assert set(found.values(LEVEL)) == {"PATIENT"}
    assert all(STUDY_UID not in match for _, match in found.matches)


async def test_a_query_goes_to_the_ae_that_a_peer_has_for_it_in_its_character_set(tmp_path: Path) -> None:
    latin = {**KEYS, **record({0x00080005: "ISO_IR 100"}), NAME: Element("PN", "Mü*".encode("latin-1") + b" ")}
    answer = {**record({0x00080005: "ISO_IR 101", STUDY_UID: "1.2"}), NAME: Element("PN", b"M\xfcx ")}
    pacs, other = QueryArchive(), QueryArchive(find=answering(answer))
    async with pacs.serving(), other.serving():
        text_ = f"""
            [[routes]]
            name = "q"
            service = "query"
            to = "pacs"
            [peers.pacs.query]
            ae_title = "PACS_QR"
            address = "127.0.0.1:{other.port}"
            character_set = "ISO_IR 192"
        """
        async with running_router(configuration(tmp_path, text_, pacs=pacs.port)) as router:
            async with find_client(router.port) as client:
                found = await client.find(latin)
    assert (len(pacs.queries), other.requests[0].called_ae_title) == (0, "PACS_QR")
    assert other.queries[0].identifier[NAME].value == "Mü*".encode()
    assert found.matches[0][1][NAME] == answer[NAME], "an answer keeps its bytes and its character set"
    assert found.values(0x00080005) == ["ISO_IR 101"]


def test_worklist_keys_are_not_split() -> None:
    keys = decode_identifier(encode_identifier(record({NAME: "A"}), "1.2.840.10008.1.2"), "1.2.840.10008.1.2")
    (one,) = queries_for(keys, WORKLIST, PeerQuery(uid_lists=False))
    assert one.sop_class == WORKLIST.find


async def test_answers_are_compared_with_the_keys_that_a_character_set_lost(tmp_path: Path) -> None:
    keys = {**KEYS, **record({0x00080005: "ISO_IR 192", NAME: "Müller"})}
    names = ("Müller", "Moller", "Mäller")
    found = [record({0x00080005: "ISO_IR 192", STUDY_UID: f"1.{n}", NAME: name}) for n, name in enumerate(names)]
    pacs = QueryArchive(find=answering(*found))
    text_ = '[[routes]]\nname = "q"\nservice = "query"\nto = "pacs"\n[peers.pacs.query]\ncharacter_set = "ISO_IR 6"'
    async with pacs.serving(), running_router(configuration(tmp_path, text_, pacs=pacs.port)) as router:
        async with find_client(router.port) as client:
            assert (await client.find(keys)).values(NAME) == ["Müller"]
    assert text(pacs.queries[0].identifier, NAME) == "M?ller"


async def test_combined_dates_and_times_are_compared_by_the_router(tmp_path: Path) -> None:
    date, time = 0x00080020, 0x00080030
    keys = {**KEYS, **record({date: "20200101-20200103", time: "100000-120000"})}
    times = (("20200101", "0900"), ("20200101", "1300"), ("20200102", "0900"), ("20200103", "1300"))
    found = [record({STUDY_UID: f"1.{n}", date: day, time: at}) for n, (day, at) in enumerate(times)]
    pacs = QueryArchive(find=answering(*found))
    text_ = '[[routes]]\nname = "q"\nservice = "query"\nto = "pacs"'
    async with pacs.serving(), running_router(configuration(tmp_path, text_, pacs=pacs.port)) as router:
        async with find_client(router.port, extended=b"\0\1") as client:
            assert client.association.extended[STUDY_ROOT.find] == b"\0\1"
            assert (await client.find(keys)).values(STUDY_UID) == ["1.1", "1.2"]
        async with find_client(router.port) as client:
            assert len((await client.find(keys)).matches) == 4, "the archive is believed"
    assert (text(pacs.queries[0].identifier, time), text(pacs.queries[1].identifier, time)) == ("", "100000-120000")


async def test_queries_of_two_clients_share_the_one_association_with_an_archive(tmp_path: Path) -> None:
    pacs = QueryArchive(find=answering(*(record({STUDY_UID: f"1.{n}"}) for n in range(50))))
    text_ = '[[routes]]\nname = "q"\nservice = "query"\nto = "pacs"\nconnect = "200ms"'
    counts: list[int] = []
    async with pacs.serving(), running_router(configuration(tmp_path, text_, pacs=pacs.port)) as router:

        async def one_client() -> None:
            async with find_client(router.port) as client:
                counts.append(len((await client.find(KEYS)).matches))

        async with trio.open_nursery() as nursery:
            for _ in range(12):
                nursery.start_soon(one_client)
    assert counts == [50] * 12
    assert pacs.most_at_once == 1
