"""How the router refuses: one log line in words, and a response with the code that the site wants for it.

Every refusal of a service goes through `refuse`, so that `[statuses]` holds for all of them. Not here: what is
refused, which is the service's business.
"""

from typing import Any

import structlog

from router.dimse import Command, CommandField, Status, describe, response_to
from router.logs import escaped
from router.services.base import Request

log = structlog.get_logger()


def refuse(request: Request, status: Status, words: str, *, named: str = "", **details: Any) -> Command:
    """Log a refusal, and give the response to send.

    `status` is the standard's; `named` is the key of `[statuses]` where it is not that status's own name. `words`
    go on the wire as the Error Comment, cut to 64 characters; `details` are further attributes of the command set.
    """
    sender, command = request.sender, request.command
    code: int = getattr(request.statuses, named or status.name.lower())
    log.warning(
        "refused",
        calling_ae=escaped(sender.calling_ae),
        peer=sender.peer,
        command=command.name,
        sop_instance_uid=escaped(command.sop_instance_uid),
        status=describe(code, "storage" if command.field == CommandField.C_STORE_RQ else ""),
        why=words,
    )
    return response_to(command, code, error_comment=words, **details)


def refuse_for_space(request: Request, words: str = "the router's disk is full, try again later") -> Command:
    """The refusal of what there is no room for: 0213H to an N-service (PS3.7 10.1), else A700H (PS3.4 B.2.3, C.4)."""
    is_n_service = request.command.field >= CommandField.N_EVENT_REPORT_RQ
    return refuse(request, Status.RESOURCE_LIMITATION if is_n_service else Status.OUT_OF_RESOURCES, words)


def refuse_for_failure(request: Request) -> Command:
    """The refusal of what the router failed at: C001H to a C-STORE (PS3.4 B.2.3), 0110H to everything else (PS3.7
    C.5). The fault itself stands in the log as a crash."""
    of_storage = request.command.field == CommandField.C_STORE_RQ
    status = Status.UNABLE_TO_PROCESS if of_storage else Status.PROCESSING_FAILURE
    return refuse(request, status, "the router failed, its log says at what")
