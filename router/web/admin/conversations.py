"""The resources of conversations: a list of the live and the last finished ones, and one of them."""

from typing import Any, Final

from router.web.admin.backend import Backend, Resource
from router.web.admin.requests import ID_MAX, NotFound, Query


async def _list(backend: Backend, query: Query) -> dict[str, Any]:
    live = backend.conversations.live()
    finished = [] if query.get("live") == "1" else backend.conversations.recent(query.limit)
    return {"live": live, "finished": finished}


async def _show(backend: Backend, query: Query) -> dict[str, Any]:
    text = query.item
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= len(str(ID_MAX)) else 0
    found = backend.conversations.find(number)
    if found is None:
        raise NotFound(f"there is no conversation {text} since the start of the router, or it is not kept any more")
    return found


CONVERSATIONS: Final = Resource(path="/api/conversations", read=_list)
CONVERSATION: Final = Resource(path="/api/conversations/{item}", read=_show)
