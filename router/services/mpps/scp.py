"""Modality Performed Procedure Step (PS3.4 F.7): taken once, relayed to many, in order.

As SCP: a message is in the spool with the destinations of its step, and the step's new state is durable, before it is
answered. A crash in between leaves a message in the spool that the modality repeats: the destinations get it twice,
and what they say to that counts as delivered. As SCU: one lane for each step and destination, strictly in order; a
destination that has forgotten a step's N-CREATE gets it once more. Not here: what is right and wrong
(`procedure_steps.machine`), how a message is taken (`procedure_steps.taking`).
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
from router.dimse.commands import n_create, n_set
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
from router.services.encoding import UncompressedDeliveries
from router.services.mpps import availability_store, step_store
from router.services.mpps.attributes import MPPS
from router.services.mpps.availability_notifier import AvailabilityNotifier
from router.services.mpps.intake import StepIntake, StepRequest
from router.services.mpps.options import MPPS_OPTIONS, MPPSSettings
from router.services.mpps.policy import RELAY
from router.services.mpps.state_machine import MAY_NOT_BE_UPDATED, MAY_NOT_BE_UPDATED_WORDS, fingerprint
from router.services.mpps.step_store import Step
from router.services.refusal import refuse, refuse_for_space
from router.spool import Incoming, OutOfSpace
from router.state_store import StateTransaction

LARGEST: Final = 16 << 20
"""Bytes of a data set; a step of ten thousand instances has two million."""
_SWEEP: Final = 3600.0
"""Seconds between two looks for steps to forget."""
_CREATE: Final = "N-CREATE-RQ"

log = structlog.get_logger()


class MPPSRelay(SCP, UncompressedDeliveries, DeliveryPolicy):
    """N-CREATE and N-SET, both roles."""

    name: ClassVar[str] = RELAY
    options: ClassVar[ServiceOptions] = MPPS_OPTIONS
    requests: ClassVar[frozenset[int]] = frozenset({CommandField.N_CREATE_RQ, CommandField.N_SET_RQ})

    def __init__(self, house: ServiceContext) -> None:
        self._spool, self._state = house.spool, house.state
        self._state.define(step_store.SCHEMA, step_store.migrate)
        self._notices = AvailabilityNotifier(house)
        self._intake = StepIntake(house, self._notices)
        self._started = self._spool.clock()
        self._settings, self._allowance = house.config.options[MPPSSettings], _allowance(house.config)

    def prepare(self, config: Config) -> Change:
        return partial(self._adopt, config, self._intake.prepare(config))

    def _adopt(self, config: Config, change_intake: Change) -> None:
        self._settings, self._allowance = config.options[MPPSSettings], _allowance(config)
        self._notices.reload(config)
        change_intake()

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._notices.run)
            while True:
                await self._forget()
                await trio.sleep(_SWEEP)

    async def _forget(self) -> None:
        """Delete the steps that are old enough, and what is owed about them."""
        before = self._spool.clock() - self._settings.keep

        def work(connection: StateTransaction) -> int:
            uids = step_store.remove_expired(connection, before)
            availability_store.remove(connection, uids)
            return len(uids)

        while await self._state.change(work) == step_store.REMOVED_AT_ONCE:
            pass

    # For operators

    async def discard(self, uid: str, reason: str) -> None:
        """Forget a step IN PROGRESS, because an operator says so. Destinations are not told.

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
            return refuse(request, Status.NO_SUCH_SOP_CLASS, "SOP class is not the presentation context's")
        if not is_uid(uid) and not (creates and not uid):
            return refuse(request, Status.INVALID_SOP_INSTANCE, "the SOP Instance UID is no UID")
        if not command.has_data_set:
            return refuse(request, Status.PROCESSING_FAILURE, f"{command.name} without a data set")
        return self._allowance

    async def perform(self, request: Request, data: Incoming | None, replies: Replies) -> Response:
        assert data is not None, "admit() lets no message without a data set through"
        try:
            message = await _whole(request, data)
        except MalformedDataSet as error:
            return Response(refuse(request, Status.PROCESSING_FAILURE, str(error)))
        try:
            return await self._intake.accept(message)
        except OutOfSpace:
            return Response(refuse_for_space(request))

    # As SCU

    def outcome(self, delivery: PendingDelivery, response: Response) -> Result:
        """PS3.4 F.7.2. What a destination knows already was delivered before: the answer got lost, on its way to us
        or in a crash. One that does not know the step gets a prelude; everything else needs a person."""
        status = response.status
        if status_class(status) in (StatusClass.SUCCESS, StatusClass.WARNING):
            return Result.DELIVERED
        if status == Status.RESOURCE_LIMITATION:
            return Result.RETRY
        if delivery.kind == _CREATE:
            return self._known(delivery, response) if status == Status.DUPLICATE_SOP_INSTANCE else Result.HELD
        if status == Status.NO_SUCH_SOP_INSTANCE:
            return Result.RETRY
        if status == Status.PROCESSING_FAILURE and self._is_repeated(delivery, response.command):
            return self._known(delivery, response)
        return Result.HELD

    def _known(self, delivery: PendingDelivery, response: Response) -> Result:
        log.warning(
            "counted as delivered: the destination knows it already",
            destination=delivery.destination,
            sop_instance_uid=delivery.sop_instance_uid,
            command=delivery.kind,
            status=describe(response.status, RELAY),
        )
        return Result.DELIVERED

    def _is_repeated(self, delivery: PendingDelivery, answer: Command) -> bool:
        """Whether 0110H says that the step has ended there, by this very N-SET or one after it. The standard's Error
        ID or words say so; where a destination gives neither, an earlier attempt of the last N-SET, or a restart
        since, lets us assume it. One that is not the last is sent again after it only where the ledger was lost."""
        message = self._state.read_now(partial(step_store.load_message, message_id=delivery.message_id))
        coming = self._intake.coming(delivery.sop_instance_uid)
        known = message.step_status if message is not None else coming.status if coming is not None else None
        said = MAY_NOT_BE_UPDATED_WORDS.lower() in (answer.error_comment or "").lower()
        said |= answer.error_id == MAY_NOT_BE_UPDATED
        step = self._state.read_now(partial(step_store.load, uid=delivery.sop_instance_uid))
        restarted = known is None or step is None or step.accepted_at <= self._started
        if known is not None and not known.is_final:
            return said and restarted and step is not None and step.status.is_final
        return said or delivery.attempts > 0 or restarted

    async def prelude(self, delivery: PendingDelivery, response: Response) -> Sequence[Prelude]:
        """To a destination that does not know the step: its N-CREATE as it came, and what N-SETs have said."""
        if delivery.kind == _CREATE or response.status != Status.NO_SUCH_SOP_INSTANCE:
            return ()
        uid = delivery.sop_instance_uid
        step, earlier = await self._state.read(partial(step_store.load_until, uid=uid, message_id=delivery.message_id))
        if step is None:
            return ()
        log.warning("replayed", destination=delivery.destination, sop_instance_uid=step.uid, command=_CREATE)
        return await compute(step.size, partial(_preludes, step, delivery.transfer_syntax, updated=earlier > 0))

    def settled(self, delivery: PendingDelivery, result: AttemptResult) -> None:
        self._notices.settled(delivery, result.result)


def _preludes(step: Step, syntax: str, *, updated: bool) -> list[Prelude]:
    """The N-CREATE of a step, and one N-SET with all that N-SETs have said where it was `updated`."""
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


async def _whole(request: Request, data: Incoming) -> StepRequest:
    """The message with its data set read. Raises MalformedDataSet."""
    with data.view() as view:
        encoded = bytes(view)

    def work() -> StepRequest:
        tree = read(encoded, request.transfer_syntax)
        return StepRequest(
            request=request, incoming=data, encoded=encoded, data_set=tree, fingerprint=fingerprint(tree)
        )

    return await compute(len(encoded), work)
