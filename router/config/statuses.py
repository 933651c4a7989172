"""[statuses]: the status codes of the router's own refusals, for all requestors or by calling AE title.

The attributes of `Statuses` are named after the refusals in PS3.7 annex C and PS3.4, where they have a name there. A
status that the router passes on from a peer is never changed. Not here: what is refused (the services), and reading
the file (`load`).
"""

import re
from typing import Annotated, Final

from attrs import field, frozen

from router.config.patterns import Globs
from router.config.quantities import shown
from router.config.reading import One

_CODE = re.compile(r"(?:0[xX])?([0-9A-Fa-f]{4})[hH]?", re.ASCII)
_WARNINGS = (0x0001, 0x0107, 0x0116)


def failure_status(value: object) -> int:
    """Read a failure code such as "A800H" (PS3.7 annex C).

    Success, warnings, cancel and pending are refused: the sender would think that the object is stored, or would wait
    for more responses.
    """
    found = _CODE.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f'must be a status of four hexadecimal digits, like "A800H", not {shown(value)}')
    status = int(found[1], 16)
    if status == 0 or status in _WARNINGS or status >> 12 == 0xB or status >> 8 in (0xFE, 0xFF):
        raise ValueError(f"{status:04X}H says success, warning, cancel or pending: only a failure can refuse")
    return status


Code = Annotated[int, One(failure_status)]


@frozen(kw_only=True)
class Statuses:
    """[statuses] and [statuses.by_calling_ae."GLOB"]: the code of each refusal."""

    no_such_attribute: Code = 0x0105
    invalid_attribute_value: Code = 0x0106
    processing_failure: Code = 0x0110
    duplicate_sop_instance: Code = 0x0111
    no_such_sop_instance: Code = 0x0112
    no_such_event_type: Code = 0x0113
    no_such_argument: Code = 0x0114
    invalid_argument_value: Code = 0x0115
    invalid_sop_instance: Code = 0x0117
    no_such_sop_class: Code = 0x0118
    class_instance_conflict: Code = 0x0119
    missing_attribute: Code = 0x0120
    missing_attribute_value: Code = 0x0121
    sop_class_not_supported: Code = 0x0122
    no_such_action: Code = 0x0123
    not_authorized: Code = 0x0124
    duplicate_transaction_uid: Code = 0x0131
    duplicate_invocation: Code = 0x0210
    unrecognized_operation: Code = 0x0211
    mistyped_argument: Code = 0x0212
    resource_limitation: Code = 0x0213
    out_of_resources: Code = 0xA700
    unable_to_count_matches: Code = 0xA701
    unable_to_perform_suboperations: Code = 0xA702
    move_destination_unknown: Code = 0xA801
    data_set_does_not_match: Code = 0xA900
    cannot_understand: Code = 0xC000
    unable_to_process: Code = 0xC001
    duplicate: Code = 0xC000
    """For a C-STORE with other bytes under a SOP Instance UID that still waits (`storage.duplicates = "refuse"`)."""
    unrouted: Code = 0xC000
    """For a C-STORE that no route matches (`router.unrouted = "refuse"`)."""
    by_calling_ae: tuple[tuple[Globs, "Statuses"], ...] = field(default=(), repr=False)
    """Patterns and their codes, in the order of the file. Each entry includes the codes of [statuses]."""

    def for_calling_ae(self, calling_ae: str) -> "Statuses":
        """Return the codes for one calling AE title: those of the first pattern that matches it, or those for all."""
        return next((statuses for globs, statuses in self.by_calling_ae if globs.matches(calling_ae)), self)


STANDARD: Final = Statuses()
"""The codes of the standard."""
