"""Values that the ledger is given and gives, and how rows become values."""

import json
from collections.abc import Sequence
from typing import Any, Final

from attrs import frozen

from router.model import AS_STORED, AttemptResult, Cause, Envelope, PendingDelivery, Purpose, SentAs
from router.spool.message_id import MessageId
from router.spool.values import LocatedDelivery, Place

PLACE: Final = "m.segment, m.offset, m.length, m.data_length, m.data_crc, m.file"
WAITING_ROW: Final = (
    "d.message_id, d.destination, d.lane, d.attempts, d.born, m.service, m.kind, m.abstract_syntax,"
    f" m.transfer_syntax, m.sop_instance_uid, {PLACE}, m.calling_ae, d.due, d.cause, d.crashes, d.unanswered, d.sent_as"
)
LOOKED_AT: Final = 64
"""Newest messages of one instance that are looked at: a limit, so that an instance that comes often stays cheap."""
_CAUSES: Final = {cause.value: cause for cause in Cause}


@frozen(kw_only=True)
class LedgerEntry:
    """A message to enter."""

    message_id: MessageId
    place: Place
    envelope: Envelope
    """With the deliveries to enter: at least one."""
    born: float
    """Seconds on the run clock."""
    hold: str = ""
    """Why all deliveries begin held; empty if they begin waiting."""

    def rows(self) -> list[LocatedDelivery]:
        """Return the deliveries that destinations may begin now: none if held, and none to retain the message."""
        if self.hold:
            return []
        envelope = self.envelope
        return [
            LocatedDelivery(
                PendingDelivery(
                    message_id=self.message_id,
                    destination=address.destination,
                    key=address.key,
                    attempts=0,
                    born=self.born,
                    service=envelope.service,
                    kind=envelope.kind,
                    abstract_syntax=envelope.abstract_syntax,
                    transfer_syntax=envelope.transfer_syntax,
                    sop_instance_uid=envelope.sop_instance_uid,
                    calling_ae=envelope.calling_ae,
                    data_length=self.place.data_length,
                    sent_as=address.sent_as,
                ),
                self.place,
            )
            for address in envelope.deliveries
            if address.purpose is Purpose.SEND
        ]


@frozen(kw_only=True)
class SettledDelivery:
    """The result of one attempt, and the delivery that was attempted."""

    message_id: MessageId
    destination: str
    purpose: Purpose = Purpose.SEND
    result: AttemptResult


DeliveryKey = tuple[MessageId, str, int]
"""Message id, destination and purpose."""


@frozen(kw_only=True)
class Finished:
    """Messages of one segment whose last delivery is finished."""

    segment: int
    count: int
    length: int
    """Bytes of their records."""
    files: tuple[str, ...]
    """Names in `large/`."""


@frozen(kw_only=True)
class EarlierMessage:
    """An unfinished message of an instance that has come again."""

    message_id: MessageId
    place: Place


def place_of(row: Sequence[Any]) -> Place:
    """Build a place from the columns of `PLACE`."""
    segment, offset, length, data_length, data_crc, file = row
    return Place(segment=segment, offset=offset, length=length, data_length=data_length, data_crc=data_crc, file=file)


def cause_of(text: str) -> Cause:
    """Build a cause from its column; NONE if a later version of the router wrote an unknown one."""
    return _CAUSES.get(text, Cause.NONE)


def sent_as_text(sent_as: SentAs) -> str:
    """Build the column `sent_as`; empty for AS_STORED."""
    if sent_as is AS_STORED or sent_as == AS_STORED:
        return ""
    return json.dumps([sent_as.transform, sent_as.version, sent_as.transfer_syntaxes])


def _sent_as_of(text: str) -> SentAs:
    """Build a form from the column `sent_as`, which is not empty."""
    transform, version, transfer_syntaxes = json.loads(text)
    return SentAs(transform=transform, version=version, transfer_syntaxes=tuple(transfer_syntaxes))


def row_of(row: Sequence[Any]) -> LocatedDelivery:
    """Build a waiting delivery from the columns of `WAITING_ROW`."""
    waiting = PendingDelivery(
        message_id=row[0],
        destination=row[1],
        key=row[2],
        attempts=row[3],
        born=row[4],
        service=row[5],
        kind=row[6],
        abstract_syntax=row[7],
        transfer_syntax=row[8],
        sop_instance_uid=row[9],
        data_length=row[13],
        calling_ae=row[16],
        due=row[17],
        cause=cause_of(row[18]),
        crashes=row[19],
        unanswered=row[20],
        sent_as=_sent_as_of(row[21]) if row[21] else AS_STORED,
    )
    return LocatedDelivery(waiting, place_of(row[10:16]))
