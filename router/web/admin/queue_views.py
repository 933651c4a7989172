"""What the admin API answers about the queue, as JSON objects. The command line prints the same ones.

UIDs, AE titles, states and reasons: no element of a data set but the SOP Class and Instance UID is ever in them.
"""

from collections.abc import Sequence
from enum import Enum
from typing import Any, Final

from attrs import asdict

from router.model import DeliveryState, Purpose
from router.spool import MessageDetail, QueueRow, Selection

_COMMITMENT: Final = " (commitment)"


def shown_name(destination: str, purpose: Purpose) -> str:
    """A destination as users see it: "pacs", or "pacs (commitment)" for what is retained until pacs has committed."""
    return destination + _COMMITMENT if purpose is Purpose.RETAIN else destination


def named(shown: str) -> tuple[str, Purpose]:
    """The destination and the purpose that a shown name stands for."""
    if shown.endswith(_COMMITMENT):
        return shown.removesuffix(_COMMITMENT), Purpose.RETAIN
    return shown, Purpose.SEND


def delivery(row: QueueRow, *, phi: bool = False) -> dict[str, Any]:
    """One delivery of one message; with `phi`, the Error Comment of the peer's last answer as well."""
    values = asdict(row)
    if not phi:
        del values["comment"]
    values["destination"] = shown_name(row.destination, values.pop("purpose"))
    return {name: value.value if isinstance(value, Enum) else value for name, value in values.items()}


def lane(detail: MessageDetail) -> Selection | None:
    """Where messages keep an order: all of them about the same instance that are not finished. None elsewhere."""
    if not any(row.key for row in detail.deliveries):
        return None
    unfinished = frozenset({DeliveryState.WAITING, DeliveryState.HELD})
    envelope = detail.envelope
    return Selection(service=envelope.service, sop_instance_uid=envelope.sop_instance_uid, states=unfinished)


def message(detail: MessageDetail, together: Sequence[QueueRow] = (), *, phi: bool = False) -> dict[str, Any]:
    """One message whole; the command set stays out, for all that is in it stands beside it. `together` are the
    deliveries that keep an order with its own."""
    envelope = asdict(detail.envelope)
    del envelope["command"], envelope["deliveries"]
    return {
        "message_id": detail.message_id,
        **envelope,
        "data_length": detail.data_length,
        "where": detail.where,
        "deliveries": [delivery(row, phi=phi) for row in detail.deliveries],
        "together": [delivery(row, phi=phi) for row in together if row.message_id != detail.message_id],
    }


def page(rows: Sequence[QueueRow], limit: int, *, phi: bool = False) -> dict[str, Any]:
    """One answer to /api/queue; `next` is the `after` of the one that follows, None where there is nothing more."""
    more = len(rows) >= limit
    return {"deliveries": [delivery(row, phi=phi) for row in rows], "next": rows[-1].message_id if more else None}
