"""The response to a modality about a step, and the message to its destinations. Pure."""

import time
from collections.abc import Sequence
from typing import Any

from router.dimse import DATA_SET, Command, Response, encode, response_to
from router.model import Envelope, Recipient
from router.services.base import Request
from router.services.mpps.attributes import MPPS
from router.services.mpps.policy import RELAY


def with_uid(command: Command, uid: str) -> Command:
    """Return a command with the SOP Instance UID of the step: an N-CREATE may have none."""
    return command if command.sop_instance_uid else command.changed(affected_sop_instance_uid=uid)


def response_about(command: Command, uid: str, status: int, **details: Any) -> Command:
    """Return the response to a request about a step."""
    return response_to(command, status, **of_step(uid), **details)


def of_step(uid: str) -> dict[str, str]:
    """Return the attributes of a response that name its step; none if there is no step."""
    return {"affected_sop_instance_uid": uid} if uid else {}


def forwarded_response(command: Command, uid: str, response: Response) -> Response:
    """Return the response of a destination as the router's own."""
    details = {
        name: getattr(response.command, name)
        for name in ("error_comment", "error_id", "offending_element", "attribute_identifier_list")
    }
    return Response(response_about(command, uid, response.status, **details), response.data_set)


def envelope(request: Request, command: Command, uid: str, destinations: Sequence[str]) -> Envelope:
    """Return the envelope of a message for the destinations, ordered by its step.

    The command set stays as received, unless `with_uid` has changed it.
    """
    return Envelope(
        kind=command.name,
        command=request.command_bytes
        if command is request.command
        else encode(command.changed(data_set_type=DATA_SET)),
        service=RELAY,
        abstract_syntax=MPPS,
        transfer_syntax=request.transfer_syntax,
        sop_class_uid=MPPS,
        sop_instance_uid=uid,
        calling_ae=request.sender.calling_ae,
        called_ae=request.sender.called_ae,
        peer=request.sender.peer,
        received=time.time(),
        deliveries=tuple(Recipient(destination=name, key=f"mpps {uid}") for name in destinations),
    )
