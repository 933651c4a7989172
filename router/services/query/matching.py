"""Compare an answer with the keys of a query (PS3.4 C.2.2.2), for what an archive has not compared itself (pure).

After FF01H the client, here the router, has to filter by the keys that the archive did not support (PS3.4 C.4.1.2.1),
and combined date-time matching is done here. Text is compared in Unicode, each side decoded by its own character set.
An element that an answer lacks, or has without a value, cannot be compared: such an answer passes. Not here: which
answers are compared (`fan_out`).
"""

import fnmatch
import re
from collections.abc import Callable, Mapping
from typing import Final

from attrs import frozen

from router.dicom import charset
from router.dicom.dataset import DataSet, Element, character_set
from router.dicom.information_models import QUERY_RETRIEVE_LEVEL
from router.dicom.tags import RETRIEVE_AE_TITLE, SPECIFIC_CHARACTER_SET
from router.services.query.merge import COUNTS, INSTANCE_AVAILABILITY

TIMEZONE_OFFSET: Final = 0x00080201
RETURNED_ONLY: Final = COUNTS | {
    SPECIFIC_CHARACTER_SET,
    QUERY_RETRIEVE_LEVEL,
    RETRIEVE_AE_TITLE,
    INSTANCE_AVAILABILITY,
    TIMEZONE_OFFSET,
}
"""Elements of an identifier that are not matching keys."""
DATE_TIMES: Final[Mapping[int, int]] = {
    0x00080020: 0x00080030,
    0x00080021: 0x00080031,
    0x00080022: 0x00080032,
    0x00080023: 0x00080033,
    0x00400244: 0x00400245,
}
"""The times of dates: of study, series, acquisition, content, and the start of a performed procedure step."""

_DECODED: Final = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
_PLAIN: Final = frozenset({"AE", "AS", "CS", "UI", "DA", "TM", "DT", "IS", "DS"})
_RANGES: Final = frozenset({"DA", "TM", "DT"})
_SEVERAL: Final = _DECODED | _PLAIN - {"LT", "ST", "UT"}
_OFFSET: Final = re.compile(r"[+-]\d{4}$")
_EARLIEST: Final = {"DA": "00000000", "TM": "000000.000000", "DT": "00000101000000.000000"}
_LATEST: Final = {"DA": "99999999", "TM": "235959.999999", "DT": "99991231235959.999999"}


@frozen(kw_only=True)
class Matching:
    """The rules of comparison that differ from site to site."""

    exact_names: bool = False
    """Compare names with upper and lower case; otherwise case does not count."""
    combined: bool = False
    """Compare a range of dates and the range of times beside it as one range (PS3.4 C.2.2.2.5)."""


def values_of(one: Element, terms: str) -> tuple[str, ...]:
    """Return the values of an element as text, by the character set of its data set; none for numbers in binary."""
    if not isinstance(one.value, bytes) or one.vr not in _DECODED | _PLAIN:
        return ()
    decoded = charset.decode(one.value, terms, name=one.vr == "PN")
    values = decoded.split("\\") if one.vr in _SEVERAL else [decoded]
    return tuple(stripped for value in values if (stripped := value.strip(" \0")))


def answer_matches(keys: DataSet, answer: DataSet, rules: Matching) -> bool:
    """Return False if an element of the answer has a value, and its key excludes it."""
    combined = _combined(keys) if rules.combined else {}
    times = {DATE_TIMES[tag] for tag in combined}
    for date_tag, wanted in combined.items():
        if not _in_combined_range(wanted, answer, date_tag):
            return False
    return all(
        _matches(key, answer[tag], character_set(keys), character_set(answer), rules)
        for tag, key in keys.items()
        if tag in answer and tag not in RETURNED_ONLY and tag not in combined and tag not in times
    )


def widened(keys: DataSet) -> DataSet:
    """Return the keys with any time in place of each range of times that is combined with a range of dates."""
    return {**keys, **{DATE_TIMES[tag]: Element("TM", b"") for tag in _combined(keys)}}


def _combined(keys: DataSet) -> dict[int, tuple[str, str]]:
    """Return (dates, times) of each pair of ranges, by the tag of the date."""
    pairs = {}
    for date_tag, time_tag in DATE_TIMES.items():
        dates = values_of(keys[date_tag], "") if date_tag in keys else ()
        times = values_of(keys[time_tag], "") if time_tag in keys else ()
        if dates and times and "-" in dates[0] and "-" in times[0]:
            pairs[date_tag] = dates[0], times[0]
    return pairs


