"""The conditions of a route: `when = { calling_ae = ["CT*"], Modality = "CT", "(0009,1010)" = "x" }`.

A condition is a key and a list of values, one of which must match. A condition that can never be met is refused when
it is read. Not here: matching (`router.routing`).
"""

from collections.abc import Callable

from attrs import frozen
from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_dict

from router.config.identifiers import one_of, text
from router.config.patterns import glob, network, sop_class, suggestion, transfer_syntax
from router.config.quantities import shown
from router.dicom.information_models import LEVELS, QUERY_RETRIEVE_MODELS
from router.dicom.tags import element_tag

ASSOCIATION_KEYS: dict[str, Callable[[object], object]] = {
    "calling_ae": glob,
    "called_ae": glob,
    "peer": network,
    "sop_class": sop_class,
    "transfer_syntax": transfer_syntax,
}
"""Keys that are decided without the data set, each with the reader of its values."""

SERVICE_KEYS: dict[str, Callable[[object], object]] = {
    "information_model": one_of(*(model.name for model in QUERY_RETRIEVE_MODELS)),
    "level": one_of(*LEVELS),
    "destination": glob,
}
"""Keys that only routes for some services may have (`RouteOptions.OWN_KEYS`), each with the reader of its values."""

_NAMED_KEYS = ASSOCIATION_KEYS | SERVICE_KEYS
"""Keys that do not name an element."""

FIRST_GROUP = 0x0008
PIXEL_GROUP = 0x7FE0
WITHOUT_TEXT = frozenset({"SQ", "OB", "OD", "OF", "OL", "OV", "OW"})


@frozen(kw_only=True)
class Condition:
    """One condition: the message must have any of the `values` under `key`."""

    key: str
    """As in the file: one of `ASSOCIATION_KEYS` or `SERVICE_KEYS`, a keyword of PS3.6, or a tag as "(gggg,eeee)"."""
    tag: int | None
    """(group << 16) + element if the key names an element, otherwise None."""
    values: tuple[str | int | float, ...]


def condition(key: str, tag: int | None, values: tuple[str | int | float, ...]) -> Condition:
    """Return a condition made of the results of `condition_key` and `condition_value`."""
    return Condition(key=key, tag=tag, values=values)


def condition_key(key: object) -> int | None:
    """Return the tag of the element that a key of `when` names, or None for a key that names no element.

    Raises:
        ValueError: the key names nothing, or an element that cannot be compared; the message says which.
    """
    if (key := str(key)) in _NAMED_KEYS:
        return None
    tag = element_tag(key)
    if tag is None:
        known = [*_NAMED_KEYS, *keyword_dict]
        raise ValueError(f"is not a key of `when`, a DICOM keyword or a (gggg,eeee){suggestion(key, known)}")
    if tag >> 16 < FIRST_GROUP:
        raise ValueError(f"names an element of group {tag >> 16:04X}; a data set begins with group {FIRST_GROUP:04X}")
    if tag >> 16 >= PIXEL_GROUP:
        raise ValueError("the router reads a data set up to the pixel data, not into or beyond it")
    if dictionary_has_tag(tag) and WITHOUT_TEXT & set(dictionary_VR(tag).split(" or ")):
        raise ValueError(f"cannot be compared: its value representation is {dictionary_VR(tag)}")
    return tag


def required_element(value: object) -> int:
    """Return the tag of an element that objects must have, from its keyword or tag.

    Raises:
        ValueError: the text names nothing, or an element that the router does not read.
    """
    tag = condition_key(text(value))
    if tag is None:
        raise ValueError(f"must be a DICOM keyword or a (gggg,eeee), not {shown(value)}")
    return tag


def condition_value(key: str, value: object) -> str | int | float:
    """Return one value of a condition.

    Raises:
        ValueError: the key can never have this value.
    """
    if (read := _NAMED_KEYS.get(key)) is not None:
        read(value)
        return str(value).strip(" ")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"must be text in quotation marks or a number, not {shown(value)}")
    return value.strip(" ") if isinstance(value, str) else value
