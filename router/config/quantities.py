"""Readers of durations, sizes and counts, as an integration engineer writes them.

Each returns the value of what TOML gave, or raises `ValueError` with a message for the author of the
file. Not here: titles, names and addresses (`identifiers`), and which keys exist (`values`).
"""

import math
import re
from collections.abc import Callable, Mapping

SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
BYTES = {"B": 1} | {
    f"{prefix}{kind}": float(base**power)
    for power, prefix in enumerate("KMGT", start=1)
    for kind, base in (("B", 1000), ("iB", 1024))
}
LONGEST_DURATION = 3650 * SECONDS["d"]
SMALLEST_PDU = 4096
LARGEST_PDU = 1 << 20

_QUANTITY = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)\s*([A-Za-z]+)", re.ASCII)


def shown(value: object) -> str:
    """Return a value as it would stand in the file, in one line of at most 80 characters."""
    match value:
        case bool():
            return str(value).lower()
        case dict():
            return "a table"
        case list():
            return "a list"
        case str():
            written = '"' + value.encode("unicode_escape").decode("ascii") + '"'
        case _:
            written = str(value)
    return written if len(written) <= 80 else written[:76] + '..."'


def duration(value: object) -> float:
    """Read seconds from "500ms", "30s", "5m", "1.5h" or "7d": up to ten years."""
    seconds = _quantity(value, SECONDS, "30s")
    if seconds > LONGEST_DURATION:
        raise ValueError(f"{shown(value)} is longer than ten years")
    return seconds


def wait(value: object) -> float:
    """Read a duration of more than zero: a deadline of zero would always have passed."""
    seconds = duration(value)
    if seconds == 0:
        raise ValueError(f"must be longer than zero, not {shown(value)}")
    return seconds


def size(value: object) -> int:
    """Read bytes from "64KiB", "12MB", "1GiB" or "0": KB, MB, GB, TB are powers of 1000, KiB, MiB, GiB, TiB of 1024."""
    return 0 if value == "0" else math.floor(_quantity(value, BYTES, "64MiB"))


def size_between(least: str, most: str) -> Callable[[object], int]:
    """Return a reader of sizes from `least` to `most`, both included and written as in the file."""

    def read(value: object) -> int:
        if not size(least) <= (count := size(value)) <= size(most):
            raise ValueError(f"must be from {least} to {most}, not {shown(value)}")
        return count

    return read


def between(least: int, most: int) -> Callable[[object], int]:
    """Return a reader of whole numbers from `least` to `most`, both included."""

    def read(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise ValueError(f"must be a whole number from {least} to {most}, not {shown(value)}")
        return value

    return read


def factor(value: object) -> float:
    """Read the factor by which each pause is longer than the one before: from 1 to 100."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 1 <= value <= 100:
        raise ValueError(f"must be a number from 1 to 100, not {shown(value)}")
    return float(value)


def pdu_length(value: object) -> int:
    """Read the maximum length of P-DATA-TF PDUs: bytes or a size, 4096 to 1 MiB; 0 for no limit (PS3.8 D.1)."""
    length = size(value) if isinstance(value, str) else value
    if not isinstance(length, int) or isinstance(length, bool):
        raise ValueError(f"must be a number of bytes, not {shown(value)}")
    if length != 0 and not SMALLEST_PDU <= length <= LARGEST_PDU:
        raise ValueError(f"must be from {SMALLEST_PDU} to {LARGEST_PDU} bytes, or 0 for no limit, not {shown(value)}")
    return length


def _quantity(value: object, units: Mapping[str, float], example: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError(f'{value} has no unit: write it like "{example}"')
    found = _QUANTITY.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None or found[2] not in units:
        raise ValueError(f'must be a number with a unit ({", ".join(units)}), like "{example}", not {shown(value)}')
    return float(found[1]) * units[found[2]]
