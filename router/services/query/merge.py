"""Merge the answers of several archives into one: each record once, and never the elements of two in one (pure).

Two answers are one record if their identities are equal; one without an identity is a record of its own. `Stream` lets
the first answer of a record pass and drops the others. `Ordered` gathers all, sorts them by identity, and keeps of each
record the answer of the archive that stands first in the configuration, with three elements made from all its answers:
Modalities in Study (union), counts (the largest), Instance Availability. Not here: identities (`identity`), and who
answers (`fan_out`).
"""

from collections.abc import Iterable
from typing import Final

from attrs import evolve, field, frozen, mutable

from router.dicom.dataset import DataSet, Element, identifier
from router.dicom.encoding import padded
from router.dicom.information_models import IMAGE
from router.dimse import Status
from router.services.query.identity import Identity

INSTANCE_AVAILABILITY: Final = 0x00080056
MODALITIES_IN_STUDY: Final = 0x00080061
COUNTS: Final = frozenset({0x00201200, 0x00201202, 0x00201204, 0x00201206, 0x00201208, 0x00201209})
"""Numbers of Patient, Study and Series Related Studies, Series and Instances."""

_AVAILABILITIES: Final = ("UNAVAILABLE", "OFFLINE", "NEARLINE", "ONLINE")
"""The values of Instance Availability (PS3.4 C.4.1.1.3.2), the least first."""


@frozen
class Answer:
    """One match of one archive, as it is for the client."""

    archive: int
    """The place of the archive in the order of the configuration."""
    status: int
    identifier: DataSet
    identity: Identity | None
    """None: it has none."""


class Stream:
    """Records in the order in which they come. Remembers a hash of each identity, 8 bytes long."""

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def accept(self, answer: Answer) -> bool:
        """Return whether the answer is the first of its record."""
        if answer.identity is None:
            return True
        mark = hash(answer.identity)
        if mark in self._seen:
            return False
        self._seen.add(mark)
        return True


@mutable
class Ordered:
    """Records in the order of their identities, when all have come."""

    level: str
    """Query/Retrieve Level; "" in a worklist."""
    _records: dict[Identity, list[Answer]] = field(factory=dict)
    _others: list[Answer] = field(factory=list)

    def accept(self, answer: Answer) -> bool:
        """Keep an answer; return whether it is the first of its record."""
        if answer.identity is None:
            self._others.append(answer)
            return True
        answers = self._records.setdefault(answer.identity, [])
        answers.append(answer)
        return len(answers) == 1

    def records(self) -> list[Answer]:
        """Return each record once: those with an identity sorted by it, then the others as the archives stand."""
        merged = [_merged(self._records[identity], self.level) for identity in sorted(self._records)]
        return merged + sorted(self._others, key=lambda answer: answer.archive)


def _merged(answers: list[Answer], level: str) -> Answer:
    answers = sorted(answers, key=lambda answer: answer.archive)
    first, all_sets = answers[0], [answer.identifier for answer in answers]
    if len(answers) == 1:
        return first
    changed = {
        tag: Element(first.identifier[tag].vr, padded("CS", value.encode("latin-1", "replace")))
        for tag in first.identifier.keys() & {MODALITIES_IN_STUDY, INSTANCE_AVAILABILITY, *COUNTS}
        if (value := _joined(tag, [identifier(one, tag) for one in all_sets], level))
    }
    warned = any(answer.status == Status.PENDING_WITH_WARNING for answer in answers)
    status = Status.PENDING_WITH_WARNING if warned else first.status
    return evolve(first, identifier={**first.identifier, **changed}, status=status)


def _joined(tag: int, values: Iterable[str], level: str) -> str:
    """Return one value for those of all answers of a record; "" to leave that of the first."""
    given = [value for value in values if value]
    if tag == MODALITIES_IN_STUDY:
        return "\\".join(dict.fromkeys(one.strip() for value in given for one in value.split("\\") if one.strip()))
    if tag == INSTANCE_AVAILABILITY:
        known = [value for value in given if value in _AVAILABILITIES]
        # of the copies of one instance the best counts; above, the instance that is least available
        choose = max if level == IMAGE else min
        return choose(known, key=_AVAILABILITIES.index) if known else ""
    return max((value for value in given if value.strip().isdecimal()), key=int, default="")
