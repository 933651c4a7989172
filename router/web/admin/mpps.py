"""Procedure steps for people: from the state and the spool to one JSON object.

Two readers of the same: `Steps` asks a running router, `StoppedSteps` the files that it has left.
"""

import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from router.concurrency import compute
from router.config.quantities import duration
from router.services.mpps import step_store
from router.services.mpps.attributes import StepStatus
from router.services.mpps.availability_store import load_pending
from router.services.mpps.intake import NotDiscarded
from router.services.mpps.policy import RELAY
from router.services.mpps.views import UNFINISHED, list_steps, patients_of, show_step
from router.spool import ReadOnlySpool, Selection
from router.state_file import look_into
from router.web.admin.backend import Controls
from router.web.admin.requests import LIMIT, LIMIT_MAX, BadRequest, number, shows_phi

_MOST: Final = 10_000
"""Deliveries that are looked at for one answer."""
_LONGEST: Final = 1000
"""Characters of a reason that are kept."""
_UNFINISHED: Final = Selection(service=RELAY, states=UNFINISHED)


class NoSuchStep(Exception):
    """The router remembers no step with this UID."""

    def __init__(self, uid: str) -> None:
        super().__init__(f"there is no step {uid}")


class Steps:
    """Of a running router."""

    def __init__(self, controls: Controls) -> None:
        self._state, self._spool = controls.state, controls.spool
        self._discard = controls.discard_step

    async def discard(self, uids: Sequence[str], reason: str) -> dict[str, Any]:
        """Forget steps IN PROGRESS; the answer says which were not forgotten, and why."""
        discarded: list[str] = []
        refused: dict[str, str] = {}
        for uid in uids:
            try:
                await self._discard(uid, reason)
            except NotDiscarded as error:
                refused[uid] = str(error)
            else:
                discarded.append(uid)
        return {"discarded": discarded, "refused": refused}

    async def list(self, query: Mapping[str, str]) -> dict[str, Any]:
        steps = await self._state.read(_page(query))
        rows = await self._spool.queue(_UNFINISHED, limit=_MOST)
        patients: dict[str, dict[str, str]] = {}
        left: Sequence[str] = [step.uid for step in steps] if shows_phi(query) else ()
        while left:
            batch, left = await self._state.read(partial(step_store.load_batch, uids=left))
            patients |= await compute(sum(step.size for step in batch), partial(patients_of, batch))
        return list_steps(steps, rows, patients)

    async def show(self, uid: str, query: Mapping[str, str]) -> dict[str, Any]:
        """Raises NoSuchStep."""
        step = await self._state.read(partial(step_store.load, uid=uid))
        if step is None:
            raise NoSuchStep(uid)
        messages = await self._state.read(partial(step_store.load_messages, uid=uid))
        ids = tuple(message.message_id for message in messages)
        rows = await self._spool.queue(Selection(message_ids=ids), limit=_MOST) if ids else []
        named = await compute(step.size, step.references)
        instances = await self._spool.instances([one.sop_instance_uid for one in named])
        notices = await self._state.read(partial(load_pending, uid=uid))
        work = partial(show_step, step, messages, rows, instances, notices, phi=shows_phi(query))
        return await compute(step.size, work)


class StoppedSteps:
    """Of a router that does not run."""

    def __init__(self, folder: Path, spool: ReadOnlySpool) -> None:
        self._folder = folder
        self._spool = spool

    def statistics(self, keep: float) -> dict[str, int]:
        """The same counts that a running router gives."""
        with look_into(self._folder) as connection:
            return {
                "in_progress": step_store.count_in_progress(connection),
                "stale": step_store.count_in_progress(connection, time.time() - keep),
            }

    def list(self, query: Mapping[str, str]) -> dict[str, Any]:
        with look_into(self._folder) as connection:
            steps = _page(query)(connection)
            patients: dict[str, dict[str, str]] = {}
            left: Sequence[str] = [step.uid for step in steps] if shows_phi(query) else ()
            while left:
                batch, left = step_store.load_batch(connection, left)
                patients |= patients_of(batch)
            return list_steps(steps, self._spool.queue(_UNFINISHED, limit=_MOST), patients)

    def show(self, uid: str, query: Mapping[str, str]) -> dict[str, Any]:
        """Raises NoSuchStep."""
        with look_into(self._folder) as connection:
            step = step_store.load(connection, uid)
            if step is None:
                raise NoSuchStep(uid)
            messages = step_store.load_messages(connection, uid)
            ids = tuple(message.message_id for message in messages)
            rows = self._spool.queue(Selection(message_ids=ids), limit=_MOST) if ids else []
            instances = self._spool.instances([one.sop_instance_uid for one in step.references()])
            return show_step(step, messages, rows, instances, load_pending(connection, uid), phi=shows_phi(query))


def to_be_discarded(body: Any) -> tuple[list[str], str]:
    """The UIDs and the reason of {"uids": ["1.2.3"], "reason": "..."}."""
    if not isinstance(body, dict) or set(body) != {"uids", "reason"}:
        raise BadRequest('steps are discarded by {"uids": [...], "reason": "..."}')
    uids, reason = body["uids"], body["reason"]
    if not isinstance(uids, list) or not uids or not all(isinstance(uid, str) for uid in uids):
        raise BadRequest("uids must be a list of SOP Instance UIDs, and not an empty one")
    if not isinstance(reason, str) or not reason.strip():
        raise BadRequest("reason must say why")
    return list(dict.fromkeys(uids)), reason.strip()[:_LONGEST]


def _page(query: Mapping[str, str]) -> "partial[list[step_store.Step]]":
    limit = number(query, "limit", LIMIT, 1, LIMIT_MAX)
    if "stale" in query:
        try:
            before = time.time() - duration(query["stale"])
        except ValueError as error:
            raise BadRequest(f"stale {error}") from None
        if query.get("stage", StepStatus.IN_PROGRESS.value) != StepStatus.IN_PROGRESS.value:
            raise BadRequest(f"a stale step is {StepStatus.IN_PROGRESS.value}, not {query['stage']}")
        return partial(step_store.load_stale, before=before, limit=limit)
    try:
        statuses = [StepStatus(query["stage"])] if "stage" in query else []
    except ValueError:
        raise BadRequest(f"stage must be one of {', '.join(status.value for status in StepStatus)}") from None
    return partial(step_store.load_page, statuses=statuses, limit=limit)
