"""Decide whether a requestor may open an association. Pure."""

from pdu import AssociateRJ, AssociateRQ, Rejection
from router.config import AccessSettings


def check_access(request: AssociateRQ, peer: str, access: AccessSettings, own_title: str) -> AssociateRJ | None:
    """Return the rejection that the configuration demands, or None (PS3.8 9.3.4).

    `own_title`, the AE title of the listener, may always be called.
    """
    if not access.peer.matches(peer):
        return AssociateRJ.because(Rejection.NO_REASON_GIVEN)
    if not access.calling_ae.matches(request.calling_ae_title):
        return AssociateRJ.because(Rejection.CALLING_AE_TITLE_NOT_RECOGNIZED)
    if request.called_ae_title != own_title and not access.called_ae.matches(request.called_ae_title):
        return AssociateRJ.because(Rejection.CALLED_AE_TITLE_NOT_RECOGNIZED)
    return None
