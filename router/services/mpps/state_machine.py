"""The state machine of a procedure step (PS3.4 F.7.2): what an N-CREATE or an N-SET may do to it. Pure.

    nothing --N-CREATE, IN PROGRESS--> IN PROGRESS --N-SET--> IN PROGRESS, COMPLETED or DISCONTINUED, and no further

A message is accepted, recognised as one that was accepted before and whose answer got lost, or refused with the
standard's status. Not here: keeping the step (`records`), sending it on (`router.services.mpps.scp`).
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Final

from attrs import field, frozen

from router.dicom.dataset import DataSet, Element, element, overlaid, text, write
from router.dicom.tags import tag_name
from router.dicom.uids import EXPLICIT_LE
from router.dimse import Status
from router.services.mpps import attributes
from router.services.mpps.attributes import StepStatus
from router.services.mpps.requirements import MissingAttribute, missing_for_create, missing_for_final, not_settable

MAY_NOT_BE_UPDATED: Final = 0xA710
"""Error ID of an N-SET after the end (PS3.4 F.7.2.2.4)."""
MAY_NOT_BE_UPDATED_WORDS: Final = "Performed Procedure Step Object may no longer be updated"


@frozen(kw_only=True)
class ValidationRules:
    """How a message is judged."""

    strict: bool = False
    """Refuse what lacks what PS3.4 table F.7.2-1 requires."""
    retransmissions: bool = True
    """Recognise a message that was accepted before, by its content, and answer it once more."""


@frozen(kw_only=True)
class StepState:
    """A step as far as the machine cares."""

    status: StepStatus
    created_by: bytes
    """`fingerprint` of its N-CREATE."""
    updated_by: bytes
    """`fingerprint` of its last N-SET; b"" before the first."""
    data_set: Callable[[], DataSet]
    """Read N-CREATE and N-SETs together. Only an N-SET that changes the step needs that."""


@frozen(kw_only=True)
class Accepted:
    """It is in order, more or less."""

    step_status: StepStatus
    data_set: DataSet
    """What the step is now."""
    update: DataSet
    """What of an N-SET was taken, its state aside; empty of an N-CREATE."""
    complaints: tuple[str, ...] = ()
    """What lenient validation let pass, in words without values."""


@frozen
class Repeated:
    """It was accepted before; its answer is to be given again, and nothing else is to happen."""


@frozen(kw_only=True)
class Refused:
    """The answer is a failure."""

    status: Status
    reason: str
    error_id: int | None = None
    elements: tuple[int, ...] = ()
    """The tags that it is about."""
    attributes: DataSet = field(factory=dict)
    """The Attribute List that goes with it."""


StepDecision = Accepted | Repeated | Refused


def fingerprint(data_set: DataSet) -> bytes:
    """Equal for data sets that say the same, in whatever transfer syntax."""
    return hashlib.sha256(write(data_set, EXPLICIT_LE)).digest()


def decide_create(held: StepState | None, data_set: DataSet, rules: ValidationRules) -> StepDecision:
    """PS3.4 F.7.2.1.3."""
    if held is not None:
        untouched = not held.updated_by and held.status is StepStatus.IN_PROGRESS
        if rules.retransmissions and untouched and held.created_by == fingerprint(data_set):
            return Repeated()
        return Refused(status=Status.DUPLICATE_SOP_INSTANCE, reason="there is a step with this SOP Instance UID")
    if refused := _judge_status(data_set, (StepStatus.IN_PROGRESS,)):
        return refused
    lacks = missing_for_create(data_set)
    if lacks and rules.strict:
        missing = [lack for lack in lacks if not lack.is_empty]
        return _refused_for(lacks, Status.MISSING_ATTRIBUTE if missing else Status.MISSING_ATTRIBUTE_VALUE)
    return Accepted(step_status=StepStatus.IN_PROGRESS, data_set=data_set, update={}, complaints=_words(lacks))


def decide_set(held: StepState | None, data_set: DataSet, rules: ValidationRules) -> StepDecision:
    """PS3.4 F.7.2.2.3 and F.7.2.2.4."""
    if held is None:
        return Refused(status=Status.NO_SUCH_SOP_INSTANCE, reason="no N-CREATE of this step has been here")
    if rules.retransmissions and held.updated_by == fingerprint(data_set):
        return Repeated()
    if held.status.is_final:
        return Refused(status=Status.PROCESSING_FAILURE, reason=MAY_NOT_BE_UPDATED_WORDS, error_id=MAY_NOT_BE_UPDATED)
    if attributes.STATUS in data_set and (refused := _judge_status(data_set, tuple(StepStatus))):
        return refused
    stage = StepStatus(text(data_set, attributes.STATUS)) if attributes.STATUS in data_set else held.status
    strangers = not_settable(data_set)
    if strangers and rules.strict:
        words = "only an N-CREATE may say " + _names(strangers)
        return Refused(status=Status.NO_SUCH_ATTRIBUTE, reason=words, elements=tuple(strangers))
    update = {tag: element for tag, element in data_set.items() if tag not in strangers and tag != attributes.STATUS}
    whole = overlaid(held.data_set(), update) | {attributes.STATUS: _status_element(stage)}
    lacks = missing_for_final(whole) if stage.is_final else []
    if lacks and rules.strict:
        return _refused_for(lacks, Status.MISSING_ATTRIBUTE_VALUE)
    complaints = _words(lacks) + tuple(f"{_names([tag])} is not for an N-SET: passed on, not kept" for tag in strangers)
    return Accepted(step_status=stage, data_set=whole, update=update, complaints=complaints)


def _judge_status(data_set: DataSet, allowed: Sequence[StepStatus]) -> Refused | None:
    if text(data_set, attributes.STATUS) in {stage.value for stage in allowed}:
        return None
    return Refused(
        status=Status.INVALID_ATTRIBUTE_VALUE,
        reason=f"Performed Procedure Step Status must be {' or '.join(stage.value for stage in allowed)}",
        elements=(attributes.STATUS,),
        attributes={attributes.STATUS: data_set.get(attributes.STATUS, Element("CS", b""))},
    )


def _status_element(stage: StepStatus) -> Element:
    return element("CS", stage.value)


def _refused_for(lacks: Sequence[MissingAttribute], status: Status) -> Refused:
    tags = tuple(dict.fromkeys(lack.tag for lack in lacks))
    return Refused(status=status, reason="; ".join(_words(lacks)), elements=tags)


def _words(lacks: Sequence[MissingAttribute]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(lack.reason for lack in lacks))


def _names(tags: Sequence[int]) -> str:
    return ", ".join(map(tag_name, tags))
