"""UIDs: their syntax (PS3.5 9.1), the names PS3.6 gives them, and which are Storage SOP Classes."""

import re
from enum import Enum
from functools import cache, lru_cache
from typing import Final

from pydicom._uid_dict import UID_dictionary

from router.logs import escaped


@lru_cache(4096)
def uid_name(uid: str) -> str:
    """The standard's name of a UID, or the UID itself, escaped."""
    entry = UID_dictionary.get(uid)
    return entry[0].partition(":")[0] if entry else escaped(uid)


class Kind(Enum):
    """The kinds of registered UIDs (PS3.6 annex A) that are known here by name."""

    SOP_CLASS = "SOP Class"
    TRANSFER_SYNTAX = "Transfer Syntax"


def name_of(uid: str) -> str:
    """The name that PS3.6 gives a UID, or the UID itself."""
    entry = UID_dictionary.get(uid)
    return entry[0] if entry else uid


@cache
def _registry(kind: Kind) -> dict[str, str]:
    """From every name and keyword of a kind, in small letters, to the UID."""
    return {
        word.casefold(): uid
        for uid, (name, type_, *_, keyword) in UID_dictionary.items()
        if kind.value in type_
        for word in (name, keyword)
        if word
    }


_UID: Final = re.compile(r"[0-9]+(\.[0-9]+)*")


_NOT_STORAGE: Final = ("StorageCommitment", "StorageService", "MediaStorageDirectory")


_STORED_TOO: Final = ("PresentationLUT",)
"""Archives take objects of these SOP classes by C-STORE, although the standard means them for other services."""


def is_storage_sop_class(uid: str) -> bool:
    """Whether objects of this SOP class are stored with C-STORE: all that the standard names so, retired ones too,
    and every UID that the dictionary does not know (private, or newer than the dictionary)."""
    entry = UID_dictionary.get(uid)
    if entry is None:
        return is_uid(uid)
    _, kind, _, _, keyword = entry
    named_so = "Storage" in keyword and not keyword.startswith(_NOT_STORAGE)
    return kind == "SOP Class" and (named_so or keyword in _STORED_TOO)


def is_uid(text: str) -> bool:
    """Numbers and dots, at most 64 characters (PS3.5 9.1). Leading zeros of a component pass: they are common."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None