def _in_combined_range(wanted: tuple[str, str], answer: DataSet, date_tag: int) -> bool:
    dates = values_of(answer.get(date_tag, Element("DA", b"")), "")
    if not dates:
        return True
    times = values_of(answer.get(DATE_TIMES[date_tag], Element("TM", b"")), "")
    (first_date, last_date), (first_time, last_time) = (one.split("-", 1) for one in wanted)
    date, time = _sortable("DA", dates[0], _EARLIEST), times[0] if times else ""
    # without a time an instance is as early and as late as its date allows
    latest = date + _sortable("TM", time, _LATEST)
    earliest = date + _sortable("TM", time, _EARLIEST)
    begin = _sortable("DA", first_date, _EARLIEST) + _sortable("TM", first_time, _EARLIEST)
    end = _sortable("DA", last_date, _LATEST) + _sortable("TM", last_time, _LATEST)
    return begin <= latest and earliest <= end


def _matches(key: Element, value: Element, key_terms: str, terms: str, rules: Matching) -> bool:
    if not isinstance(key.value, bytes):
        return _matches_sequence(key.value, value, key_terms, terms, rules)
    wanted, found = values_of(key, key_terms), values_of(value, terms)
    if not wanted or not found:
        return True
    is_met = _test(value.vr, rules)
    return any(is_met(one, other) for one in wanted for other in found)


def _matches_sequence(key: tuple[DataSet, ...], value: Element, key_terms: str, terms: str, rules: Matching) -> bool:
    """Whether any item of the value matches the one item of the key (PS3.4 C.2.2.2.6)."""
    if not key or isinstance(value.value, bytes) or not value.value:
        return True
    return any(
        all(
            _matches(one, item[tag], character_set(key[0]) or key_terms, character_set(item) or terms, rules)
            for tag, one in key[0].items()
            if tag in item
        )
        for item in value.value
    )


def _test(vr: str, rules: Matching) -> Callable[[str, str], bool]:
    """Return the comparison of one value of a key with one value of an answer."""
    if vr in _RANGES:
        return lambda key, value: _in_range(vr, key, value)
    if vr in ("IS", "DS"):
        return _equal_numbers
    if vr == "PN":
        return lambda key, value: _names_match(key, value, exact=rules.exact_names)
    if vr in ("UI", "AS"):
        return lambda key, value: key == value
    return _fits


def _in_range(vr: str, key: str, value: str) -> bool:
    if vr == "DT" and (_OFFSET.search(key) or _OFFSET.search(value)):
        return True  # in different time zones
    if "-" not in key:
        first = last = key
    else:
        first, last = key.split("-", 1)
    earliest, latest = _sortable(vr, value, _EARLIEST), _sortable(vr, value, _LATEST)
    return _sortable(vr, first, _EARLIEST) <= latest and earliest <= _sortable(vr, last, _LATEST)


def _sortable(vr: str, value: str, rest: Mapping[str, str]) -> str:
    """Return a date or time in full length, its missing parts filled from `rest`."""
    digits = value.strip().replace(":", "") if vr == "TM" else value.strip()
    digits = digits.replace(".", "") if vr == "DA" else digits
    return digits + rest[vr][len(digits) :]


def _equal_numbers(key: str, value: str) -> bool:
    try:
        return float(key) == float(value)
    except ValueError:
        return key == value


def _names_match(key: str, value: str, *, exact: bool) -> bool:
    """Whether any of the component groups of a name fits, or all of them together."""
    if not exact:
        key, value = key.casefold(), value.casefold()
    groups = [value, *value.split("=")] if "=" in value and "=" not in key else [value]
    return any(_fits(key.rstrip("^ "), group.rstrip("^ ")) for group in groups)


def _fits(key: str, value: str) -> bool:
    """Whether a value fits a key in which "*" is any run of characters and "?" one character."""
    if "*" not in key and "?" not in key:
        return key == value
    # the wildcards of DICOM have no brackets
    return re.match(fnmatch.translate(key.replace("[", "[[]")), value) is not None
