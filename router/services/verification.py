"""Verification (PS3.4 Annex A): C-ECHO, in the three uncompressed transfer syntaxes."""

from typing import ClassVar, Final

from pdu import ContextResult, PresentationContext
from router.dimse import CommandField, Response, Status, StatusClass, response_to, status_class
from router.messages import Result, Waiting
from router.services.service import BaseService, House, Request
from router.spool import Incoming

VERIFICATION: Final = "1.2.840.10008.1.1"
UNCOMPRESSED: Final = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
"""Implicit VR Little Endian, Explicit VR Little Endian, Explicit VR Big Endian."""


class Verification(BaseService):
    """Answers 0000H to everyone who may open an association."""

    name: ClassVar[str] = "verification"
    routed: ClassVar[bool] = False
    requests: ClassVar[frozenset[int]] = frozenset({CommandField.C_ECHO_RQ})

    def __init__(self, house: House) -> None:
        pass

    def judge(self, context: PresentationContext) -> str | ContextResult | None:
        if context.abstract_syntax != VERIFICATION:
            return None
        for transfer_syntax in context.transfer_syntaxes:
            if transfer_syntax in UNCOMPRESSED:
                return transfer_syntax
        return ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED

    async def perform(self, request: Request, data: Incoming | None) -> Response:
        return Response(response_to(request.command, Status.SUCCESS))

    def outcome(self, delivery: Waiting, response: Response) -> Result:
        return Result.DELIVERED if status_class(response.status) is StatusClass.SUCCESS else Result.RETRY
