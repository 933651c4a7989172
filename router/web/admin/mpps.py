"""The resources of procedure steps: a list of steps, and one step; and discarding steps."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from router.concurrency import compute
from router.config.quantities import duration
from router.services.mpps import step_store
from router.services.mpps.attributes import StepStatus
from router.services.mpps.availability_store import load_pending
from router.services.mpps.intake import NotDiscarded
from router.services.mpps.policy import RELAY
from router.services.mpps.views import UNFINISHED, list_steps, patients_of, show_step
from router.spool import QueueRow, Selection
from router.state_store import StateTransaction
from router.web.admin.backend import Backend, Resource, RunningBackend
from router.web.admin.requests import BadRequest, NotFound, Query

_DELIVERIES_MAX: Final = 10_000
"""Deliveries that are read for one response."""
_REASON_MAX: Final = 1000
"""Characters of a reason that are kept."""
_UNFINISHED: Final = Selection(service=RELAY, states=UNFINISHED)


async def _list(backend: Backend, query: Query) -> dict[str, Any]:
    steps = await backend.read(_page(query))
    rows = await backend.queue(_UNFINISHED, limit=_DELIVERIES_MAX)
    patients: dict[str, dict[str, str]] = {}
    left: Sequence[str] = [step.uid for step in steps] if query.phi else ()
    while left:
        batch, left = await backend.read(partial(step_store.load_batch, uids=left))
        patients |= await compute(sum(step.size for step in batch), partial(patients_of, batch))
    return list_steps(steps, rows, patients)


async def _show(backend: Backend, query: Query) -> dict[str, Any]:
    uid = query.item
    step = await backend.read(partial(step_store.load, uid=uid))
    if step is None:
        raise NotFound(f"there is no step {uid}")
    messages = await backend.read(partial(step_store.load_messages, uid=uid))
    ids = tuple(message.message_id for message in messages)
    rows: Sequence[QueueRow] = ()
    if ids:
        rows = await backend.queue(Selection(message_ids=ids), limit=_DELIVERIES_MAX)
    named = await compute(step.size, step.references)
    instances = await backend.instances([one.sop_instance_uid for one in named])
    notices = await backend.read(partial(load_pending, uid=uid))
    return await compute(step.size, partial(show_step, step, messages, rows, instances, notices, phi=query.phi))


STEPS: Final = Resource(path="/api/steps", read=_list)
STEP: Final = Resource(path="/api/steps/{item}", read=_show)


def _page(query: Query) -> Callable[[StateTransaction], list[step_store.Step]]:
    stale, stage = query.get("stale"), query.get("stage")
    if stale is not None:
        try:
            before = time.time() - duration(stale)
        except ValueError as error:
            raise BadRequest(f"stale {error}") from None
        if stage not in (None, StepStatus.IN_PROGRESS.value):
            raise BadRequest(f"a stale step is {StepStatus.IN_PROGRESS.value}, not {stage}")
        return partial(step_store.load_stale, before=before, limit=query.limit)
    try:
        statuses = [] if stage is None else [StepStatus(stage)]
    except ValueError:
        expected = ", ".join(status.value for status in StepStatus)
        raise BadRequest(f"invalid stage {stage!r}: expected one of {expected}") from None
    return partial(step_store.load_page, statuses=statuses, limit=query.limit)


async def discard(backend: RunningBackend, body: Any) -> dict[str, Any]:
    """Forget steps IN PROGRESS; return which were forgotten, and why the others were not.

    `body` is {"uids": ["1.2.3"], "reason": "..."}.

    Raises:
        BadRequest: the body has another form.
    """
    uids, reason = _uids_and_reason(body)
    discarded: list[str] = []
    refused: dict[str, str] = {}
    for uid in uids:
        try:
            await backend.discard_step(uid, reason)
        except NotDiscarded as error:
            refused[uid] = str(error)
        else:
            discarded.append(uid)
    return {"discarded": discarded, "refused": refused}


def _uids_and_reason(body: Any) -> tuple[list[str], str]:
    if not isinstance(body, dict) or set(body) != {"uids", "reason"}:
        raise BadRequest('invalid body: expected {"uids": [...], "reason": "..."}')
    uids, reason = body["uids"], body["reason"]
    if not isinstance(uids, list) or not uids or not all(isinstance(uid, str) for uid in uids):
        raise BadRequest("invalid uids: expected a list of at least one SOP Instance UID")
    if not isinstance(reason, str) or not reason.strip():
        raise BadRequest("invalid reason: expected a text that is not empty")
    return list(dict.fromkeys(uids)), reason.strip()[:_REASON_MAX]
