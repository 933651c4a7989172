"""A modality's N-CREATE or N-SET from its data set to its answer: judged, spooled, remembered, answered.

The order is what this file is about: the message is durable in the spool before the step's new state is, and that
before the answer. Messages about one step come one after another, whatever associations they come on. Not here: what
is right (`machine`), where it goes (`plan`), how another's answer is had (`asking`).
"""

import time
import uuid
from collections.abc import Sequence
from functools import partial
from itertools import count
from typing import Any, Final, assert_never

import structlog
import trio
from attrs import evolve, frozen

from router.concurrency import compute
from router.config import Config
from router.dicom.dataset import DataSet, items, overlaid, text, write
from router.dicom.scanner import scan
from router.dicom.uids import EXPLICIT_LE
from router.dimse import (
    Command,
    CommandField,
    Response,
    Status,
    StatusClass,
    describe,
    status_class,
)
from router.keyed_lock import KeyedLock
from router.logs import escaped
from router.routing import Facts
from router.services.base import Change, Request, ServiceContext
from router.services.mpps import attributes, availability_store, step_store
from router.services.mpps.attributes import MPPS, StepStatus, of_schedule, references
from router.services.mpps.availability_notifier import AvailabilityNotifier
from router.services.mpps.delegate import DelegatedRequest, ask_destination
from router.services.mpps.messages import answer, envelope, of_step, passed_on, relayed, report
from router.services.mpps.notification import EVENTS, UPDATED, event_report
from router.services.mpps.options import MPPSSettings
from router.services.mpps.policy import RELAY, StepPolicy, StepRoutes
from router.services.mpps.state_machine import (
    Accepted,
    Refused,
    Repeated,
    StepDecision,
    ValidationRules,
    decide_create,
    decide_set,
)
from router.services.mpps.step_store import Step, StepMessage
from router.services.refusal import refuse
from router.spool import Incoming
from router.state_store import StateTransaction

log = structlog.get_logger()


class NotDiscarded(Exception):
    """A step cannot be discarded; in words, why."""


@frozen(kw_only=True)
class StepRequest:
    """A whole N-CREATE or N-SET."""

    request: Request
    incoming: Incoming
    encoded: bytes
    """Its data set as it came."""
    data_set: DataSet
    fingerprint: bytes

    @property
    def creates(self) -> bool:
        return self.request.command.field == CommandField.N_CREATE_RQ


