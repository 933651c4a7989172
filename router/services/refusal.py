"""Refuse a request: one log line, and a response with the status code that the site wants.

Every refusal of a service goes through `refuse`, so that `[statuses]` holds for all of them. Not here: which requests
are refused, which each service decides.
"""

from typing import Any

import structlog

from router.dimse import Command, CommandField, Status, describe, response_to
from router.logs import escaped
from router.services.base import Request

log = structlog.get_logger()


def refuse(request: Request, status: Status, message: str, *, named: str = "", **details: Any) -> Command:
    """Log a refusal and return the response to send.

    `status` is that of the standard; `named` is the key of `[statuses]` if it differs from the name of `status`.
    `message` becomes the Error Comment, cut to 64 characters. `details` are further attributes of the command set.
    """
    command = request.command
    code: int = getattr(request.statuses, named or status.name.lower())
    described = describe(code, "storage" if command.field == CommandField.C_STORE_RQ else "")
    log_refusal(request, described, message, sop_instance_uid=command.sop_instance_uid)
    return response_to(command, code, error_comment=message, **details)


def log_refusal(request: Request, status: str, message: str, *, sop_instance_uid: str) -> None:
    """Write the log line of a refusal. `status` is the code with its name, as `describe` gives it."""
    log.warning(
        "refused",
        calling_ae=escaped(request.sender.calling_ae),
        peer=request.sender.peer,
        command=request.command.name,
        sop_instance_uid=escaped(sop_instance_uid),
        status=status,
        why=message,
    )


def refuse_for_space(request: Request, message: str = "the router's disk is full, try again later") -> Command:
    """Refuse a request for lack of space: 0213H to an N-service (PS3.7 10.1), else A700H (PS3.4 B.2.3, C.4)."""
    is_n_service = request.command.field >= CommandField.N_EVENT_REPORT_RQ
    return refuse(request, Status.RESOURCE_LIMITATION if is_n_service else Status.OUT_OF_RESOURCES, message)


def refuse_for_failure(request: Request) -> Command:
    """Refuse a request because the router failed: C001H to a C-STORE (PS3.4 B.2.3), else 0110H (PS3.7 C.5).

    The failure itself is logged as a crash.
    """
    of_storage = request.command.field == CommandField.C_STORE_RQ
    status = Status.UNABLE_TO_PROCESS if of_storage else Status.PROCESSING_FAILURE
    return refuse(request, status, "the router failed, its log says at what")
