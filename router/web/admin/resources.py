"""All resources of the admin API: a new listing is a module with its resources, and an entry here."""

from typing import Final

from router.web.admin.backend import Backend, Resource
from router.web.admin.commitment import COMMITMENT, COMMITMENT_REPORT, COMMITMENTS
from router.web.admin.conversations import CONVERSATION, CONVERSATIONS
from router.web.admin.mpps import STEP, STEPS
from router.web.admin.queue import MESSAGE, QUEUE
from router.web.admin.requests import Query


async def _status(backend: Backend, query: Query) -> dict[str, object]:
    return await backend.status()


STATUS: Final = Resource(path="/api/status", read=_status)

RESOURCES: Final = (
    STATUS,
    QUEUE,
    MESSAGE,
    STEPS,
    STEP,
    COMMITMENTS,
    COMMITMENT_REPORT,
    COMMITMENT,
    CONVERSATIONS,
    CONVERSATION,
)
"""In the order in which paths are matched."""


def find_resource(path: str) -> tuple[Resource, str]:
    """Return the resource of a path, and the item that the path names.

    Raises:
        LookupError: there is none.
    """
    for resource in RESOURCES:
        prefix, is_item, _ = resource.path.partition("{")
        item = path.removeprefix(prefix)
        if path == resource.path or (is_item and path.startswith(prefix) and "/" not in item):
            return resource, item if is_item else ""
    raise LookupError(path)
