"""The merge of answers: each record once, no answer mixes two, ordered is the sorted union."""

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from router.dicom.dataset import DataSet, Element, items, text
from router.services.query.identifier import SCHEDULED_PROCEDURE_STEP_SEQUENCE
from router.services.query.identity import (
    ACCESSION_NUMBER,
    REQUESTED_PROCEDURE_ID,
    SCHEDULED_PROCEDURE_STEP_ID,
    identity_of,
    with_identity,
    without_added,
    worklist_identity_of,
)
from router.services.query.merge import Answer, Ordered, Stream
from tests.support.query_archive import record

PATIENT_ID, ISSUER, NAME, SEX, UID, MODALITIES, COUNT = (
    0x00100020, 0x00100021, 0x00100010, 0x00100040, 0x0020000D, 0x00080061, 0x00201208,
)  # fmt: skip

LEVELS = st.sampled_from(["PATIENT", "STUDY"])


@st.composite
def archives(draw: st.DrawFn) -> list[list[DataSet]]:
    """Up to four archives with records of a few patients and issuers; the rest of a record names its archive."""
    return [
        [
            record(
                {
                    PATIENT_ID: draw(st.sampled_from(["1", "2", "3", ""])),
                    ISSUER: draw(st.sampled_from(["", "A", "B"])),
                    UID: draw(st.sampled_from(["1.1", "1.2", "1.3", ""])),
                    NAME: f"N{archive}.{number}",
                    SEX: f"S{archive}.{number}",
                    MODALITIES: draw(st.sampled_from(["CT", "MR\\CT", ""])),
                    COUNT: draw(st.sampled_from(["1", "12", "3"])),
                }
            )
            for number in range(draw(st.integers(0, 6)))
        ]
        for archive in range(draw(st.integers(1, 4)))
    ]


def answers(found: list[list[DataSet]], level: str) -> list[Answer]:
    return [Answer(index, 0xFF00, one, identity_of(one, level)) for index, some in enumerate(found) for one in some]


@given(archives(), LEVELS, st.randoms(use_true_random=False))
def test_no_record_mixes_two_and_each_comes_once(found: list[list[DataSet]], level: str, random: object) -> None:
    given_ = answers(found, level)
    random.shuffle(given_)  # type: ignore[attr-defined]
    stream, ordered = Stream(), Ordered(level)
    streamed = [one for one in given_ if stream.accept(one)]
    for one in given_:
        ordered.accept(one)
    for records in (streamed, ordered.records()):
        identities = [one.identity for one in records if one.identity is not None]
        assert sorted(identities) == sorted({one.identity for one in given_ if one.identity is not None})
        assert len(records) - len(identities) == sum(one.identity is None for one in given_)
        for one in records:
            assert text(one.identifier, NAME)[1:] == text(one.identifier, SEX)[1:], "name and sex are of one record"
            origin = next(other for other in given_ if other.identifier[NAME] == one.identifier[NAME])
            assert origin.identity == one.identity
            changed = {tag for tag in one.identifier if one.identifier[tag] != origin.identifier[tag]}
            assert changed <= {MODALITIES, COUNT}


@given(archives(), LEVELS)
def test_the_order_does_not_depend_on_who_answers_first(found: list[list[DataSet]], level: str) -> None:
    results = []
    for order in list(permutations(range(len(found))))[:6]:
        ordered = Ordered(level)
        for index in order:
            for one in found[index]:
                ordered.accept(Answer(index, 0xFF00, one, identity_of(one, level)))
        results.append(ordered.records())
    assert all(one == results[0] for one in results)
    keyed = [one.identity for one in results[0] if one.identity is not None]
    assert keyed == sorted(keyed)


def item(
    step: str = "S", procedure: str = "P", accession: str = "A", study: str = "1.2", patient: str = "1"
) -> DataSet:
    inner = record({SCHEDULED_PROCEDURE_STEP_ID: step})
    outer = record({REQUESTED_PROCEDURE_ID: procedure, ACCESSION_NUMBER: accession, UID: study, PATIENT_ID: patient})
    return {**outer, SCHEDULED_PROCEDURE_STEP_SEQUENCE: Element("SQ", (inner,))}


def test_a_worklist_item_is_known_by_its_ids_and_the_patient_counts_without_a_study() -> None:
    assert worklist_identity_of(item()) == worklist_identity_of(item(patient="2"))
    assert worklist_identity_of(item(study="")) != worklist_identity_of(item(study="", patient="2"))
    for other in (item(step="T"), item(procedure="Q"), item(accession="B"), item(study="1.3")):
        assert worklist_identity_of(item()) != worklist_identity_of(other)
    assert worklist_identity_of(item(), issuer="X") != worklist_identity_of(item(), issuer="Y")
    assert worklist_identity_of(item("", "", "", "")) is None


def test_what_is_asked_for_identity_is_not_returned_unasked() -> None:
    keys = {tag: one for tag, one in item().items() if tag == SCHEDULED_PROCEDURE_STEP_SEQUENCE}
    inner = {0x00400001: record({0x00400001: "CT1"})[0x00400001]}
    keys = {SCHEDULED_PROCEDURE_STEP_SEQUENCE: keys[SCHEDULED_PROCEDURE_STEP_SEQUENCE]._replace(value=(inner,))}
    asked = with_identity(keys, "")
    assert SCHEDULED_PROCEDURE_STEP_ID in items(asked, SCHEDULED_PROCEDURE_STEP_SEQUENCE)[0]
    assert {ACCESSION_NUMBER, REQUESTED_PROCEDURE_ID, UID} <= asked.keys()
    answer = without_added(keys, asked)(item())
    assert answer.keys() == {SCHEDULED_PROCEDURE_STEP_SEQUENCE}
    assert SCHEDULED_PROCEDURE_STEP_ID not in items(answer, SCHEDULED_PROCEDURE_STEP_SEQUENCE)[0]
