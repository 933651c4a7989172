"""A commitment transaction as it is stored: who asked, how far it is, until when it must be decided.

Not here: its instances and the merge of reports (transaction.py), and the database (transaction_store.py).
"""

from enum import IntEnum

from attrs import frozen

from router.services.commitment.transaction import Policy


class TransactionStage(IntEnum):
    """How far a transaction is."""

    TAKEN = 0
    """Accepted; the archives are not chosen yet."""
    OPEN = 1
    """The archives are chosen, and are asked or have been."""
    DECIDED = 2
    """The outcome for the modality is stored and does not change."""
    FINISHED = 3
    """The report to the modality is in the spool."""


@frozen(kw_only=True)
class StoredTransaction:
    """One transaction without its references."""

    id: int = 0
    uid: str
    """The Transaction UID of the modality; a new one for a transaction of the router's own."""
    fingerprint: bytes
    """Equal for requests of the same instances."""
    stage: TransactionStage
    calling_ae: str
    called_ae: str
    address: str
    """IP address of the modality."""
    reply_to: str
    """The peer that gets the report; "" for a transaction of the router's own."""
    transfer_syntax: str
    """Of the report."""
    steps: bytes = b""
    """A data set with the Referenced Performed Procedure Step Sequence of the request; b"" without one."""
    received: float
    """When it was accepted, in seconds since the epoch, for display."""
    accepted_at: float
    """When it was accepted, in seconds on `Spool.clock()`."""
    grace: float
    """Seconds from `accepted_at` in which instances that the router has not seen are waited for."""
    deadline: float
    """Seconds from `accepted_at` after which it is decided."""
    policies: tuple[Policy, ...] = ()
    """Those that references point to; empty while they are not known."""
    count: int
    """References."""
    decided: float | None = None
    """When it was decided, in seconds since the epoch, for display."""
    event_type: int | None = None
    failed: int | None = None
    """Instances that are not committed."""
