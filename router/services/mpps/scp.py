"""Modality Performed Procedure Step (PS3.4 F.7): accepted once, relayed to many destinations, in order.

As SCP: a message is in the spool with the destinations of its step, and the step's new state is durable, before the
response. A crash in between leaves a message in the spool that the modality repeats: the destinations get it twice, and
their response to the repeat counts as delivered. As SCU: the messages of one step reach a destination strictly in
order; a destination that has forgotten the step's N-CREATE gets it again. Not here: the rules (state_machine.py), and
how a message is accepted (intake.py).
"""

import time
from collections.abc import Sequence
from functools import partial
from typing import ClassVar, Final

import structlog
import trio

from pdu import ContextResult
from router.concurrency import compute
from router.config import Config, ServiceOptions
from router.dicom.dataset import TRANSFER_SYNTAXES, read, write
from router.dicom.encoding import MalformedDataSet
from router.dicom.uids import is_uid
from router.dimse import (
    Command,
    CommandField,
    Response,
    Status,
    StatusClass,
    describe,
    status_class,
)
from router.dimse.n_requests import n_create, n_set
from router.logs import escaped
from router.model import AttemptResult, PendingDelivery, Result
from router.services.base import (
    SCP,
    Allowance,
    Change,
    DeliveryPolicy,
    Prelude,
    Proposal,
    Replies,
    Request,
    ServiceContext,
)
from router.services.mpps import availability_store, step_store
from router.services.mpps.attributes import MPPS, StepStatus
from router.services.mpps.availability_notifier import AvailabilityNotifier
from router.services.mpps.intake import StepIntake
from router.services.mpps.options import MPPS_OPTIONS, MPPSSettings
from router.services.mpps.policy import RELAY
from router.services.mpps.state_machine import MAY_NOT_BE_UPDATED, MAY_NOT_BE_UPDATED_COMMENT
from router.services.mpps.step_request import read_step_request
from router.services.mpps.step_store import Step
from router.services.refusal import refuse, refuse_for_space
from router.services.uncompressed_deliveries import UncompressedDeliveries
from router.spool import Incoming, OutOfSpace
from router.state_store import StateTransaction

LARGEST: Final = 16 << 20
"""Bytes of the longest data set; a step of ten thousand instances has two million."""
_REMOVAL_INTERVAL: Final = 3600.0
"""Seconds between two removals of expired steps."""
_CREATE: Final = "N-CREATE-RQ"

log = structlog.get_logger()


