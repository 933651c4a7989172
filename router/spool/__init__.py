"""The durable spool: what was accepted stays until every delivery of it is finished. docs/spool.md.

These are its public names; the modules beside are its own affair.
"""

from router.spool.errors import (
    DamagedMessage,
    DuplicateRefused,
    OutOfSpace,
    SpoolClosed,
    SpoolError,
    SpoolFailure,
    SpoolLocked,
    SpoolUnusable,
    TooLarge,
    UnknownMessage,
)
from router.spool.incoming import Incoming
from router.spool.offline import ReadOnlySpool
from router.spool.spool import Spool
from router.spool.stored_message import StoredMessage
from router.spool.values import (
    Damage,
    InstanceDelivery,
    MessageDetail,
    QueueAction,
    QueueRow,
    Receipt,
    RecoveryReport,
    Retained,
    Selection,
    SpoolStatistics,
    Totals,
)

__all__ = [
    "Damage",
    "DamagedMessage",
    "DuplicateRefused",
    "Incoming",
    "InstanceDelivery",
    "MessageDetail",
    "OutOfSpace",
    "QueueAction",
    "QueueRow",
    "ReadOnlySpool",
    "Receipt",
    "RecoveryReport",
    "Retained",
    "Selection",
    "Spool",
    "SpoolClosed",
    "SpoolError",
    "SpoolFailure",
    "SpoolLocked",
    "SpoolStatistics",
    "SpoolUnusable",
    "StoredMessage",
    "TooLarge",
    "Totals",
    "UnknownMessage",
]
