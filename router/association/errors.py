"""How an association that we requested can fail, in words, sorted by what the caller should make of it."""

from pdu import AssociateRJ


class AssociationError(Exception):
    """The association is of no more use. What was in flight on it may or may not have arrived."""


class NotConnected(AssociationError):
    """No TCP connection, or none that answered A-ASSOCIATE-RQ in time: nothing was sent."""


class Rejected(AssociationError):
    """A-ASSOCIATE-RJ. `rejection.result` says whether it is worth coming back (PS3.8 9.3.4)."""

    def __init__(self, words: str, rejection: AssociateRJ) -> None:
        super().__init__(words)
        self.rejection = rejection


class Aborted(AssociationError):
    """A-ABORT from the peer, or the connection went away."""


class NoResponse(AssociationError):
    """The DIMSE response did not come in time. Ambiguous: the peer may have done what was asked."""
