"""Accept the N-CREATEs and N-SETs of modalities: decide, store in the spool, save the step, respond.

The order is what counts: the message is durable in the spool before the step's new state is, and that before the
response. Messages about one step are accepted one after another, whatever associations they come on. Not here: the
rules (state_machine.py), the destinations (policy.py), the response of a destination (delegate.py).
"""

import uuid
from collections.abc import Sequence
from functools import partial
from itertools import count
from typing import Any, Final, assert_never

import structlog
import trio
from attrs import frozen

from router.concurrency import compute
from router.config import Config
from router.dicom.dataset import write
from router.dicom.scanner import scan
from router.dimse import Command, Response, Status, StatusClass, describe, status_class
from router.keyed_lock import KeyedLock
from router.logs import escaped
from router.routing import Facts
from router.services.base import Change, ServiceContext
from router.services.mpps import availability_store, step_store
from router.services.mpps.attributes import MPPS, InstanceReference, references
from router.services.mpps.availability_notifier import AvailabilityNotifier
from router.services.mpps.delegate import DelegatedRequest, ask_destination
from router.services.mpps.messages import envelope, forwarded_response, of_step, response_about, with_uid
from router.services.mpps.notification import EVENTS, UPDATED, event_report
from router.services.mpps.options import MPPSSettings
from router.services.mpps.policy import RELAY, StepRoutes
from router.services.mpps.state_machine import Accepted, Refused, Repeated, StepDecision, ValidationRules, decide_create
from router.services.mpps.step_request import StepRequest, changed_step, new_step
from router.services.mpps.step_store import Step, StepMessage
from router.services.refusal import log_refusal, refuse
from router.state_store import StateTransaction

log = structlog.get_logger()


class NotDiscarded(Exception):
    """A step cannot be discarded; the message says why."""


@frozen(kw_only=True)
class _Acceptance:
    """A message that is accepted, and the step after it."""

    message: StepRequest
    step: Step
    decision: Accepted
    command: Command
    """As relayed, with the UID of the step."""


