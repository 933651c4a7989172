"""Tags: keywords and `(gggg,eeee)` to numbers and back (PS3.6)."""

import re

from pydicom.datadict import dictionary_has_tag, dictionary_keyword, tag_for_keyword

_TAG = re.compile(r"\(([0-9A-Fa-f]{4}),\s*([0-9A-Fa-f]{4})\)")


def element_tag(key: str) -> int | None:
    """The tag that a keyword or a "(gggg,eeee)" names, or None."""
    if found := _TAG.fullmatch(key.strip()):
        return int(found[1] + found[2], 16)
    return tag_for_keyword(key)


def tag_name(tag: int) -> str:
    """An element as people know it: its keyword, or its tag."""
    keyword = dictionary_keyword(tag) if dictionary_has_tag(tag) else ""
    return keyword or f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
