"""The effects and indications of each action of PS3.8 Tables 9-6 to 9-9.

Pure: an action and its cause give an ordered list. Not here: the next state (`Action.ends_in`) and what is remembered
of the cause (`UpperLayer`). Three additions to the standard, none of them visible to the peer: a P-DATA indication is
a `Fragment` and comes from `framing`; a transport that the peer closed is also closed on our side; an error before an
association exists is indicated too, so that the log can name it.
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
"""The return value of `UpperLayer`: one list, to be carried out in order."""

Cause: TypeAlias = PDU | ProtocolError | None
"""The PDU received or to be sent with an event, or the fault in what was received."""


def carry_out(action: Action, cause: Cause, refusal: Refusal | None = None) -> Answer:
    """Return the effects and indications of `action`.

    `refusal`: why the engine itself rejects a request (AE-6).
    """
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
            return _respond(cause, refusal)
        case Action.AE_7, AssociateAC():
            return [_send(cause)]
        case Action.AE_8, AssociateRJ():
            return [_send(cause), StartArtim()]
        case _:
            return _end(action, cause)


def _respond(request: AssociateRQ, refusal: Refusal | None) -> Answer:
    if refusal is None:
        return [StopArtim(), AssociateIndication(request)]
    told = RequestRefused(request, refusal.rejection, refusal.why)
    return [StopArtim(), _send(refusal.rejection), told, StartArtim()]


def _end(action: Action, cause: Cause) -> Answer:
    """Return the effects of the orderly release (Table 9-8) and of the abort (Table 9-9)."""
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
