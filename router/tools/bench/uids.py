"""SOP Instance UIDs by number, all of one length, so that one can be written over the other.

A UID is a root under 2.25 (PS3.5 B.2) that is drawn once for each run, and the object's number. The length is that of
the UID in the object that is sent, so that nothing else in it has to change.
"""

import secrets
from typing import Final

from router.tools.bench.errors import BenchError

LENGTH: Final = 44
"""Bytes of the UIDs of made objects."""
SHORTEST: Final = 28
LONGEST: Final = 64
"""PS3.5 9.1."""

_PREFIX: Final = "2.25."
_FEWEST_SERIALS: Final = 13
"""Digits of the number: the first is 1, the other twelve count."""
_MOST_RUN: Final = 38
"""Digits of the root, which stays below 2 ** 128."""


class Uids:
    """The UIDs of one run."""

    def __init__(self, run: str | None = None) -> None:
        """`run`: 38 digits that no other run has; drawn where there are none."""
        self._run = run or "".join(
            ["123456789"[secrets.randbelow(9)], *(str(secrets.randbelow(10)) for _ in range(37))]
        )

    def of(self, number: int, length: int = LENGTH) -> str:
        """The UID of object `number`, of exactly `length` characters.

        Raises:
            BenchError: the length has no room for it.
        """
        root, digits = self._parts(length)
        return f"{root}{10 ** (digits - 1) + number}"

    def number(self, uid: str) -> int | None:
        """The number of the object that has this UID; None where it is none of this run's."""
        try:
            root, digits = self._parts(len(uid))
        except BenchError:
            return None
        tail = uid[len(root) :]
        if not uid.startswith(root) or not tail.isdigit():
            return None
        first: int = 10 ** (digits - 1)
        return int(tail) - first

    def _parts(self, length: int) -> tuple[str, int]:
        """The root with its last dot, and how many digits follow."""
        if not SHORTEST <= length <= LONGEST:
            raise BenchError(f"a SOP Instance UID of {length} characters cannot be exchanged for another one")
        run = min(_MOST_RUN, length - len(_PREFIX) - 1 - _FEWEST_SERIALS)
        root = f"{_PREFIX}{self._run[:run]}."
        return root, length - len(root)
