"""From what a client asks for to a `Selection` of the spool, judged to the last key. Pure functions.

A change without any condition would be about the whole queue, so that it has to be said: {"all": true}.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from router.model import DeliveryState, Purpose
from router.spool import Selection
from router.web.admin.queue_views import named

LIMIT: Final = 100
"""Deliveries in one answer, where the client does not say how many."""
LIMIT_MAX: Final = 1000
IDS_MAX: Final = 10_000
"""Message ids in one selection."""
ID_MAX: Final = 2**63 - 1
"""SQLite's largest integer."""

_STATES: Final = {state.value: state for state in DeliveryState}
_KEYS: Final = ("ids", "destination", "state", "all", "to")


class BadRequest(ValueError):
    """What is wrong with the request, in words."""


def chosen(body: Any) -> Selection:
    """The selection of a change: {"ids": [1, 2], "destination": "pacs", "state": "held"}; all that is given holds."""
    if not isinstance(body, dict):
        raise BadRequest("the selection must be a JSON object")
    if unknown := sorted(set(body) - set(_KEYS)):
        raise BadRequest(f"the selection has unknown keys: {', '.join(map(repr, unknown))}")
    if not any(key in body for key in ("ids", "destination", "state")) and body.get("all") is not True:
        raise BadRequest('the selection chooses nothing: give ids, destination or state, or {"all": true}')
    states = body.get("state", [])
    return Selection(
        message_ids=_ids(body["ids"]) if "ids" in body else (),
        **_destination(body.get("destination")),
        states=_states([states] if isinstance(states, str) else states),
    )


def _ids(ids: Any) -> tuple[int, ...]:
    if not isinstance(ids, list) or not ids:
        raise BadRequest("ids must be a list of message ids, and not an empty one")
    if len(ids) > IDS_MAX:
        raise BadRequest(f"{len(ids)} ids are more than {IDS_MAX}")
    for one in ids:
        if isinstance(one, bool) or not isinstance(one, int) or not 0 < one <= ID_MAX:
            raise BadRequest(f"{one!r} is no message id")
    return tuple(ids)


def _destination(shown: Any) -> dict[str, Any]:
    """The part of a selection that a destination's name stands for."""
    if shown is None:
        return {}
    if not isinstance(shown, str):
        raise BadRequest('destination must be the name of a peer, or "" for what no route wanted')
    destination, purpose = named(shown)
    return {"destination": destination, "purpose": purpose}


def _states(states: Any) -> frozenset[DeliveryState]:
    if not isinstance(states, Sequence):
        raise BadRequest("state must be the name of a state, or a list of them")
    found = set()
    for state in states:
        if not isinstance(state, str) or state not in _STATES:
            raise BadRequest(f"{state!r} is no state; there are {', '.join(_STATES)}")
        found.add(_STATES[state])
    return frozenset(found)


def rerouted(body: Any) -> str | None:
    """The peer that unrouted messages are to go to: {"to": "pacs"}."""
    to = body.get("to")
    if to is not None and (not isinstance(to, str) or not to):
        raise BadRequest("to must be the name of a peer")
    if to is not None and named(to)[1] is not Purpose.SEND:
        raise BadRequest(f"{to!r} is no peer that deliveries can go to")
    return to


def asked(query: Mapping[str, str], states: Sequence[str]) -> Selection:
    """The selection of a list, from ?destination= and any number of ?state=."""
    return Selection(**_destination(query.get("destination")), states=_states(states))


def shows_phi(query: Mapping[str, str]) -> bool:
    """Whether the client asks for what may tell who the patient is: ?phi=1."""
    return query.get("phi") == "1"


def number(query: Mapping[str, str], key: str, default: int, least: int, most: int) -> int:
    """A number of the query, within its limits."""
    text = query.get(key)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 19 or not least <= int(text) <= most:
        raise BadRequest(f"{key} must be a number from {least} to {most}")
    return int(text)
