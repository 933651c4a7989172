"""Verification (PS3.4 Annex A): C-ECHO, in the three uncompressed transfer syntaxes."""

from typing import ClassVar, Final

from pdu import ContextResult, PresentationContext
from router.config import Config
from router.dimse import Command, CommandField, Status, StatusClass, response_to, status_class
from router.messages import Result
from router.services.service import Request
from router.spool import Incoming, Spool

VERIFICATION: Final = "1.2.840.10008.1.1"
UNCOMPRESSED: Final = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
"""Implicit VR Little Endian, Explicit VR Little Endian, Explicit VR Big Endian."""


class Verification:
    """Answers 0000H to everyone who may open an association."""

    name: ClassVar[str] = "verification"
    routed: ClassVar[bool] = False
    requests: ClassVar[frozenset[int]] = frozenset({CommandField.C_ECHO_RQ})

    def __init__(self, config: Config, spool: Spool) -> None:
        pass

    def judge(self, context: PresentationContext) -> str | ContextResult | None:
        if context.abstract_syntax != VERIFICATION:
            return None
        for transfer_syntax in context.transfer_syntaxes:
            if transfer_syntax in UNCOMPRESSED:
                return transfer_syntax
        return ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED

    def refuse(self, request: Request) -> Command | None:
        return None

    async def perform(self, request: Request, data: Incoming | None) -> Command:
        return response_to(request.command, Status.SUCCESS)

    def outcome(self, status: int) -> Result:
        return Result.DELIVERED if status_class(status) is StatusClass.SUCCESS else Result.RETRY

    def reload(self, config: Config) -> None:
        pass
