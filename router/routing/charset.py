"""Text of data sets by Specific Character Set (PS3.3 C.12.1.1.2, PS3.5 6.1.2).

Decoding never fails, warns or logs: what a character set does not know becomes U+FFFD, and an unknown term counts as
Latin-1. The tables are pydicom's. Not here: which elements are text (`elements`).
"""

import re
from functools import lru_cache

from pydicom.charset import CODES_TO_ENCODINGS, python_encoding

LATIN_1 = "iso8859"
WITH_ESCAPES = frozenset({"iso2022_jp", "iso2022_jp_2"})
"""Python's codecs that want to see the escape sequence themselves."""

_ESCAPED = re.compile(rb"\x1b[^\x1b]*|[^\x1b]+")
_DELIMITERS = re.compile(rb"[\\\r\n\t\f]")
_NAME_DELIMITERS = re.compile(rb"[\\\r\n\t\f^=]")
_MISSPELT = re.compile(r"ISO[ _-]?(2022)?[ _-]?IR[ _-]?(\d+)")


@lru_cache(maxsize=64)
def codecs(terms: str) -> tuple[str, ...]:
    """Python's codecs for a value of Specific Character Set, the initial one first. Common misspellings count."""
    return tuple(python_encoding.get(_spelt(term.strip(" \0")), LATIN_1) for term in terms.split("\\"))


def decode(value: bytes, terms: str, *, name: bool = False) -> str:
    """The text of a value under a Specific Character Set, with its backslashes. `name` says that it is a PN."""
    if value.isascii() and b"\x1b" not in value:
        return value.decode("ascii")
    initial = codecs(terms)[0]
    if b"\x1b" not in value:
        return value.decode(initial, "replace")
    delimiters = _NAME_DELIMITERS if name else _DELIMITERS
    return "".join(_decode_fragment(fragment, initial, delimiters) for fragment in _ESCAPED.findall(value))


def _decode_fragment(fragment: bytes, initial: str, delimiters: re.Pattern[bytes]) -> str:
    """Text up to the next escape sequence. One at its start sets the codec up to a delimiter (PS3.5 6.1.2.5.3)."""
    code = next((code for code in CODES_TO_ENCODINGS if fragment.startswith(code)), b"")
    codec = CODES_TO_ENCODINGS.get(code, initial)
    if codec in WITH_ESCAPES:
        return fragment.decode(codec, "replace")
    fragment = fragment[len(code) :]
    reset = delimiters.search(fragment)
    here, after = (fragment[: reset.start()], fragment[reset.start() :]) if reset else (fragment, b"")
    return here.decode(codec, "replace") + after.decode(initial, "replace")


def _spelt(term: str) -> str:
    found = _MISSPELT.fullmatch(term)
    return (f"ISO 2022 IR {found[2]}" if found[1] else f"ISO_IR {found[2]}") if found else term
