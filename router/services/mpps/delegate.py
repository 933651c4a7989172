"""The answer of a destination in place of the router's own (`answer` of a route).

That a destination is going to be asked is on the disk before it is: when the router comes back from a crash and the
modality repeats its message, 0111H or 0110H then tells that the first question had arrived. Whatever keeps the
destination from answering makes the router answer itself, and the message an ordinary delivery. Not here: what
follows from the answer (`router.services.mpps.scp`).
"""

from functools import partial

import structlog
from attrs import evolve, frozen

from router.dicom.dataset import TRANSFER_SYNTAXES, reencode
from router.dicom.encoding import MalformedDataSet
from router.dimse import Command, Response, Status, StatusClass, status_class
from router.model import DeliveryState
from router.services.base import ServiceContext
from router.services.mpps import step_store
from router.services.mpps.attributes import MPPS, StepStatus
from router.services.mpps.policy import RELAY
from router.services.peers import PeerContext, PeerRequest, PeerResponse, PeerUnanswered
from router.spool import Selection

log = structlog.get_logger()

_OWED = frozenset({DeliveryState.WAITING, DeliveryState.HELD})


@frozen(kw_only=True)
class DelegatedRequest:
    """A message that a destination is to answer."""

    uid: str
    peer: str
    command: Command
    transfer_syntax: str
    data: bytes
    fingerprint: bytes
    step_status: StepStatus
    """The step's, once the message is carried out."""


async def ask_destination(inquiry: DelegatedRequest, house: ServiceContext, deadline: float) -> Response | None:
    """What the destination answers, with 0000H where it had carried out the same already; None where the router
    has to answer itself."""
    selection = Selection(destination=inquiry.peer, service=RELAY, sop_instance_uid=inquiry.uid, states=_OWED)
    if await house.spool.queue.list_deliveries(selection, limit=1):
        _fall_back(inquiry, "an earlier message of the step waits for it")
        return None
    fingerprint, now = inquiry.fingerprint, house.spool.clock()
    again = await house.state.change(
        partial(step_store.add_delegated_request, uid=inquiry.uid, fingerprint=fingerprint, now=now)
    )
    stored = inquiry.transfer_syntax

    def data_set(context: PeerContext) -> bytes:
        return reencode(inquiry.data, stored, context.transfer_syntax)

    question = PeerRequest(
        peer=inquiry.peer,
        abstract_syntax=MPPS,
        transfer_syntaxes=(stored, *(uid for uid in TRANSFER_SYNTAXES if uid != stored)),
        command=inquiry.command,
        data_set=data_set,
        deadline=deadline,
    )
    try:
        answered = await house.peers.invoke(question)
    except PeerUnanswered as error:
        _fall_back(inquiry, str(error))
        return None
    response = _in_syntax_of(inquiry, answered)
    if again and response.status == _done_already(inquiry):
        return Response(Command(field=response.command.field, status=Status.SUCCESS))
    if response.status == Status.NO_SUCH_SOP_INSTANCE:
        _fall_back(inquiry, "it has forgotten the step")
        return None
    if status_class(response.status) is StatusClass.FAILURE:
        await house.state.change(partial(step_store.remove_delegated_request, uid=inquiry.uid, fingerprint=fingerprint))
    return response


def _in_syntax_of(inquiry: DelegatedRequest, answered: PeerResponse) -> Response:
    """Return the response with its attributes in the transfer syntax of the request; without them if they cannot be
    read."""
    response = answered.response
    try:
        data_set = reencode(response.data_set, answered.context.transfer_syntax, inquiry.transfer_syntax)
    except MalformedDataSet as error:
        log.warning("attributes of a response cannot be read", destination=inquiry.peer, why=str(error))
        data_set = b""
    return evolve(response, data_set=data_set)


def _done_already(inquiry: DelegatedRequest) -> Status | None:
    """The failure that a repeated message meets."""
    if inquiry.step_status.is_final:
        return Status.PROCESSING_FAILURE
    return Status.DUPLICATE_SOP_INSTANCE if inquiry.command.name == "N-CREATE-RQ" else None


def _fall_back(inquiry: DelegatedRequest, why: str) -> None:
    log.warning(
        "the router answers in place of a destination",
        destination=inquiry.peer,
        sop_instance_uid=inquiry.uid,
        command=inquiry.command.name,
        why=why,
    )
