"""How an association that we requested can fail, sorted by what the caller can do about it."""

from pdu import AssociateRJ


class AssociationError(Exception):
    """The association cannot be used any more. What was in flight on it may or may not have arrived."""


class NotConnected(AssociationError):
    """No TCP connection, or no answer to A-ASSOCIATE-RQ in time: nothing was sent."""


class Rejected(AssociationError):
    """The peer has answered A-ASSOCIATE-RJ. `rejection.result` says whether trying again can help (PS3.8 9.3.4)."""

    def __init__(self, message: str, rejection: AssociateRJ) -> None:
        super().__init__(message)
        self.rejection = rejection


class Aborted(AssociationError):
    """The peer or the router has aborted the association, or the connection is lost."""


class NoResponse(AssociationError):
    """No response came before the deadline of a request. The peer may have performed the operation all the same."""
