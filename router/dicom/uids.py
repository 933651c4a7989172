"""UIDs: their syntax (PS3.5 9.1), their names (PS3.6 annex A), transfer syntaxes, Storage SOP Classes."""

import re
from enum import Enum
from functools import cache, lru_cache
from typing import Final

from pydicom._uid_dict import UID_dictionary

from router.logs import escaped

IMPLICIT_LE: Final = "1.2.840.10008.1.2"
"""Implicit VR Little Endian (PS3.5 A.1)."""
EXPLICIT_LE: Final = "1.2.840.10008.1.2.1"
"""Explicit VR Little Endian (PS3.5 A.2)."""
EXPLICIT_BE: Final = "1.2.840.10008.1.2.2"
"""Explicit VR Big Endian (PS3.5 A.3, retired)."""
UNCOMPRESSED: Final = (IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE)

IMPLICIT_SYNTAXES: Final = frozenset({IMPLICIT_LE, "1.2.840.10008.1.20", "1.2.840.113619.5.2"})
"""Implicit VR Little Endian, Papyrus 3, and a private one of GE that differs in the pixel data only."""
DEFLATED_SYNTAXES: Final = frozenset({"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"})
"""The whole data set is deflated: Explicit VR LE, JPIP Referenced, JPIP HTJ2K Referenced (PS3.5 A.5, A.6)."""


@lru_cache(4096)
def uid_name(uid: str) -> str:
    """Return the name of a UID up to its first colon, or the UID itself, escaped for a log."""
    entry = UID_dictionary.get(uid)
    return entry[0].partition(":")[0] if entry else escaped(uid)


class Kind(Enum):
    """Kinds of registered UIDs that a configuration may name (PS3.6 annex A)."""

    SOP_CLASS = "SOP Class"
    TRANSFER_SYNTAX = "Transfer Syntax"


def name_of(uid: str) -> str:
    """Return the name of a UID, or the UID itself (PS3.6 annex A)."""
    entry = UID_dictionary.get(uid)
    return entry[0] if entry else uid


@cache
def registered(kind: Kind) -> dict[str, tuple[str, str]]:
    """Return (name, keyword) of every registered UID of a kind, by UID."""
    return {uid: (name, keyword) for uid, (name, type_, *_, keyword) in UID_dictionary.items() if kind.value in type_}


@cache
def uids_by_name(kind: Kind) -> dict[str, str]:
    """Return the UID of every name and keyword of a kind, in lower case."""
    return {word.casefold(): uid for uid, names in registered(kind).items() for word in names if word}


_UID: Final = re.compile(r"[0-9]+(\.[0-9]+)*")
_NOT_STORAGE: Final = ("StorageCommitment", "StorageService", "MediaStorageDirectory")
_STORED_TOO: Final = ("PresentationLUT",)
"""Archives accept objects of these SOP classes by C-STORE, although the standard has them for other services."""
_UNKNOWN: Final = ("", "", "", "", "")


def is_storage_sop_class(uid: str) -> bool:
    """Return True if objects of this SOP class are stored with C-STORE.

    True for every Storage SOP Class of the standard, retired ones too, and for every UID that the dictionary does not
    have: a private one, or one newer than the dictionary.
    """
    return is_standard_storage_sop_class(uid) or is_presumed_storage_sop_class(uid)


def is_standard_storage_sop_class(uid: str) -> bool:
    """Return True for a Storage SOP Class of the standard (PS3.4 B.5)."""
    _, kind, _, _, keyword = UID_dictionary.get(uid, _UNKNOWN)
    return kind == "SOP Class" and "Storage" in keyword and not keyword.startswith(_NOT_STORAGE)


def is_presumed_storage_sop_class(uid: str) -> bool:
    """Return True if objects of this SOP class may be stored with C-STORE, although the standard does not say so."""
    entry = UID_dictionary.get(uid)
    return is_uid(uid) if entry is None else entry[1] == "SOP Class" and entry[4] in _STORED_TOO


def is_uid(text: str) -> bool:
    """Return True for numbers and dots of at most 64 characters (PS3.5 9.1); leading zeros pass, as they are common."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None
