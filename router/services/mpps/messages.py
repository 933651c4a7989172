"""What is said about a step: on the wire to the modality, into the spool for the destinations, in the log. Pure, but
for the log."""

import time
from collections.abc import Sequence
from typing import Any

import structlog
from attrs import evolve

from router.dimse import DATA_SET, Command, Response, encode, response_to
from router.logs import escaped
from router.model import Envelope, Recipient
from router.services.base import Request
from router.services.mpps.attributes import MPPS
from router.services.mpps.policy import RELAY

log = structlog.get_logger()


def relayed(command: Command, uid: str) -> Command:
    """As it goes on: an N-CREATE without a UID has one by now."""
    return command if command.sop_instance_uid else evolve(command, affected_sop_instance_uid=uid)


def answer(command: Command, uid: str, status: int, **details: Any) -> Command:
    """The response to a modality's request about this step."""
    return response_to(command, status, **of_step(uid), **details)


def of_step(uid: str) -> dict[str, str]:
    """What a response says of which step it is about: nothing where there is none."""
    return {"affected_sop_instance_uid": uid} if uid else {}


def passed_on(command: Command, uid: str, answered: Response) -> Response:
    """Another's answer, as ours."""
    theirs = answered.command
    details = {
        name: getattr(theirs, name)
        for name in ("error_comment", "error_id", "offending_element", "attribute_identifier_list")
    }
    return Response(answer(command, uid, answered.status, **details), answered.data_set)


def envelope(request: Request, command: Command, uid: str, relay: Sequence[str]) -> Envelope:
    """The message as it goes to the destinations, in the step's lane; the command set as it came, if it can."""
    return Envelope(
        kind=command.name,
        command=request.command_bytes
        if command is request.command
        else encode(evolve(command, data_set_type=DATA_SET)),
        service=RELAY,
        abstract_syntax=MPPS,
        transfer_syntax=request.transfer_syntax,
        sop_class_uid=MPPS,
        sop_instance_uid=uid,
        calling_ae=request.sender.calling_ae,
        called_ae=request.sender.called_ae,
        peer=request.sender.peer,
        received=time.time(),
        deliveries=tuple(Recipient(destination=name, key=f"mpps {uid}") for name in relay),
    )


def report(request: Request, uid: str, status: str, words: str) -> None:
    """The refusal of the peer that answers for the router, for the log."""
    sender = request.sender
    log.warning(
        "refused",
        calling_ae=escaped(sender.calling_ae),
        peer=sender.peer,
        sop_instance_uid=escaped(uid),
        command=request.command.name,
        status=status,
        why=words,
    )
