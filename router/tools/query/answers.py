"""The answers to a query as text: by keyword for machines, by column for people (pure)."""

from typing import Any

from router.dicom import element_values
from router.dicom.dataset import DataSet, character_set
from router.dicom.element_values import Raw
from router.dicom.tags import SPECIFIC_CHARACTER_SET, tag_name
from router.tools.query.keys import Path


def values_of(answer: DataSet, terms: str = "") -> dict[str, Any]:
    """Return the values of an answer by keyword.

    One value is a text, several are a list, none is "", and a sequence is a list of its items. `terms` is the character
    set of the data set around it.
    """
    terms = character_set(answer) or terms
    plain = _texts(answer, terms)
    shown: dict[str, Any] = {}
    for tag, (_, value) in answer.items():
        if isinstance(value, bytes):
            values = plain.get(tag, ())
            shown[tag_name(tag)] = list(values) if len(values) > 1 else "".join(values)
        else:
            shown[tag_name(tag)] = [values_of(item, terms) for item in value]
    return shown


def text_at(answer: DataSet, path: Path, terms: str = "") -> str:
    """Return the values of an element as one text, those of several items in order; "" if it is missing."""
    tag, *rest = path
    found = answer.get(tag)
    if found is None:
        return ""
    terms = character_set(answer) or terms
    if isinstance(found.value, bytes):
        return "\\".join(_texts({tag: found}, terms).get(tag, ()))
    if not rest:
        return f"{len(found.value)} items" if found.value else ""
    return ", ".join(filter(None, (text_at(item, tuple(rest), terms) for item in found.value)))


def _texts(answer: DataSet, terms: str) -> dict[int, tuple[str, ...]]:
    found = {tag: Raw(vr.encode(), value, "<") for tag, (vr, value) in answer.items() if isinstance(value, bytes)}
    found[SPECIFIC_CHARACTER_SET] = Raw(b"CS", terms.encode("latin-1", "replace"), "<")
    return element_values.texts(found, element_values.search(frozenset(answer)))
