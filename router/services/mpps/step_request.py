"""An N-CREATE or N-SET of a modality with its data set read, and the step that it makes. Pure, once it is read."""

import time

from attrs import evolve, frozen

from router.concurrency import compute
from router.dicom.dataset import DataSet, items, overlaid, read, text, write
from router.dicom.uids import EXPLICIT_LE
from router.dimse import CommandField
from router.services.base import Request
from router.services.mpps import attributes
from router.services.mpps.attributes import StepStatus, of_schedule, references
from router.services.mpps.policy import StepPolicy
from router.services.mpps.state_machine import Accepted, StepDecision, ValidationRules, decide_set, fingerprint
from router.services.mpps.step_store import Step
from router.spool import Incoming


@frozen(kw_only=True)
class StepRequest:
    """A complete N-CREATE or N-SET."""

    request: Request
    incoming: Incoming
    encoded: bytes
    """Its data set as received."""
    data_set: DataSet
    fingerprint: bytes
    """`state_machine.fingerprint` of its data set."""

    @property
    def is_create(self) -> bool:
        return self.request.command.field == CommandField.N_CREATE_RQ


async def read_step_request(request: Request, data: Incoming) -> StepRequest:
    """Read the data set of an N-CREATE or N-SET.

    Raises:
        MalformedDataSet: it cannot be read.
    """
    with data.view() as view:
        encoded = bytes(view)

    def parse() -> StepRequest:
        tree = read(encoded, request.transfer_syntax)
        return StepRequest(
            request=request, incoming=data, encoded=encoded, data_set=tree, fingerprint=fingerprint(tree)
        )

    return await compute(len(encoded), parse)


def new_step(message: StepRequest, uid: str, policy: StepPolicy, clock: float, *, assigned: bool) -> Step:
    """Return the step that an N-CREATE begins, accepted at `clock`, in seconds on `Spool.clock()`."""
    sender, now = message.request.sender, time.time()
    return Step(
        uid=uid,
        status=StepStatus.IN_PROGRESS,
        accepted_at=clock,
        created=now,
        changed=now,
        changed_clock=clock,
        calling_ae=sender.calling_ae,
        called_ae=sender.called_ae,
        peer=sender.peer,
        assigned=assigned,
        modality=text(message.data_set, attributes.MODALITY),
        study_uid=of_schedule(message.data_set, attributes.STUDY_INSTANCE_UID),
        series=len(items(message.data_set, attributes.PERFORMED_SERIES)),
        instances=len(references(message.data_set)),
        relay=policy.relay,
        notify=policy.notify,
        inform=policy.inform,
        answer=policy.answer,
        strict=policy.strict,
        transfer_syntax=message.request.transfer_syntax,
        created_by=message.fingerprint,
        create_data=message.encoded,
    )


def changed_step(
    step: Step | None, message: StepRequest, rules: ValidationRules, clock: float
) -> tuple[StepDecision, Step | None]:
    """Decide on an N-SET for a step; if it is accepted, return the step as it is then."""
    decision = decide_set(step.state() if step else None, message.data_set, rules)
    if step is None or not isinstance(decision, Accepted):
        return decision, None
    changed = evolve(
        step,
        status=decision.step_status,
        changed=time.time(),
        changed_clock=clock,
        updated_by=message.fingerprint,
        update_data=write(overlaid(step.update(), decision.update), EXPLICIT_LE),
        updates=step.updates + 1,
        series=len(items(decision.data_set, attributes.PERFORMED_SERIES)),
        instances=len(references(decision.data_set)),
    )
    return decision, changed