class MPPSRelay(SCP, UncompressedDeliveries, DeliveryPolicy):
    """N-CREATE and N-SET, in both roles."""

    name: ClassVar[str] = RELAY
    options: ClassVar[ServiceOptions] = MPPS_OPTIONS
    requests: ClassVar[frozenset[int]] = frozenset({CommandField.N_CREATE_RQ, CommandField.N_SET_RQ})

    def __init__(self, context: ServiceContext) -> None:
        self._spool, self._state = context.spool, context.state
        self._state.define(step_store.SCHEMA, step_store.migrate)
        self._notifier = AvailabilityNotifier(context)
        self._intake = StepIntake(context, self._notifier)
        self._started = self._spool.clock()
        self._settings, self._allowance = context.config.options[MPPSSettings], _allowance(context.config)

    def prepare(self, config: Config) -> Change:
        return partial(self._adopt, config, self._intake.prepare(config))

    def _adopt(self, config: Config, change_intake: Change) -> None:
        self._settings, self._allowance = config.options[MPPSSettings], _allowance(config)
        self._notifier.reload(config)
        change_intake()

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._notifier.run)
            while True:
                await self._remove_expired()
                await trio.sleep(_REMOVAL_INTERVAL)

    async def _remove_expired(self) -> None:
        """Remove the steps that ended `mpps.keep` ago, with their pending notifications."""
        before = self._spool.clock() - self._settings.keep

        def remove_steps(state: StateTransaction) -> int:
            uids = step_store.remove_ended(state, before)
            availability_store.remove(state, uids)
            return len(uids)

        while await self._state.change(remove_steps) == step_store.REMOVED_AT_ONCE:
            pass

    # For operators

    async def discard(self, uid: str, reason: str) -> None:
        """Remove a step IN PROGRESS for an operator. Destinations get no message.

        Raises:
            NotDiscarded: there is no such step, or it has ended.
            OutOfSpace: nothing has changed.
        """
        step = await self._intake.discard(uid)
        log.warning(
            "procedure step discarded",
            sop_instance_uid=escaped(uid),
            calling_ae=escaped(step.calling_ae),
            created=step.created,
            changed=step.changed,
            reason=escaped(reason),
        )

    async def statistics(self) -> dict[str, int]:
        """Count the steps IN PROGRESS, and those of them that have not changed for `mpps.keep`."""
        before = time.time() - self._settings.keep
        return {
            "in_progress": await self._state.read(step_store.count_in_progress),
            "stale": await self._state.read(partial(step_store.count_in_progress, before=before)),
        }

    # As SCP

    def negotiate(self, proposal: Proposal) -> str | ContextResult | None:
        if proposal.abstract_syntax != MPPS:
            return None
        return proposal.choose(TRANSFER_SYNTAXES.__contains__, self._settings.prefer, TRANSFER_SYNTAXES)

    def admit(self, request: Request) -> Command | Allowance:
        command, creates = request.command, request.command.field == CommandField.N_CREATE_RQ
        sop_class = command.affected_sop_class_uid if creates else command.requested_sop_class_uid
        uid = (command.affected_sop_instance_uid if creates else command.requested_sop_instance_uid) or ""
        if not self._settings.calling_ae.matches(request.sender.calling_ae):
            return refuse(request, Status.NOT_AUTHORIZED, "you may not report procedure steps here")
        if sop_class != MPPS:
            return refuse(request, Status.NO_SUCH_SOP_CLASS, "SOP class is not that of the presentation context")
        if not is_uid(uid) and not (creates and not uid):
            return refuse(request, Status.INVALID_SOP_INSTANCE, "the SOP Instance UID is not a UID")
        if not command.has_data_set:
            return refuse(request, Status.PROCESSING_FAILURE, f"{command.name} without a data set")
        return self._allowance

    async def perform(self, request: Request, data: Incoming | None, replies: Replies) -> Response:
        assert data is not None, "admit() refuses messages without a data set"
        try:
            message = await read_step_request(request, data)
        except MalformedDataSet as error:
            return Response(refuse(request, Status.PROCESSING_FAILURE, str(error)))
        try:
            return await self._intake.accept(message)
        except OutOfSpace:
            return Response(refuse_for_space(request))

    # As SCU

    def outcome(self, delivery: PendingDelivery, response: Response) -> Result:
        """Return what a response means for a delivery (PS3.4 F.7.2).

        A message that the destination knows already was delivered before, and its response got lost. A destination
        that does not know the step gets a prelude. Any other failure is held for an operator.
        """
        status = response.status
        if status_class(status) in (StatusClass.SUCCESS, StatusClass.WARNING):
            return Result.DELIVERED
        if status == Status.RESOURCE_LIMITATION:
            return Result.RETRY
        if delivery.kind == _CREATE:
            return (
                self._delivered_before(delivery, response) if status == Status.DUPLICATE_SOP_INSTANCE else Result.HELD
            )
        if status == Status.NO_SUCH_SOP_INSTANCE:
            return Result.RETRY
        if status == Status.PROCESSING_FAILURE and self._is_repeated(delivery, response.command):
            return self._delivered_before(delivery, response)
        return Result.HELD

    def _delivered_before(self, delivery: PendingDelivery, response: Response) -> Result:
        log.warning(
            "counted as delivered: the destination knows it already",
            destination=delivery.destination,
            sop_instance_uid=delivery.sop_instance_uid,
            command=delivery.kind,
            status=describe(response.status, RELAY),
        )
        return Result.DELIVERED

    def _is_repeated(self, delivery: PendingDelivery, response: Command) -> bool:
        """Return whether 0110H means that this N-SET, or one after it, has ended the step at the destination before.

        The Error ID or the comment of the standard say so. If a destination gives neither, it is assumed of the last
        N-SET after an earlier attempt or a restart. An N-SET that is not the last is sent after the last one only if
        the ledger was lost.
        """
        status = self._status_after(delivery)
        comment = (response.error_comment or "").lower()
        is_said = response.error_id == MAY_NOT_BE_UPDATED or MAY_NOT_BE_UPDATED_COMMENT.lower() in comment
        step = self._state.read_now(partial(step_store.load, uid=delivery.sop_instance_uid))
        restarted = status is None or step is None or step.accepted_at <= self._started
        if status is not None and not status.is_final:
            return is_said and restarted and step is not None and step.status.is_final
        return is_said or delivery.attempts > 0 or restarted

    def _status_after(self, delivery: PendingDelivery) -> StepStatus | None:
        """Return the status of the step after a message; None if the message is not known."""
        message = self._state.read_now(partial(step_store.load_message, message_id=delivery.message_id))
        if message is not None:
            return message.step_status
        step = self._intake.being_saved(delivery.sop_instance_uid)
        return step.status if step is not None else None

    async def prelude(self, delivery: PendingDelivery, response: Response) -> Sequence[Prelude]:
        """Return the N-CREATE as received, and the N-SETs so far, for a destination that does not know the step."""
        if delivery.kind == _CREATE or response.status != Status.NO_SUCH_SOP_INSTANCE:
            return ()
        uid = delivery.sop_instance_uid
        step, earlier = await self._state.read(partial(step_store.load_until, uid=uid, message_id=delivery.message_id))
        if step is None:
            return ()
        log.warning("replayed", destination=delivery.destination, sop_instance_uid=step.uid, command=_CREATE)
        return await compute(step.size, partial(_preludes, step, delivery.transfer_syntax, updated=earlier > 0))

    def settled(self, delivery: PendingDelivery, result: AttemptResult) -> None:
        self._notifier.settled(delivery, result.result)


def _preludes(step: Step, syntax: str, *, updated: bool) -> list[Prelude]:
    """Return the N-CREATE of a step and, if it was `updated`, one N-SET with the attributes of all N-SETs."""
    create = step.create_data
    if step.transfer_syntax != syntax:
        create = write(read(create, step.transfer_syntax), syntax)
    command = n_create(MPPS, step.uid)
    before = [Prelude(command=command, data_set=create)]
    if updated and step.update_data:
        command = n_set(MPPS, step.uid)
        before.append(Prelude(command=command, data_set=write(step.update(), syntax)))
    return before


def _allowance(config: Config) -> Allowance:
    return Allowance(largest=min(LARGEST, config.limits.object_size or LARGEST))
