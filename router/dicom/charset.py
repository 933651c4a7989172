"""Text of data sets by Specific Character Set (PS3.3 C.12.1.1.2, PS3.5 6.1.2).

Decoding never fails, warns or logs: a byte that the character set does not have becomes U+FFFD, and an unknown term
counts as Latin-1. The tables are pydicom's, with the terms that products write in place of the defined ones. Not here:
which elements are text (`element_values`).
"""

import re
from functools import lru_cache

from pydicom.charset import CODES_TO_ENCODINGS, python_encoding

LATIN_1 = "iso8859"
WITH_ESCAPES = frozenset({"iso2022_jp", "iso2022_jp_2", "iso2022_jp_ext"})
"""Python's codecs that decode the escape sequence themselves."""
_ESCAPES = CODES_TO_ENCODINGS | {
    b"\x1b(I": "iso2022_jp_ext",  # JIS X 0201 katakana as G0, where the standard has it as G1
    b"\x1b$A": "iso2022_jp_2",  # GB 2312 as G0, likewise
}
"""Python's codec by escape sequence."""
_TERMS = python_encoding | {
    "ISO_IR 14": "shift_jis",  # the standard has JIS X 0201 romaji as part of ISO_IR 13 only
    "ISO_IR 1252": "gb18030",
    "EUC-JP": "euc_jp",
    "TIS-620": "tis_620",
}
"""Python's codec by term."""

_ESCAPED = re.compile(rb"\x1b[^\x1b]*|[^\x1b]+")
_DELIMITERS = re.compile(rb"[\\\r\n\t\f]")
_NAME_DELIMITERS = re.compile(rb"[\\\r\n\t\f^=]")
_MISSPELT = re.compile(r"ISO[ _-]?(?:2022)?[ _-]?IR[ _-]?(\d+)")


@lru_cache(maxsize=64)
def codecs(terms: str) -> tuple[str, ...]:
    """Return Python's codecs for a Specific Character Set, the initial one first; accept common misspellings."""
    return tuple(_codec(term.strip(" \0")) for term in terms.split("\\"))


def codec(terms: str) -> str:
    """Return Python's codec to encode text with, for a Specific Character Set; ASCII for the default repertoire."""
    return codecs(terms)[0] if terms.strip(" \\\0") else "ascii"


def decode(value: bytes, terms: str, *, name: bool = False) -> str:
    """Decode a value under a Specific Character Set and keep its backslashes. `name`: the value is a PN."""
    if value.isascii() and b"\x1b" not in value:
        return value.decode("ascii")
    initial = codecs(terms)[0]
    if b"\x1b" not in value:
        return value.decode(initial, "replace")
    delimiters = _NAME_DELIMITERS if name else _DELIMITERS
    return "".join(_decode_fragment(fragment, initial, delimiters) for fragment in _ESCAPED.findall(value))


def _decode_fragment(fragment: bytes, initial: str, delimiters: re.Pattern[bytes]) -> str:
    """Decode up to the next escape sequence; one at the start sets the codec up to a delimiter (PS3.5 6.1.2.5.3)."""
    code = next((code for code in _ESCAPES if fragment.startswith(code)), b"")
    codec = _ESCAPES.get(code, initial)
    if codec in WITH_ESCAPES:
        return fragment.decode(codec, "replace")
    fragment = fragment[len(code) :]
    reset = delimiters.search(fragment)
    here, after = (fragment[: reset.start()], fragment[reset.start() :]) if reset else (fragment, b"")
    return here.decode(codec, "replace") + after.decode(initial, "replace")


def is_known(term: str) -> bool:
    """Return whether a term is a defined one, or one that products write in place of it; "" is the default set."""
    return term in _TERMS


def _codec(term: str) -> str:
    """Return the codec of one term. A set has the same one with and without code extensions (2022)."""
    found = _MISSPELT.fullmatch(term)
    spellings = (f"ISO_IR {found[1]}", f"ISO 2022 IR {found[1]}") if found else (term,)
    return next((_TERMS[one] for one in spellings if one in _TERMS), LATIN_1)
