"""The resources of the queue: a list of deliveries, and one message."""

from typing import Any, Final

from router.web.admin.backend import Backend, Resource
from router.web.admin.queue_views import list_view, message_view, unfinished_of_instance
from router.web.admin.requests import ID_MAX, Query


async def _list(backend: Backend, query: Query) -> dict[str, Any]:
    rows = await backend.queue(query.selection(), after=query.after, limit=query.limit)
    return list_view(rows, query.limit, phi=query.phi)


async def _show(backend: Backend, query: Query) -> dict[str, Any]:
    detail = await backend.message(min(int(query.item), ID_MAX))
    ordered = unfinished_of_instance(detail)
    return message_view(detail, await backend.queue(ordered) if ordered else (), phi=query.phi)


QUEUE: Final = Resource(path="/api/queue", read=_list)
MESSAGE: Final = Resource(path="/api/queue/{item:int}", read=_show)
