"""The queue as JSON objects: what the admin API answers and the command line prints (pure).

They hold UIDs, AE titles, states and reasons; of a data set, nothing but the SOP Class and Instance UID.
"""

from collections.abc import Sequence
from enum import Enum
from typing import Any, Final

from attrs import asdict

from router.model import DeliveryState, Purpose
from router.spool import MessageDetail, QueueRow, Selection

_COMMITMENT: Final = " (commitment)"


def shown_name(destination: str, purpose: Purpose) -> str:
    """Return a destination as users see it.

    "pacs", or "pacs (commitment)" for what is retained until pacs has committed to it.
    """
    return destination + _COMMITMENT if purpose is Purpose.RETAIN else destination


def parse_shown_name(shown: str) -> tuple[str, Purpose]:
    """Return the destination and the purpose of a shown name."""
    if shown.endswith(_COMMITMENT):
        return shown.removesuffix(_COMMITMENT), Purpose.RETAIN
    return shown, Purpose.SEND


def delivery_view(row: QueueRow, *, phi: bool = False) -> dict[str, Any]:
    """Return one delivery of one message; with `phi`, with the Error Comment of the peer's last response."""
    values = asdict(row)
    if not phi:
        del values["comment"]
    values["destination"] = shown_name(row.destination, values.pop("purpose"))
    return {name: value.value if isinstance(value, Enum) else value for name, value in values.items()}


def unfinished_of_instance(detail: MessageDetail) -> Selection | None:
    """Return the selection of the deliveries that are sent in order with this message's; None without an order."""
    if not any(row.key for row in detail.deliveries):
        return None
    unfinished = frozenset({DeliveryState.WAITING, DeliveryState.HELD})
    envelope = detail.envelope
    return Selection(service=envelope.service, sop_instance_uid=envelope.sop_instance_uid, states=unfinished)


def message_view(detail: MessageDetail, ordered: Sequence[QueueRow] = (), *, phi: bool = False) -> dict[str, Any]:
    """Return one message without its command set, whose elements are in the envelope.

    `ordered` are the deliveries that are sent in order with its own.
    """
    envelope = asdict(detail.envelope)
    del envelope["command"], envelope["deliveries"]
    return {
        "message_id": detail.message_id,
        **envelope,
        "data_length": detail.data_length,
        "where": detail.where,
        "deliveries": [delivery_view(row, phi=phi) for row in detail.deliveries],
        "together": [delivery_view(row, phi=phi) for row in ordered if row.message_id != detail.message_id],
    }


def list_view(rows: Sequence[QueueRow], limit: int, *, phi: bool = False) -> dict[str, Any]:
    """Return one page of deliveries; `next` is the `after` of the following page, None after the last."""
    more = len(rows) >= limit
    return {"deliveries": [delivery_view(row, phi=phi) for row in rows], "next": rows[-1].message_id if more else None}
