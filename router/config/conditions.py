"""The conditions of a route: `when = { calling_ae = ["CT*"], Modality = "CT", "(0009,1010)" = "x" }`.

A condition is a key and the values of which any may be met. Reading one finds out what its key names, and refuses
what could never be met. Not here: meeting it (`router.routing`).
"""

from collections.abc import Callable

from attrs import frozen
from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_dict

from router.config.identifiers import text
from router.config.patterns import glob, network, sop_class, suggestion, transfer_syntax
from router.config.quantities import shown
from router.dicom.tags import element_tag

ASSOCIATION_KEYS: dict[str, Callable[[object], object]] = {
    "calling_ae": glob,
    "called_ae": glob,
    "peer": network,
    "sop_class": sop_class,
    "transfer_syntax": transfer_syntax,
}
"""What a route may ask about a message without a look into its data set, and how a value of each is judged."""

FIRST_GROUP = 0x0008
PIXEL_GROUP = 0x7FE0
WITHOUT_TEXT = frozenset({"SQ", "OB", "OD", "OF", "OL", "OV", "OW"})


@frozen(kw_only=True)
class Condition:
    """Met by a message whose `key` has any of the `values`."""

    key: str
    """As in the file: one of `ASSOCIATION_KEYS`, a keyword of PS3.6, or a tag as "(gggg,eeee)"."""
    tag: int | None
    """(group << 16) + element where the key names an element, otherwise None."""
    values: tuple[str | int | float, ...]


def condition(key: str, tag: int | None, values: tuple[str | int | float, ...]) -> Condition:
    """A condition from what `condition_key` and `condition_value` made of its parts."""
    return Condition(key=key, tag=tag, values=values)


def condition_key(key: object) -> int | None:
    """What a key of `when` names: the tag of an element, or None for one of `ASSOCIATION_KEYS`.

    Raises `ValueError` in words for a key that names nothing, or an element that no condition can be about.
    """
    if (key := str(key)) in ASSOCIATION_KEYS:
        return None
    tag = element_tag(key)
    if tag is None:
        known = [*ASSOCIATION_KEYS, *keyword_dict]
        raise ValueError(f"is no key of `when`, no DICOM keyword and no (gggg,eeee){suggestion(key, known)}")
    if tag >> 16 < FIRST_GROUP:
        raise ValueError(f"groups below {FIRST_GROUP:04X} do not stand in a data set")
    if tag >> 16 >= PIXEL_GROUP:
        raise ValueError("the router reads a data set up to the pixel data, not into or beyond it")
    if dictionary_has_tag(tag) and WITHOUT_TEXT & set(dictionary_VR(tag).split(" or ")):
        raise ValueError(f"cannot be compared: its value representation is {dictionary_VR(tag)}")
    return tag


def required_element(value: object) -> int:
    """The tag of an element whose value has to be there, from its keyword or tag: one that a condition can be about.

    Raises `ValueError` in words.
    """
    tag = condition_key(text(value))
    if tag is None:
        raise ValueError(f"must be a DICOM keyword or a (gggg,eeee), not {shown(value)}")
    return tag


def condition_value(key: str, value: object) -> str | int | float:
    """One value of a condition. Raises `ValueError` in words for one that the key can never have."""
    if (judge := ASSOCIATION_KEYS.get(key)) is not None:
        judge(value)
        return str(value).strip(" ")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"must be text in quotation marks or a number, not {shown(value)}")
    return value.strip(" ") if isinstance(value, str) else value
