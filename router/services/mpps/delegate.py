"""Ask a destination for the response to a modality, in place of the router's own (`answer` of a route).

That a destination will be asked is durable before it is asked. If the router crashes and the modality repeats its
message, 0111H or 0110H then means that the first request had arrived. If anything keeps the destination from
responding, the router responds, and the message becomes an ordinary delivery. Not here: what follows from the response
(intake.py).
"""

from functools import partial
from typing import Final

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

_UNFINISHED: Final = frozenset({DeliveryState.WAITING, DeliveryState.HELD})


@frozen(kw_only=True)
class DelegatedRequest:
    """A message whose response comes from a destination."""

    uid: str
    """SOP Instance UID of the step."""
    peer: str
    command: Command
    transfer_syntax: str
    data_set: bytes
    """In `transfer_syntax`."""
    fingerprint: bytes
    step_status: StepStatus
    """The step's status after the message."""

    def encoded(self, context: PeerContext) -> bytes:
        """Encode the data set in the transfer syntax that the peer has accepted."""
        return reencode(self.data_set, self.transfer_syntax, context.transfer_syntax)


async def ask_destination(request: DelegatedRequest, context: ServiceContext, deadline: float) -> Response | None:
    """Return the destination's response, within `deadline` seconds; None if the router has to respond itself.

    The response is 0000H if the destination had carried out the same message before a crash of the router.
    """
    unfinished = Selection(destination=request.peer, service=RELAY, sop_instance_uid=request.uid, states=_UNFINISHED)
    if await context.spool.queue.list_deliveries(unfinished, limit=1):
        _fall_back(request, "an earlier message of the step waits for it")
        return None
    uid, fingerprint = request.uid, request.fingerprint
    add = partial(step_store.add_delegated_request, uid=uid, fingerprint=fingerprint, now=context.spool.clock())
    is_repeated = await context.state.change(add)
    stored = request.transfer_syntax
    operation = PeerRequest(
        peer=request.peer,
        abstract_syntax=MPPS,
        transfer_syntaxes=(stored, *(one for one in TRANSFER_SYNTAXES if one != stored)),
        command=request.command,
        data_set=request.encoded,
        deadline=deadline,
    )
    try:
        answered = await context.peers.invoke(operation)
    except PeerUnanswered as error:
        _fall_back(request, str(error))
        return None
    response = _in_syntax_of(request, answered)
    if is_repeated and response.status == _status_of_repeat(request):
        return Response(Command(field=response.command.field, status=Status.SUCCESS))
    if response.status == Status.NO_SUCH_SOP_INSTANCE:
        _fall_back(request, "it has forgotten the step")
        return None
    if status_class(response.status) is StatusClass.FAILURE:
        await context.state.change(partial(step_store.remove_delegated_request, uid=uid, fingerprint=fingerprint))
    return response


def _in_syntax_of(request: DelegatedRequest, answered: PeerResponse) -> Response:
    """Return the response with its attributes in the transfer syntax of the request.

    Attributes that cannot be read are left out.
    """
    response = answered.response
    try:
        data_set = reencode(response.data_set, answered.context.transfer_syntax, request.transfer_syntax)
    except MalformedDataSet as error:
        log.warning("attributes of a response cannot be read", destination=request.peer, why=str(error))
        data_set = b""
    return evolve(response, data_set=data_set)


def _status_of_repeat(request: DelegatedRequest) -> Status | None:
    """Return the failure of a message that the destination has carried out before."""
    if request.step_status.is_final:
        return Status.PROCESSING_FAILURE
    return Status.DUPLICATE_SOP_INSTANCE if request.command.name == "N-CREATE-RQ" else None


def _fall_back(request: DelegatedRequest, why: str) -> None:
    log.warning(
        "the router answers in place of a destination",
        destination=request.peer,
        sop_instance_uid=request.uid,
        command=request.command.name,
        why=why,
    )