class StepIntake:
    """Takes messages about steps."""

    def __init__(self, house: ServiceContext, notices: AvailabilityNotifier) -> None:
        self._house: Final = house
        self._notices: Final = notices
        self._turns: Final = KeyedLock()
        self._coming: dict[str, Step] = {}
        self._beginning = 0
        """Steps that are accepted and not yet in the state."""
        self.prepare(house.config)()

    def prepare(self, config: Config) -> Change:
        """Build what `config` means for steps to come; the returned function puts it in force."""
        return partial(self._adopt, config, StepRoutes(config.routes))

    def _adopt(self, config: Config, planner: StepRoutes) -> None:
        self._settings, self._most = config.options[MPPSSettings], config.limits.steps
        self._holds_unrouted = config.router.unrouted == "hold"
        self._planner = planner

    def coming(self, uid: str) -> Step | None:
        """The step as it is going to be, while that is written to the disk. Its message may be on its way already."""
        return self._coming.get(uid)

    async def accept(self, message: StepRequest) -> Response:
        """The answer to a message. Raises OutOfSpace: nothing has changed."""
        uid = message.request.command.sop_instance_uid
        async with self._turns.of(uid or message.fingerprint.hex()):
            return await (self._create(message, uid) if message.creates else self._set(message, uid))

    async def discard(self, uid: str) -> Step:
        """Delete a step IN PROGRESS and all that is owed about it; return what it was. Messages of it that are taken
        at the moment come first.

        Raises:
            NotDiscarded: there is no such step, or it has ended.
            OutOfSpace: nothing has changed.
        """
        async with self._turns.of(uid):
            return await self._house.state.change(partial(_discard, uid=uid))

    async def _create(self, message: StepRequest, uid: str) -> Response:
        state, calling_ae = self._house.state, message.request.sender.calling_ae
        found = state.read_now(
            partial(step_store.load, uid=uid)
            if uid
            else partial(step_store.load_assigned, created_by=message.fingerprint, calling_ae=calling_ae)
        )
        fresh = uid or self._assigned_uid(message)
        work = partial(self._begun, message, found, uid=fresh, assigned=not uid)
        verdict, step = await compute(len(message.encoded), work)
        if (
            isinstance(verdict, Accepted)
            and state.read_now(step_store.count_in_progress) + self._beginning >= self._most
        ):
            words = f"{self._most} steps are in progress, the router's limit"
            verdict = Refused(status=Status.RESOURCE_LIMITATION, reason=words)
        if not isinstance(verdict, Accepted):
            return self._not_taken(message, verdict, found.uid if found else uid)
        assert step is not None, "what is accepted begins a step"
        self._beginning += 1
        try:
            return await self._carry_out(message, step, verdict)
        finally:
            self._beginning -= 1

    def _begun(
        self, message: StepRequest, found: Step | None, *, uid: str, assigned: bool
    ) -> tuple[StepDecision, Step | None]:
        """What the machine says of an N-CREATE, and the step as it is then."""
        plan = self._planner.policy_for(self._facts(message))
        rules = ValidationRules(strict=plan.strict, retransmissions=self._settings.retransmissions)
        verdict = decide_create(found.state() if found else None, message.data_set, rules)
        if isinstance(verdict, Accepted) and plan.is_empty and not self._holds_unrouted:
            verdict = Refused(status=Status.PROCESSING_FAILURE, reason="no route of this router takes the step")
        if not isinstance(verdict, Accepted):
            return verdict, None
        return verdict, self._new_step(message, uid, plan, assigned=assigned)

    def _assigned_uid(self, message: StepRequest) -> str:
        """Choose the UID of a step whose N-CREATE brings none: a UUID that follows from its content and its sender
        (PS3.5 B.2).

        The repeat of an N-CREATE whose step a crash has lost gets the same UID, so that destinations recognise it. A
        step that N-SETs have updated since makes the next such N-CREATE one of another step.
        """
        for number in count():
            name = f"{message.request.sender.calling_ae} {message.fingerprint.hex()} {number}"
            uid = f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, name).int}"
            if not self._house.state.read_now(partial(step_store.is_known, uid=uid)):
                return uid
        raise AssertionError("count() does not end")

    async def _set(self, message: StepRequest, uid: str) -> Response:
        found = self._house.state.read_now(partial(step_store.load, uid=uid))
        rules = ValidationRules(
            strict=found is not None and found.strict, retransmissions=self._settings.retransmissions
        )
        work = partial(_changed, found, message, rules, self._house.spool.clock())
        verdict, step = await compute(len(message.encoded) + (found.size if found else 0), work)
        if not isinstance(verdict, Accepted):
            return self._not_taken(message, verdict, uid)
        assert step is not None, "the machine lets no N-SET of an unknown step through"
        return await self._carry_out(message, step, verdict)

    def _facts(self, message: StepRequest) -> Facts:
        request = message.request
        return Facts(
            service=RELAY,
            calling_ae=request.sender.calling_ae,
            called_ae=request.sender.called_ae,
            peer=request.sender.peer,
            sop_class=MPPS,
            transfer_syntax=request.transfer_syntax,
            elements=scan(message.encoded, request.transfer_syntax, self._planner.elements),
        )

    def _new_step(self, message: StepRequest, uid: str, plan: StepPolicy, *, assigned: bool) -> Step:
        sender, now = message.request.sender, time.time()
        return Step(
            uid=uid,
            status=StepStatus.IN_PROGRESS,
            accepted_at=self._house.spool.clock(),
            created=now,
            changed=now,
            changed_clock=self._house.spool.clock(),
            calling_ae=sender.calling_ae,
            called_ae=sender.called_ae,
            peer=sender.peer,
            assigned=assigned,
            modality=text(message.data_set, attributes.MODALITY),
            study_uid=of_schedule(message.data_set, attributes.STUDY_INSTANCE_UID),
            series=len(items(message.data_set, attributes.PERFORMED_SERIES)),
            instances=len(references(message.data_set)),
            relay=plan.relay,
            notify=plan.notify,
            inform=plan.inform,
            answer=plan.answer,
            strict=plan.strict,
            transfer_syntax=message.request.transfer_syntax,
            created_by=message.fingerprint,
            create_data=message.encoded,
        )

    async def _carry_out(self, message: StepRequest, step: Step, verdict: Accepted) -> Response:
        """What was accepted, in the order that survives a crash anywhere."""
        command = relayed(message.request.command, step.uid)
        response = Response(answer(message.request.command, step.uid, Status.SUCCESS))
        relay = step.relay
        if step.answer:
            answered = await self._ask(message, step, command)
            if answered is not None:
                response = passed_on(message.request.command, step.uid, answered)
                relay = tuple(name for name in relay if name != step.answer)
                if status_class(answered.status) is StatusClass.FAILURE:
                    report(message.request, step.uid, describe(answered.status, RELAY), f"so answered {step.answer}")
                    return response
        self._coming[step.uid] = step
        try:
            with trio.CancelScope(shield=True):
                await self._remember(message, step, command, relay, verdict)
        finally:
            del self._coming[step.uid]
        log.info(
            "procedure step",
            sop_instance_uid=escaped(step.uid),
            command=command.name,
            stage=step.status.value,
            calling_ae=escaped(step.calling_ae),
            destinations=relay,
            answered_by=step.answer if relay != step.relay else "router",
            complaints=verdict.complaints,
        )
        return response

    async def _ask(self, message: StepRequest, step: Step, command: Command) -> Response | None:
        inquiry = DelegatedRequest(
            uid=step.uid,
            peer=step.answer,
            command=command,
            transfer_syntax=message.request.transfer_syntax,
            data=message.encoded,
            fingerprint=message.fingerprint,
            step_status=step.status,
        )
        return await ask_destination(inquiry, self._house, self._settings.answer_within)

    async def _remember(
        self, message: StepRequest, step: Step, command: Command, relay: Sequence[str], verdict: Accepted
    ) -> None:
        spool, message_id = self._house.spool, 0
        unrouted = not (step.relay or step.notify or step.inform)
        if relay or unrouted:
            outgoing = envelope(message.request, command, step.uid, relay)
            message_id = (await spool.intake.store(message.incoming, outgoing)).message_id
        if step.notify:
            event = UPDATED if step.updates and not step.status.is_final else EVENTS[step.status]
            event_message = event_report(step.uid, event, step.calling_ae, step.peer, step.notify)
            await spool.intake.store_bytes(b"", event_message)
        told = step.status.is_final and step.inform
        named = await compute(step.size, partial(references, verdict.data_set)) if told else ()
        kept = StepMessage(message_id=message_id, uid=step.uid, kind=command.name, step_status=step.status)

        def work(connection: StateTransaction) -> None:
            step_store.save(connection, step)
            step_store.remove_delegated_request(connection, step.uid, message.fingerprint)
            if message_id:
                step_store.add_message(connection, kept)
            if told:
                self._notices.add_pending(connection, step, named)

        await self._house.state.change(work)
        if told:
            self._notices.check_step(step.uid)

    def _not_taken(self, message: StepRequest, verdict: StepDecision, uid: str) -> Response:
        command, syntax = message.request.command, message.request.transfer_syntax
        match verdict:
            case Repeated():
                log.info("procedure step repeated", sop_instance_uid=escaped(uid), command=command.name)
                return Response(answer(command, uid, Status.SUCCESS))
            case Refused():
                details: dict[str, Any] = {
                    "error_id": verdict.error_id,
                    "attribute_identifier_list": verdict.elements or None,
                }
                attributes = write(verdict.attributes, syntax) if verdict.attributes else b""
                refusal = refuse(message.request, verdict.status, verdict.reason, **of_step(uid), **details)
                return Response(refusal, attributes)
            case Accepted():
                raise AssertionError("what was accepted is carried out")
            case _:
                assert_never(verdict)


def _discard(connection: StateTransaction, uid: str) -> Step:
    step = step_store.load(connection, uid)
    if step is None:
        raise NotDiscarded("there is no such step")
    if step.status.is_final:
        raise NotDiscarded(f"the step is {step.status.value}: it is forgotten after mpps.keep")
    step_store.remove(connection, [uid])
    availability_store.remove(connection, [uid])
    return step


def _changed(
    found: Step | None, message: StepRequest, rules: ValidationRules, clock: float
) -> tuple[StepDecision, Step | None]:
    """What the machine says of an N-SET, and the step as it is then."""
    verdict = decide_set(found.state() if found else None, message.data_set, rules)
    if found is None or not isinstance(verdict, Accepted):
        return verdict, None
    step = evolve(
        found,
        status=verdict.step_status,
        changed=time.time(),
        changed_clock=clock,
        updated_by=message.fingerprint,
        update_data=write(overlaid(found.update(), verdict.update), EXPLICIT_LE),
        updates=found.updates + 1,
        series=len(items(verdict.data_set, attributes.PERFORMED_SERIES)),
        instances=len(references(verdict.data_set)),
    )
    return verdict, step
