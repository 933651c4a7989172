"""Fetch from an archive for an operator: begin, and cancel. The progress is that of the conversation."""

from typing import Any, Final

from router.services.retrieve.locate import Wanted
from router.services.retrieve.operator_fetch import NotFetched
from router.web.admin.backend import RunningBackend
from router.web.admin.requests import BadRequest

_LISTS: Final = ("studies", "series", "instances")
_MOST_UIDS: Final = 10_000


async def begin(backend: RunningBackend, body: Any) -> dict[str, Any]:
    """Begin a fetch: {"peer": "pacs", "patient": "4711", "studies": ["1.2"], "series": [], "instances": []}.

    With "to": "workstation" everything goes to that peer only, without it through the routes.

    Raises:
        BadRequest: the body has another form, or a peer is not known.
        TooManyFetches: too many run.
    """
    known = {"peer", "to", "patient", *_LISTS}
    if not isinstance(body, dict) or set(body) - known or not isinstance(body.get("peer"), str):
        raise BadRequest('invalid body: expected {"peer": NAME, "patient": ID, "studies": [UID, ...], ...}')
    patient, to = body.get("patient", ""), body.get("to")
    if not isinstance(patient, str):
        raise BadRequest("invalid patient: expected a text")
    if not (to is None or isinstance(to, str)):
        raise BadRequest("invalid to: expected the name of a peer")
    lists = {name: _uids(name, body.get(name, [])) for name in _LISTS}
    if not patient and not lists["studies"]:
        raise BadRequest("nothing is asked for: give patient or studies")
    wanted = Wanted(patient=patient, studies=lists["studies"], series=lists["series"], instances=lists["instances"])
    try:
        return {"conversation": await backend.fetch(body["peer"], wanted, to)}
    except NotFetched as error:
        raise BadRequest(str(error)) from None


def _uids(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > _MOST_UIDS or not all(isinstance(one, str) for one in value):
        raise BadRequest(f"invalid {name}: expected a list of at most {_MOST_UIDS} UIDs")
    return tuple(value)


def cancel(backend: RunningBackend, body: Any) -> dict[str, Any]:
    """Cancel a fetch: {"conversation": N}.

    Raises:
        BadRequest: the body has another form.
    """
    if (
        not isinstance(body, dict)
        or not isinstance(number := body.get("conversation"), int)
        or isinstance(number, bool)
    ):
        raise BadRequest('invalid body: expected {"conversation": N}')
    return {"cancelled": backend.cancel_fetch(number)}
