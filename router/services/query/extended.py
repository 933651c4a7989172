"""SOP Class Extended Negotiation of C-FIND (PS3.4 C.5.1.1, K.5.1): what is answered, and what is proposed (pure).

The answer has 1 only for what the router does itself (combined date-time matching), or for what every archive that the
caller can reach has answered with 1 on its last association. Relational queries are proposed to every archive, because
an archive that does them answers other queries as before. Fuzzy matching of names is proposed where the client has
negotiated it, or where no name is asked for, so that it changes nothing. Timezone adjustment and conversion of enhanced
objects are neither answered nor proposed: the router does not do them.
"""

from collections.abc import Iterable
from typing import Final

from router.dicom.dataset import DataSet

RELATIONAL, DATE_TIME, FUZZY = range(3)
"""Positions of the bytes."""
_MOST: Final = 5
"""Bytes that the router answers: what is not offered is not answered, and later bytes are optional."""


def says(information: bytes | None, position: int) -> bool:
    """Return whether a byte is there and 1."""
    return information is not None and len(information) > position and information[position] == 1


def cannot_relational(information: bytes | None) -> str:
    """Return why an archive that has answered this cannot be asked a relational query; "" if it can."""
    if says(information, RELATIONAL):
        return ""
    return "it does no relational queries, and a unique key of a level above is missing"


def negotiated(proposed: bytes, archives: Iterable[bytes | None], *, is_worklist: bool = False) -> bytes:
    """Return the answer to a proposal. `archives`: the last answers of those that the caller can reach, None if none.

    In a worklist the first two bytes are reserved, and always 1 (PS3.4 K.5.1.1).
    """
    last = list(archives)
    answer = bytearray(min(len(proposed), _MOST))
    for position in range(len(answer)):
        by_all = bool(last) and all(says(one, position) for one in last)
        if position == DATE_TIME or (position == RELATIONAL and is_worklist):
            does = True
        else:
            does = position in (RELATIONAL, FUZZY) and by_all
        answer[position] = proposed[position] == 1 and does
    return bytes(answer)


def proposal(keys: DataSet, terms: bytes | None, *, is_worklist: bool = False) -> bytes:
    """Return what is proposed to an archive for a query of a client that has negotiated `terms`."""
    fuzzy = says(terms, FUZZY) or not _has_name(keys)
    return bytes((1, is_worklist, fuzzy))


def _has_name(keys: DataSet) -> bool:
    return any(
        bool(one.value.strip()) and one.vr == "PN" if isinstance(one.value, bytes) else any(map(_has_name, one.value))
        for one in keys.values()
    )
