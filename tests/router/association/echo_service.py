"""A service of the tests, as small as one gets: a private SOP class whose C-FIND returns the identifier three times.

The requestor may ask for another number of responses by SOP Class Extended Negotiation, one byte. Registered by one
line, before Storage, which accepts the same SOP class for C-STORE.
"""

from typing import ClassVar, Final

import trio

from pdu import ContextResult
from router.dimse import Command, CommandField, Response, Status, response_to
from router.services import SCP, Allowance, Proposal, Replies, Request
from router.spool import Incoming

REPEATED_ECHO: Final = "1.2.826.0.1.3680043.9.3811.77"


class RepeatedEcho(SCP):
    """C-FIND, as SCP."""

    name: ClassVar[str] = "repeated-echo"
    requests: ClassVar[frozenset[int]] = frozenset({CommandField.C_FIND_RQ})
    parallel: ClassVar[bool] = True
    conversational: ClassVar[bool] = True
    pause: ClassVar[float] = 0.0
    """Seconds after each pending response."""
    sent: ClassVar[int] = 0
    cancelled: ClassVar[int] = 0

    def negotiate(self, proposal: Proposal) -> str | ContextResult | None:
        return proposal.transfer_syntaxes[0] if proposal.abstract_syntax == REPEATED_ECHO else None

    def extended(self, proposal: Proposal) -> bytes | None:
        return proposal.extended[:1] if proposal.extended else None

    def admit(self, request: Request) -> Command | Allowance:
        return Allowance(largest=1 << 20)

    async def perform(self, request: Request, data: Incoming | None, replies: Replies) -> Response:
        assert data is not None, "a C-FIND-RQ has an identifier"
        with data.view() as view:
            identifier = bytes(view)
        for _ in range(request.terms.extended[0] if request.terms.extended else 3):
            await replies.send(Response(response_to(request.command, Status.PENDING), identifier))
            type(self).sent += 1
            with trio.move_on_after(self.pause):
                await replies.cancelled.wait()
            if replies.cancelled.is_set():
                type(self).cancelled += 1
                return Response(response_to(request.command, Status.CANCEL))
        return Response(response_to(request.command, Status.SUCCESS))
