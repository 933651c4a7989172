"""Steps for people, as JSON objects: what the admin API answers and the command line prints. Pure.

UIDs, states, counts and AE titles. The patient's name and ID and the accession number are there only where they are
asked for (`phi`).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from router.dicom.dataset import text
from router.model import DeliveryState
from router.services.mpps import attributes as content
from router.services.mpps.attributes import of_schedule
from router.services.mpps.availability_store import AvailabilityNotice
from router.services.mpps.store import Step, StepMessage
from router.spool import InstanceDelivery, QueueRow

OWED = frozenset({DeliveryState.WAITING, DeliveryState.HELD})


def listed(steps: Iterable[Step], owed: Sequence[QueueRow], *, phi: bool) -> dict[str, Any]:
    """An answer to /api/steps; `phi` means that each step is read. `owed` are the deliveries of steps that wait or are
    held."""
    by_step: dict[str, Counter[str]] = {}
    for row in owed:
        by_step.setdefault(row.sop_instance_uid, Counter())[row.state.value] += 1
    return {"steps": [_summary(step, by_step.get(step.uid, Counter()), phi) for step in steps]}


def shown(
    step: Step,
    messages: Sequence[StepMessage],
    deliveries: Sequence[QueueRow],
    instances: Mapping[str, Sequence[InstanceDelivery]],
    notices: Sequence[AvailabilityNotice],
    *,
    phi: bool,
) -> dict[str, Any]:
    """An answer to /api/steps/UID."""
    owed = Counter(row.state.value for row in deliveries if row.state in OWED)
    return {
        **_summary(step, owed, phi),
        "study_instance_uid": step.study_uid,
        "called_ae": step.called_ae,
        "peer": step.peer,
        "answer": step.answer or "router",
        "validation": "strict" if step.strict else "lenient",
        "relay": list(step.relay),
        "notify": list(step.notify),
        "inform": list(step.inform),
        "messages": [
            {
                "message_id": message.message_id,
                "kind": message.kind,
                "stage": message.stage.value,
                "deliveries": [_delivery(row) for row in deliveries if row.message_id == message.message_id],
            }
            for message in messages
        ],
        "references": [
            {
                "series_instance_uid": one.series_uid,
                "sop_class_uid": one.sop_class_uid,
                "sop_instance_uid": one.sop_instance_uid,
                "came": one.sop_instance_uid in instances,
                "deliveries": [
                    {"destination": delivery.destination, "state": delivery.state.value}
                    for delivery in instances.get(one.sop_instance_uid, ())
                ],
            }
            for one in step.references()
        ],
        "availability_owed": [{"destination": notice.destination, "told_in_part": notice.told} for notice in notices],
    }


def _summary(step: Step, owed: Mapping[str, int], phi: bool) -> dict[str, Any]:
    summary = {
        "uid": step.uid,
        "stage": step.stage.value,
        "modality": step.modality,
        "calling_ae": step.calling_ae,
        "created": step.created,
        "changed": step.changed,
        "series": step.series,
        "instances": step.instances,
        "waiting": owed.get("waiting", 0),
        "held": owed.get("held", 0),
    }
    if phi:
        said = step.data_set()
        summary["accession_number"] = of_schedule(said, content.ACCESSION_NUMBER)
        summary["patient_name"] = text(said, content.PATIENT_NAME)
        summary["patient_id"] = text(said, content.PATIENT_ID)
    return summary


def _delivery(row: QueueRow) -> dict[str, Any]:
    return {
        "destination": row.destination,
        "state": row.state.value,
        "attempts": row.attempts,
        "reason": row.reason,
    }