class StepIntake:
    """Accepts or refuses the messages about steps."""

    def __init__(self, context: ServiceContext, notifier: AvailabilityNotifier) -> None:
        self._context: Final = context
        self._spool: Final = context.spool
        self._state: Final = context.state
        self._notifier: Final = notifier
        self._locks: Final = KeyedLock()
        """By SOP Instance UID of the step."""
        self._being_saved: dict[str, Step] = {}
        self._being_created = 0
        """Steps that are accepted and not in the database yet."""
        self.prepare(context.config)()

    def prepare(self, config: Config) -> Change:
        """Build what `config` means for steps to come; the returned function puts it in force."""
        return partial(self._adopt, config, StepRoutes(config.routes))

    def _adopt(self, config: Config, routes: StepRoutes) -> None:
        self._settings, self._steps_max = config.options[MPPSSettings], config.limits.steps
        self._holds_unrouted = config.router.unrouted == "hold"
        self._routes = routes

    def being_saved(self, uid: str) -> Step | None:
        """Return a step as it will be, while that is written to the disk. Its message may be in flight already."""
        return self._being_saved.get(uid)

    async def accept(self, message: StepRequest) -> Response:
        """Accept or refuse a message, and return the response.

        Raises:
            OutOfSpace: nothing has changed.
        """
        uid = message.request.command.sop_instance_uid
        async with self._locks.of(uid or message.fingerprint.hex()):
            return await (self._create(message, uid) if message.is_create else self._set(message, uid))

    async def discard(self, uid: str) -> Step:
        """Remove a step IN PROGRESS and its pending notifications; return what it was.

        Messages of the step that are being accepted come first.

        Raises:
            NotDiscarded: there is no such step, or it has ended.
            OutOfSpace: nothing has changed.
        """
        async with self._locks.of(uid):
            return await self._state.change(partial(_discard, uid=uid))

    async def _create(self, message: StepRequest, uid: str) -> Response:
        calling_ae = message.request.sender.calling_ae
        known = self._state.read_now(
            partial(step_store.load, uid=uid)
            if uid
            else partial(step_store.load_assigned, created_by=message.fingerprint, calling_ae=calling_ae)
        )
        new_uid = uid or self._assigned_uid(message)
        work = partial(self._decide_create, message, known, uid=new_uid, assigned=not uid)
        decision, step = await compute(len(message.encoded), work)
        if step is not None and self._is_full():
            reason = f"{self._steps_max} steps are in progress, the router's limit"
            decision, step = Refused(status=Status.RESOURCE_LIMITATION, reason=reason), None
        if not isinstance(decision, Accepted):
            return self._respond_unchanged(message, decision, known.uid if known else uid)
        assert step is not None, "an accepted N-CREATE begins a step"
        self._being_created += 1
        try:
            return await self._carry_out(message, step, decision)
        finally:
            self._being_created -= 1

    def _is_full(self) -> bool:
        return self._state.read_now(step_store.count_in_progress) + self._being_created >= self._steps_max

    def _decide_create(
        self, message: StepRequest, known: Step | None, *, uid: str, assigned: bool
    ) -> tuple[StepDecision, Step | None]:
        """Decide on an N-CREATE; if it is accepted, return the new step."""
        policy = self._routes.policy_for(self._facts(message))
        rules = ValidationRules(strict=policy.strict, retransmissions=self._settings.retransmissions)
        decision = decide_create(known.state() if known else None, message.data_set, rules)
        if isinstance(decision, Accepted) and policy.is_empty and not self._holds_unrouted:
            decision = Refused(status=Status.PROCESSING_FAILURE, reason="no route of this router matches the step")
        if not isinstance(decision, Accepted):
            return decision, None
        return decision, new_step(message, uid, policy, self._spool.clock(), assigned=assigned)

    def _assigned_uid(self, message: StepRequest) -> str:
        """Choose the UID of a step whose N-CREATE has none: a UUID derived from its content and sender (PS3.5 B.2).

        The repeat of an N-CREATE whose step a crash has lost gets the same UID, so that destinations recognise it. If
        N-SETs have updated the step since, such an N-CREATE begins another step.
        """
        for number in count():
            name = f"{message.request.sender.calling_ae} {message.fingerprint.hex()} {number}"
            uid = f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, name).int}"
            if not self._state.read_now(partial(step_store.is_known, uid=uid)):
                return uid
        raise AssertionError("count() does not end")

    async def _set(self, message: StepRequest, uid: str) -> Response:
        known = self._state.read_now(partial(step_store.load, uid=uid))
        strict = known is not None and known.strict
        rules = ValidationRules(strict=strict, retransmissions=self._settings.retransmissions)
        work = partial(changed_step, known, message, rules, self._spool.clock())
        decision, step = await compute(len(message.encoded) + (known.size if known else 0), work)
        if not isinstance(decision, Accepted):
            return self._respond_unchanged(message, decision, uid)
        assert step is not None, "an N-SET of an unknown step is refused"
        return await self._carry_out(message, step, decision)

    def _facts(self, message: StepRequest) -> Facts:
        request = message.request
        return Facts(
            service=RELAY,
            calling_ae=request.sender.calling_ae,
            called_ae=request.sender.called_ae,
            peer=request.sender.peer,
            sop_class=MPPS,
            transfer_syntax=request.transfer_syntax,
            elements=scan(message.encoded, request.transfer_syntax, self._routes.elements),
        )

    async def _carry_out(self, message: StepRequest, step: Step, decision: Accepted) -> Response:
        """Carry out what is accepted, in an order that survives a crash at any moment, and return the response."""
        request, uid = message.request, step.uid
        command = with_uid(request.command, uid)
        accepted = _Acceptance(message=message, step=step, decision=decision, command=command)
        response = Response(response_about(request.command, uid, Status.SUCCESS))
        relay = step.relay
        if step.answer and (theirs := await self._ask_destination(accepted)) is not None:
            response = forwarded_response(request.command, uid, theirs)
            relay = tuple(name for name in relay if name != step.answer)
            if status_class(theirs.status) is StatusClass.FAILURE:
                reason = f"so answered {step.answer}"
                log_refusal(request, describe(theirs.status, RELAY), reason, sop_instance_uid=uid)
                return response
        self._being_saved[uid] = step
        try:
            with trio.CancelScope(shield=True):
                await self._save(accepted, relay)
        finally:
            del self._being_saved[uid]
        log.info(
            "procedure step",
            sop_instance_uid=escaped(uid),
            command=command.name,
            stage=step.status.value,
            calling_ae=escaped(step.calling_ae),
            destinations=relay,
            answered_by=step.answer if relay != step.relay else "router",
            complaints=decision.complaints,
        )
        return response

    async def _ask_destination(self, accepted: _Acceptance) -> Response | None:
        message, step = accepted.message, accepted.step
        request = DelegatedRequest(
            uid=step.uid,
            peer=step.answer,
            command=accepted.command,
            transfer_syntax=message.request.transfer_syntax,
            data_set=message.encoded,
            fingerprint=message.fingerprint,
            step_status=step.status,
        )
        return await ask_destination(request, self._context, self._settings.answer_within)

    async def _save(self, accepted: _Acceptance, relay: Sequence[str]) -> None:
        """Give the messages to the spool, then save the step with its pending notifications."""
        message, step, command = accepted.message, accepted.step, accepted.command
        message_id = 0
        is_unrouted = not (step.relay or step.notify or step.inform)
        if relay or is_unrouted:
            relayed = envelope(message.request, command, step.uid, relay)
            message_id = (await self._spool.intake.store(message.incoming, relayed)).message_id
        if step.notify:
            event = UPDATED if step.updates and not step.status.is_final else EVENTS[step.status]
            report = event_report(step.uid, event, step.calling_ae, step.peer, step.notify)
            await self._spool.intake.store_bytes(b"", report)
        has_ended = step.status.is_final and bool(step.inform)
        named: Sequence[InstanceReference] = ()
        if has_ended:
            named = await compute(step.size, partial(references, accepted.decision.data_set))
        stored = StepMessage(message_id=message_id, uid=step.uid, kind=command.name, step_status=step.status)

        def save_step(state: StateTransaction) -> None:
            step_store.save(state, step)
            step_store.remove_delegated_request(state, step.uid, message.fingerprint)
            if message_id:
                step_store.add_message(state, stored)
            if has_ended:
                self._notifier.add_pending(state, step, named)

        await self._state.change(save_step)
        if has_ended:
            self._notifier.check_step(step.uid)

    def _respond_unchanged(self, message: StepRequest, decision: StepDecision, uid: str) -> Response:
        """Return the response to a message that is repeated or refused."""
        command, syntax = message.request.command, message.request.transfer_syntax
        match decision:
            case Repeated():
                log.info("procedure step repeated", sop_instance_uid=escaped(uid), command=command.name)
                return Response(response_about(command, uid, Status.SUCCESS))
            case Refused():
                details: dict[str, Any] = {
                    "error_id": decision.error_id,
                    "attribute_identifier_list": decision.elements or None,
                }
                attributes = write(decision.attributes, syntax) if decision.attributes else b""
                refusal = refuse(message.request, decision.status, decision.reason, **of_step(uid), **details)
                return Response(refusal, attributes)
            case Accepted():
                raise AssertionError("an accepted message changes the step")
            case _:
                assert_never(decision)


def _discard(state: StateTransaction, uid: str) -> Step:
    step = step_store.load(state, uid)
    if step is None:
        raise NotDiscarded("there is no such step")
    if step.status.is_final:
        raise NotDiscarded(f"the step is {step.status.value}: it is removed after mpps.keep")
    step_store.remove(state, [uid])
    availability_store.remove(state, [uid])
    return step
