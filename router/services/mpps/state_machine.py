"""The state machine of a procedure step (PS3.4 F.7.2): what an N-CREATE or an N-SET does to it. Pure.

    nothing --N-CREATE, IN PROGRESS--> IN PROGRESS --N-SET--> IN PROGRESS, COMPLETED or DISCONTINUED, and no further

A message is accepted, or recognised as the repeat of one that was accepted before, or refused with the standard's
status. Not here: the required attributes (requirements.py), keeping the step (step_store.py), relaying (scp.py).
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
MAY_NOT_BE_UPDATED_COMMENT: Final = "Performed Procedure Step Object may no longer be updated"
"""Error Comment that goes with it."""


@frozen(kw_only=True)
class ValidationRules:
    """How messages are validated."""

    strict: bool = False
    """Refuse a message that lacks an attribute required by PS3.4 table F.7.2-1."""
    retransmissions: bool = True
    """Recognise the repeat of an accepted message by its content, and accept it again without effect."""


@frozen(kw_only=True)
class StepState:
    """The state of a step as far as decisions need it."""

    status: StepStatus
    created_by: bytes
    """`fingerprint` of its N-CREATE."""
    updated_by: bytes
    """`fingerprint` of its last N-SET; b"" before the first."""
    data_set: Callable[[], DataSet]
    """Reads N-CREATE and N-SETs together; called only for an N-SET that changes the step."""


@frozen(kw_only=True)
class Accepted:
    """The message changes the step."""

    step_status: StepStatus
    """The step's status after it."""
    data_set: DataSet
    """The step after it: N-CREATE and N-SETs together."""
    update: DataSet
    """The attributes of an N-SET to keep, without the status; empty for an N-CREATE."""
    complaints: tuple[str, ...] = ()
    """What lenient validation let pass; names of attributes, no values."""


@frozen
class Repeated:
    """The message was accepted before: the response is the same again, and nothing changes."""


@frozen(kw_only=True)
class Refused:
    """The response is a failure."""

    status: Status
    reason: str
    error_id: int | None = None
    elements: tuple[int, ...] = ()
    """Tags of the attributes at fault."""
    attributes: DataSet = field(factory=dict)
    """The Attribute List of the response."""


StepDecision = Accepted | Repeated | Refused


def fingerprint(data_set: DataSet) -> bytes:
    """Return a hash that is equal for data sets with the same content, in whichever transfer syntax they came."""
    return hashlib.sha256(write(data_set, EXPLICIT_LE)).digest()


def decide_create(step: StepState | None, data_set: DataSet, rules: ValidationRules) -> StepDecision:
    """Decide on an N-CREATE (PS3.4 F.7.2.1.3). `step` is the one that exists under its UID."""
    if step is not None:
        is_untouched = not step.updated_by and step.status is StepStatus.IN_PROGRESS
        if rules.retransmissions and is_untouched and step.created_by == fingerprint(data_set):
            return Repeated()
        return Refused(status=Status.DUPLICATE_SOP_INSTANCE, reason="there is a step with this SOP Instance UID")
    if refused := _check_status(data_set, (StepStatus.IN_PROGRESS,)):
        return refused
    missing = missing_for_create(data_set)
    if missing and rules.strict:
        all_empty = all(one.is_empty for one in missing)
        return _refused_for(missing, Status.MISSING_ATTRIBUTE_VALUE if all_empty else Status.MISSING_ATTRIBUTE)
    complaints = _reasons(missing)
    return Accepted(step_status=StepStatus.IN_PROGRESS, data_set=data_set, update={}, complaints=complaints)


def decide_set(step: StepState | None, data_set: DataSet, rules: ValidationRules) -> StepDecision:
    """Decide on an N-SET (PS3.4 F.7.2.2.3, F.7.2.2.4). `step` is the one that it names."""
    if step is None:
        return Refused(status=Status.NO_SUCH_SOP_INSTANCE, reason="no N-CREATE of this step was received")
    if rules.retransmissions and step.updated_by == fingerprint(data_set):
        return Repeated()
    if step.status.is_final:
        reason = MAY_NOT_BE_UPDATED_COMMENT
        return Refused(status=Status.PROCESSING_FAILURE, reason=reason, error_id=MAY_NOT_BE_UPDATED)
    has_status = attributes.STATUS in data_set
    if has_status and (refused := _check_status(data_set, tuple(StepStatus))):
        return refused
    status = StepStatus(text(data_set, attributes.STATUS)) if has_status else step.status
    forbidden = not_settable(data_set)
    if forbidden and rules.strict:
        reason = "only an N-CREATE may contain " + _names(forbidden)
        return Refused(status=Status.NO_SUCH_ATTRIBUTE, reason=reason, elements=tuple(forbidden))
    update = {tag: value for tag, value in data_set.items() if tag not in forbidden and tag != attributes.STATUS}
    updated = overlaid(step.data_set(), update) | {attributes.STATUS: element("CS", status.value)}
    missing = missing_for_final(updated) if status.is_final else []
    if missing and rules.strict:
        return _refused_for(missing, Status.MISSING_ATTRIBUTE_VALUE)
    not_kept = tuple(f"{_names([tag])} is not for an N-SET: passed on, not kept" for tag in forbidden)
    return Accepted(step_status=status, data_set=updated, update=update, complaints=_reasons(missing) + not_kept)


def _check_status(data_set: DataSet, allowed: Sequence[StepStatus]) -> Refused | None:
    """Return the refusal of a message whose Performed Procedure Step Status is not allowed."""
    if text(data_set, attributes.STATUS) in {status.value for status in allowed}:
        return None
    return Refused(
        status=Status.INVALID_ATTRIBUTE_VALUE,
        reason=f"Performed Procedure Step Status must be {' or '.join(status.value for status in allowed)}",
        elements=(attributes.STATUS,),
        attributes={attributes.STATUS: data_set.get(attributes.STATUS, Element("CS", b""))},
    )


def _refused_for(missing: Sequence[MissingAttribute], status: Status) -> Refused:
    tags = tuple(dict.fromkeys(one.tag for one in missing))
    return Refused(status=status, reason="; ".join(_reasons(missing)), elements=tags)


def _reasons(missing: Sequence[MissingAttribute]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one.reason for one in missing))


def _names(tags: Sequence[int]) -> str:
    return ", ".join(map(tag_name, tags))
