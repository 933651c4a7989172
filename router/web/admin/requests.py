"""Parse what a client asks for: the query of a resource, and the selection of a change (pure).

A change without any condition would affect the whole queue, so that it must be asked for: {"all": true}.
"""

from collections.abc import Sequence
from typing import Any, Final

from attrs import frozen

from router.model import DeliveryState, Purpose
from router.spool import Selection
from router.web.admin.queue_views import parse_shown_name

LIMIT: Final = 100
"""Rows in one response, unless the client asks for another number."""
LIMIT_MAX: Final = 1000
IDS_MAX: Final = 10_000
"""Message ids in one selection."""
ID_MAX: Final = 2**63 - 1
"""SQLite's largest integer."""

_STATES: Final = {state.value: state for state in DeliveryState}
_KEYS: Final = ("ids", "destination", "state", "all", "to")


class BadRequest(ValueError):
    """The request is not valid; the message says what was expected."""


class NotFound(LookupError):
    """The router does not have the item that the path names."""


@frozen(kw_only=True)
class Query:
    """The item and the parameters of a GET request."""

    item: str = ""
    """The part of the path that names one item, such as a UID; "" for a listing."""
    parameters: Sequence[tuple[str, str]] = ()
    """The pairs after the "?". Of a repeated name the last value counts, except for `state`."""

    def get(self, name: str) -> str | None:
        return dict(self.parameters).get(name)

    @property
    def phi(self) -> bool:
        """Whether the client asks for what may identify the patient: ?phi=1."""
        return self.get("phi") == "1"

    @property
    def limit(self) -> int:
        """Rows to return. Raises BadRequest."""
        return self.number("limit", LIMIT, 1, LIMIT_MAX)

    @property
    def after(self) -> int:
        """The message id to continue after. Raises BadRequest."""
        return self.number("after", 0, 0, ID_MAX)

    def number(self, name: str, default: int, least: int, most: int) -> int:
        """Return a parameter that is a number.

        Raises:
            BadRequest: it is not a number, or not within the limits.
        """
        text = self.get(name)
        if text is None:
            return default
        if not text.isascii() or not text.isdigit() or len(text) > 19 or not least <= int(text) <= most:
            raise BadRequest(f"invalid {name} {text!r}: expected a number from {least} to {most}")
        return int(text)

    def selection(self) -> Selection:
        """Return the deliveries that ?destination= and any number of ?state= select.

        Raises:
            BadRequest: there is no such state.
        """
        states = [value for name, value in self.parameters if name == "state"]
        return Selection(**_destination(self.get("destination")), states=_states(states))


def selection_of(body: Any) -> Selection:
    """Return the selection of a change: {"ids": [1, 2], "destination": "pacs", "state": "held"}.

    A delivery is selected if it meets every condition.

    Raises:
        BadRequest: the body has another form.
    """
    if not isinstance(body, dict):
        raise BadRequest("invalid selection: expected a JSON object")
    if unknown := sorted(set(body) - set(_KEYS)):
        raise BadRequest(f"invalid selection: unknown keys {', '.join(map(repr, unknown))}")
    if not any(key in body for key in ("ids", "destination", "state")) and body.get("all") is not True:
        raise BadRequest('the selection selects nothing: give ids, destination or state, or {"all": true}')
    states = body.get("state", [])
    return Selection(
        message_ids=_ids(body["ids"]) if "ids" in body else (),
        **_destination(body.get("destination")),
        states=_states([states] if isinstance(states, str) else states),
    )


def _ids(ids: Any) -> tuple[int, ...]:
    if not isinstance(ids, list) or not ids:
        raise BadRequest("invalid ids: expected a list of at least one message id")
    if len(ids) > IDS_MAX:
        raise BadRequest(f"too many ids: {len(ids)}, at most {IDS_MAX}")
    for one in ids:
        if isinstance(one, bool) or not isinstance(one, int) or not 0 < one <= ID_MAX:
            raise BadRequest(f"invalid message id {one!r}: expected a positive integer")
    return tuple(ids)


def _destination(shown: Any) -> dict[str, Any]:
    """Return the conditions of a selection for the shown name of a destination."""
    if shown is None:
        return {}
    if not isinstance(shown, str):
        raise BadRequest('invalid destination: expected the name of a peer, or "" for unrouted messages')
    destination, purpose = parse_shown_name(shown)
    return {"destination": destination, "purpose": purpose}


def _states(states: Any) -> frozenset[DeliveryState]:
    if not isinstance(states, Sequence):
        raise BadRequest("invalid state: expected the name of a state, or a list of them")
    found = set()
    for state in states:
        if not isinstance(state, str) or state not in _STATES:
            raise BadRequest(f"invalid state {state!r}: expected one of {', '.join(_STATES)}")
        found.add(_STATES[state])
    return frozenset(found)


def new_destination_of(body: Any) -> str | None:
    """Return the peer to send unrouted messages to: {"to": "pacs"}. None if the body names none.

    Raises:
        BadRequest: it cannot be a peer's name.
    """
    to = body.get("to")
    if to is not None and (not isinstance(to, str) or not to):
        raise BadRequest("invalid to: expected the name of a peer")
    if to is not None and parse_shown_name(to)[1] is not Purpose.SEND:
        raise not_a_destination(to)
    return to


def not_a_destination(name: str) -> BadRequest:
    """Return the error for a name that is not of a peer that deliveries can go to."""
    return BadRequest(f"invalid to {name!r}: expected a peer of the configuration that has an address")
