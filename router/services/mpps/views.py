"""Steps as JSON objects, for the admin API and the command line. Pure.

They have UIDs, statuses, counts and AE titles. The patient's name and ID and the accession number are added only if
they are asked for (`phi`). Not here: reading the steps (router/web/admin/mpps.py).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from router.dicom.dataset import text
from router.model import DeliveryState
from router.services.mpps import attributes
from router.services.mpps.attributes import of_schedule
from router.services.mpps.availability_store import PendingNotification
from router.services.mpps.step_store import Step, StepMessage
from router.spool import InstanceDelivery, QueueRow

UNFINISHED: Final = frozenset({DeliveryState.WAITING, DeliveryState.HELD})
"""States of the deliveries that a step's summary counts."""


def list_steps(
    steps: Iterable[Step], rows: Sequence[QueueRow], patients: Mapping[str, Mapping[str, str]]
) -> dict[str, Any]:
    """Return the answer to /api/steps.

    `rows` are the unfinished deliveries of steps. `patients` has what `patients_of` found, empty without `phi`.
    """
    by_step: dict[str, Counter[str]] = {}
    for row in rows:
        by_step.setdefault(row.sop_instance_uid, Counter())[row.state.value] += 1
    return {
        "steps": [{**_summary(step, by_step.get(step.uid, Counter())), **patients.get(step.uid, {})} for step in steps]
    }


def patients_of(steps: Iterable[Step]) -> dict[str, dict[str, str]]:
    """Read the patient and the accession number of each step, by its UID; from its data sets, so it may be long."""
    return {step.uid: _patient(step) for step in steps}


def show_step(
    step: Step,
    messages: Sequence[StepMessage],
    deliveries: Sequence[QueueRow],
    instances: Mapping[str, Sequence[InstanceDelivery]],
    pending: Sequence[PendingNotification],
    *,
    phi: bool,
) -> dict[str, Any]:
    """Return the answer to /api/steps/UID. `instances` are the deliveries of what the step names, by UID."""
    unfinished = Counter(row.state.value for row in deliveries if row.state in UNFINISHED)
    return {
        **_summary(step, unfinished),
        **(_patient(step) if phi else {}),
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
                "stage": message.step_status.value,
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
        "availability_owed": [{"destination": one.destination, "told_in_part": one.partial_sent} for one in pending],
    }


def _summary(step: Step, unfinished: Mapping[str, int]) -> dict[str, Any]:
    return {
        "uid": step.uid,
        "stage": step.status.value,
        "modality": step.modality,
        "calling_ae": step.calling_ae,
        "created": step.created,
        "changed": step.changed,
        "series": step.series,
        "instances": step.instances,
        "waiting": unfinished.get("waiting", 0),
        "held": unfinished.get("held", 0),
    }


def _patient(step: Step) -> dict[str, str]:
    data_set = step.data_set()
    return {
        "accession_number": of_schedule(data_set, attributes.ACCESSION_NUMBER),
        "patient_name": text(data_set, attributes.PATIENT_NAME),
        "patient_id": text(data_set, attributes.PATIENT_ID),
    }


def _delivery(row: QueueRow) -> dict[str, Any]:
    return {
        "destination": row.destination,
        "state": row.state.value,
        "attempts": row.attempts,
        "reason": row.reason,
    }
