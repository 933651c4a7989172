"""The actions of PS3.8 Tables 9-6 to 9-9, as what each answers.

Pure: an action and what caused it give the ordered list of effects and indications. The state an action ends in is
`Action.ends_in`; what `UpperLayer` remembers of it, the upper layer sees to. Three liberties, none seen by the peer:
a P-DATA indication is a `Fragment` and comes from `framing`; a transport that the peer closed is closed on our side
too; an error before there is an association is indicated as well, so that the log can say what it was.
"""

from typing import TypeAlias

from pdu.effects import (
    AbortIndication,
    AssociateConfirm,
    AssociateIndication,
    CloseTransport,
    Effect,
    Indication,
    ProviderAbort,
    RejectIndication,
    ReleaseConfirm,
    ReleaseIndication,
    RequestRefused,
    Send,
    StartArtim,
    StopArtim,
    TransportClosed,
)
from pdu.errors import ProtocolError
from pdu.negotiation import Refusal
from pdu.pdus import PDU, Abort, AbortSource, AssociateAC, AssociateRJ, AssociateRQ, ReleaseRP, ReleaseRQ
from pdu.state import Action
from pdu.writer import encode

Answer: TypeAlias = list[Effect | Indication]
"""What `UpperLayer` gives back: one list, to be gone through in order."""

Cause: TypeAlias = PDU | ProtocolError | None
"""What came with the event: the PDU received or to be sent, or what was wrong with what was received."""


def carry_out(action: Action, cause: Cause, refusal: Refusal | None = None) -> Answer:
    """What `action` answers. `refusal`: what the engine itself holds against a request (AE-6)."""
    match action, cause:
        case ((Action.AE_1 | Action.DT_1 | Action.DT_2 | Action.AR_6 | Action.AR_7 | Action.AA_6), _):
            return []
        case Action.AE_2, AssociateRQ():
            return [_send(cause)]
        case Action.AE_3, AssociateAC():
            return [AssociateConfirm(cause)]
        case Action.AE_4, AssociateRJ():
            return [RejectIndication(cause), CloseTransport()]
        case Action.AE_5, _:
            return [StartArtim()]
        case Action.AE_6, AssociateRQ():
            return _judged(cause, refusal)
        case Action.AE_7, AssociateAC():
            return [_send(cause)]
        case Action.AE_8, AssociateRJ():
            return [_send(cause), StartArtim()]
        case _:
            return _end(action, cause)


def _judged(request: AssociateRQ, refusal: Refusal | None) -> Answer:
    if refusal is None:
        return [StopArtim(), AssociateIndication(request)]
    told = RequestRefused(request, refusal.rejection, refusal.why)
    return [StopArtim(), _send(refusal.rejection), told, StartArtim()]


def _end(action: Action, cause: Cause) -> Answer:
    """The orderly release (Table 9-8), then the abort (Table 9-9)."""
    match action, cause:
        case Action.AR_1, _:
            return [_send(ReleaseRQ())]
        case Action.AR_2, _:
            return [ReleaseIndication()]
        case Action.AR_3, _:
            return [ReleaseConfirm(), CloseTransport()]
        case Action.AR_4, _:
            return [_send(ReleaseRP()), StartArtim()]
        case ((Action.AR_5 | Action.AA_2 | Action.AA_5), _):
            return [StopArtim(), CloseTransport()]
        case Action.AR_8, _:
            return [ReleaseIndication(collision=True)]
        case Action.AR_9, _:
            return [_send(ReleaseRP())]
        case Action.AR_10, _:
            return [ReleaseConfirm()]
        case Action.AA_1, Abort():
            return [_send(cause), StartArtim()]
        case Action.AA_1, ProtocolError():
            return [_send(Abort()), ProviderAbort(cause), StartArtim()]
        case Action.AA_3, Abort():
            return [AbortIndication(cause.source, cause.reason), CloseTransport()]
        case Action.AA_4, _:
            return [TransportClosed(), CloseTransport()]
        case Action.AA_7, ProtocolError():
            return [_send(_provider_abort(cause))]
        case Action.AA_8, ProtocolError():
            return [_send(_provider_abort(cause)), ProviderAbort(cause), StartArtim()]
        case _:
            raise AssertionError(f"{action.standard_name} cannot be caused by {cause!r}")


def _provider_abort(error: ProtocolError) -> Abort:
    return Abort(source=AbortSource.PROVIDER, reason=error.abort_reason)


def _send(pdu: PDU) -> Send:
    return Send([encode(pdu)])
