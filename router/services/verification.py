"""Verification (PS3.4 Annex A): C-ECHO, in the three uncompressed transfer syntaxes."""

from typing import ClassVar, Final

from attrs import frozen

from pdu import ContextResult
from router.config import Config, ServiceOptions
from router.config.keys import ANYTHING, Patterns, RankedTransferSyntaxes
from router.dicom.uids import UNCOMPRESSED
from router.dimse import Command, CommandField, Response, Status, response_to
from router.services.base import NO_DATA_SET, SCP, Allowance, Proposal, Replies, Request
from router.services.refusal import refuse
from router.spool import Incoming

VERIFICATION: Final = "1.2.840.10008.1.1"


@frozen(kw_only=True)
class VerificationSettings:
    """[verification]: who may verify the router."""

    calling_ae: Patterns = ANYTHING
    prefer: RankedTransferSyntaxes = ()


class Verification(SCP):
    """C-ECHO: 0000H to every calling AE title that `verification.calling_ae` matches."""

    name: ClassVar[str] = "verification"
    options: ClassVar[ServiceOptions] = ServiceOptions(tables={"verification": VerificationSettings})
    requests: ClassVar[frozenset[int]] = frozenset({CommandField.C_ECHO_RQ})

    def reload(self, config: Config) -> None:
        self._settings = config.options[VerificationSettings]

    def negotiate(self, proposal: Proposal) -> str | ContextResult | None:
        if proposal.abstract_syntax != VERIFICATION:
            return None
        return proposal.choose(UNCOMPRESSED.__contains__, self._settings.prefer)

    def admit(self, request: Request) -> Command | Allowance:
        if self._settings.calling_ae.matches(request.sender.calling_ae):
            return NO_DATA_SET
        return refuse(request, Status.NOT_AUTHORIZED, f"{request.sender.calling_ae} may not verify this router")

    async def perform(self, request: Request, data: Incoming | None, replies: Replies) -> Response:
        return Response(response_to(request.command, Status.SUCCESS))
