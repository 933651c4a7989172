"""Comparison of answers with keys, as PS3.4 C.2.2.2 has it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.dicom.dataset import DataSet, Element
from router.services.query.matching import Matching, answer_matches, widened
from tests.support.query_archive import record

TAGS = {
    "name": 0x00100010, "id": 0x00100020, "uid": 0x0020000D, "date": 0x00080020, "time": 0x00080030,
    "modalities": 0x00080061, "number": 0x00200011, "charset": 0x00080005, "when": 0x0040A032,
}  # fmt: skip


def of(**values: Any) -> DataSet:
    return record({TAGS[name]: value for name, value in values.items()})


@pytest.mark.parametrize(
    ("key", "answer", "expected"),
    [
        (of(name="doe^j*"), of(name="Doe^Jane"), True),
        (of(name="doe^j?ne"), of(name="Doe^Jane"), True),
        (of(name="roe*"), of(name="Doe^Jane"), False),
        (of(name="Doe^Jane"), of(name="Doe^Jane^^^"), True),
        (of(name="doe*"), of(name="Doe^Jane=x^y"), True),
        (of(name="[d]*"), of(name="Doe"), False),
        (of(id="A1"), of(id="a1"), False),
        (of(id="A*"), of(id=""), True),
        (of(id="A*"), of(), True),
        (of(id=""), of(id="B"), True),
        (of(uid="1.2\\1.3"), of(uid="1.3"), True),
        (of(uid="1.2\\1.3"), of(uid="1.33"), False),
        (of(date="20200101-20200131"), of(date="20200115"), True),
        (of(date="20200101-20200131"), of(date="20200201"), False),
        (of(date="-20200131"), of(date="20191231"), True),
        (of(date="20200101-"), of(date="20191231"), False),
        (of(time="0800-1000"), of(time="095959.5"), True),
        (of(time="0800-1000"), of(time="100100"), False),
        (of(time="10"), of(time="103000"), True),
        (of(when="2020-2021"), of(when="20201231235959+0100"), True),
        (of(modalities="CT\\MR"), of(modalities="SR\\MR"), True),
        (of(modalities="CT"), of(modalities="SR\\MR"), False),
        (of(number="3"), of(number="03 "), True),
        (of(number="3"), of(number="4"), False),
    ],
)
def test_a_value_matches_its_key(key: DataSet, answer: DataSet, expected: bool) -> None:
    assert answer_matches(key, answer, Matching()) is expected


def test_case_counts_in_names_if_the_site_says_so() -> None:
    assert not answer_matches(of(name="doe*"), of(name="Doe^Jane"), Matching(exact_names=True))


def test_text_is_compared_in_unicode_whatever_the_character_sets() -> None:
    key = of(charset="ISO_IR 192", name="Müll*")
    latin = {**of(charset="ISO_IR 100"), TAGS["name"]: Element("PN", "Müller".encode("latin-1"))}
    other = {**of(charset="ISO_IR 100"), TAGS["name"]: Element("PN", "Mäller".encode("latin-1"))}
    assert answer_matches(key, latin, Matching())
    assert not answer_matches(key, other, Matching())


def test_any_item_of_a_sequence_may_match() -> None:
    def requests(*ids: str) -> DataSet:
        return {0x00400275: Element("SQ", tuple(record({0x00401001: one}) for one in ids))}

    assert answer_matches(requests("A*"), requests("B1", "A1"), Matching())
    assert not answer_matches(requests("A*"), requests("B1", "C1"), Matching())


@pytest.mark.parametrize(
    ("date", "time", "combined", "separate"),
    [
        ("20200101", "120000", True, False),
        ("20200101", "090000", False, False),
        ("20200102", "110000", True, True),
        ("20200103", "120000", False, False),
        ("20200103", "100000", True, True),
        ("20200102", "", True, True),
    ],
)
def test_dates_and_times_are_one_range_if_that_was_negotiated(
    date: str, time: str, combined: bool, separate: bool
) -> None:
    keys = of(date="20200101-20200103", time="1000-1130")
    answer = of(date=date, time=time)
    assert answer_matches(keys, answer, Matching(combined=True)) is (combined or separate)
    assert answer_matches(keys, answer, Matching()) is separate
    assert widened(keys)[TAGS["time"]].value == b""
    assert widened(of(date="20200101", time="10-11")) == of(date="20200101", time="10-11")


@given(st.dictionaries(st.sampled_from(list(TAGS)), st.text("aA1*?\\-^=. ", max_size=12)), st.data())
def test_a_record_matches_itself_without_wildcards_and_nothing_raises(
    values: dict[str, str], data: st.DataObject
) -> None:
    answer = of(**values)
    other = data.draw(st.dictionaries(st.sampled_from(list(TAGS)), st.text("aA1*?\\-^=. ", max_size=12)))
    for rules in (Matching(), Matching(exact_names=True), Matching(combined=True)):
        answer_matches(of(**other), answer, rules)
    single = {name: value for name, value in values.items() if name in ("id", "uid") and not set(value) & set("*?\\")}
    assert answer_matches(of(**single), answer, Matching())
