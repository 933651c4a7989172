"""Tags (PS3.6): those that several modules use, and keywords and `(gggg,eeee)` to numbers and back."""

import re
from typing import Final

from pydicom.datadict import dictionary_has_tag, dictionary_keyword, tag_for_keyword

from router.dicom.encoding import named

SPECIFIC_CHARACTER_SET: Final = 0x00080005
SOP_CLASS_UID: Final = 0x00080016
SOP_INSTANCE_UID: Final = 0x00080018
RETRIEVE_AE_TITLE: Final = 0x00080054
REFERENCED_SOP_CLASS_UID: Final = 0x00081150
REFERENCED_SOP_INSTANCE_UID: Final = 0x00081155
REFERENCED_SOP_SEQUENCE: Final = 0x00081199

_TAG = re.compile(r"\(([0-9A-Fa-f]{4}),\s*([0-9A-Fa-f]{4})\)")


def element_tag(key: str) -> int | None:
    """Return the tag of a keyword or of a "(gggg,eeee)", or None."""
    if found := _TAG.fullmatch(key.strip()):
        return int(found[1] + found[2], 16)
    return tag_for_keyword(key)


def tag_name(tag: int) -> str:
    """Return the keyword of an element, or its tag as the standard writes it."""
    keyword = dictionary_keyword(tag) if dictionary_has_tag(tag) else ""
    return keyword or named(tag)
