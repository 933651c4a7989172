"""The destinations of `dicom-router status`, from the counts of the ledger and the state of the actors."""

from collections.abc import Mapping
from typing import Any

from attrs import asdict

from router.delivery import DestinationStatistics
from router.model import Purpose
from router.spool import Totals
from router.web.admin.queue_views import parse_shown_name, shown_name

_STAGES = {Purpose.SEND: "not configured", Purpose.RETAIN: "waits for commitment"}
"""Stage of deliveries without an actor, by purpose."""


def destinations_status(
    sent: Mapping[str, Totals], retained: Mapping[str, Totals], actors: Mapping[str, DestinationStatistics]
) -> dict[str, dict[str, Any]]:
    """Return the status of each destination by name.

    `sent` and `retained` are the counts of deliveries for the two purposes.
    """
    totals = {**sent, **{shown_name(name, Purpose.RETAIN): counts for name, counts in retained.items()}}
    status = {}
    for name in sorted(totals.keys() | actors.keys()):
        counts = asdict(totals[name]) if name in totals else {}
        actor = asdict(actors[name]) if name in actors else {"stage": _STAGES[parse_shown_name(name)[1]]}
        committed = _committed(sent[name], retained[name]) if name in sent and name in retained else {}
        status[name] = _account(counts, actor) | committed
    return status


def _account(counts: dict[str, int], actor: dict[str, Any]) -> dict[str, Any]:
    """Return the five counts of a destination, their sum as `accepted`, and the state of its actor."""
    in_flight = actor.pop("in_flight", 0)
    waiting = max(0, counts.get("waiting", 0) - in_flight)
    five = {
        "waiting": waiting,
        "in_flight": counts.get("waiting", 0) - waiting,
        "delivered": counts.get("delivered", 0),
        "held": counts.get("held", 0),
        "discarded": counts.get("discarded", 0),
    }
    return five | {"accepted": sum(five.values())} | {f"actor_{key}": value for key, value in actor.items()}


def _committed(sent: Totals, retained: Totals) -> dict[str, int]:
    """Return how many objects an archive has committed to, and of how many that it has received it has not.

    Each object that the archive has not received yet is retained, too.
    """
    gap = retained.waiting + retained.held - sent.waiting - sent.held
    return {"committed": retained.delivered, "gap": max(0, gap)}
