"""Procedure steps for people: from the state and the spool to one JSON object.

Two readers of the same: `Steps` asks a running router, `StoppedSteps` the files that it has left.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from router.admin.selecting import LIMIT, LIMIT_MAX, BadRequest, number
from router.concurrency import compute
from router.services.procedure_steps import records
from router.services.procedure_steps.content import Stage
from router.services.procedure_steps.looking import OWED, listed, shown
from router.services.procedure_steps.owed import notices_of
from router.services.procedure_steps.plan import RELAY
from router.spool import ReadOnlySpool, Selection, Spool
from router.state import State
from router.state_file import look_into

_MOST: Final = 10_000
"""Deliveries that are looked at for one answer."""
_OWED: Final = Selection(service=RELAY, states=OWED)


class NoSuchStep(Exception):
    """The router remembers no step with this UID."""

    def __init__(self, uid: str) -> None:
        super().__init__(f"there is no step {uid}")


class Steps:
    """Of a running router."""

    def __init__(self, state: State, spool: Spool) -> None:
        self._state = state
        self._spool = spool

    async def list(self, query: Mapping[str, str]) -> dict[str, Any]:
        steps = await self._state.read(_page(query))
        owed, phi = await self._spool.queue(_OWED, limit=_MOST), _phi(query)
        size = sum(step.size for step in steps) if phi else 0
        return await compute(size, partial(listed, steps, owed, phi=phi))

    async def show(self, uid: str, query: Mapping[str, str]) -> dict[str, Any]:
        """Raises NoSuchStep."""
        step = await self._state.read(partial(records.load, uid=uid))
        if step is None:
            raise NoSuchStep(uid)
        messages = await self._state.read(partial(records.load_messages, uid=uid))
        ids = tuple(message.message_id for message in messages)
        rows = await self._spool.queue(Selection(message_ids=ids), limit=_MOST) if ids else []
        named = await compute(step.size, step.references)
        instances = await self._spool.instances([one.sop_instance_uid for one in named])
        notices = await self._state.read(partial(notices_of, uid=uid))
        work = partial(shown, step, messages, rows, instances, notices, phi=_phi(query))
        return await compute(step.size, work)


class StoppedSteps:
    """Of a router that does not run."""

    def __init__(self, folder: Path, spool: ReadOnlySpool) -> None:
        self._folder = folder
        self._spool = spool

    def list(self, query: Mapping[str, str]) -> dict[str, Any]:
        with look_into(self._folder) as connection:
            return listed(_page(query)(connection), self._spool.queue(_OWED, limit=_MOST), phi=_phi(query))

    def show(self, uid: str, query: Mapping[str, str]) -> dict[str, Any]:
        """Raises NoSuchStep."""
        with look_into(self._folder) as connection:
            step = records.load(connection, uid)
            if step is None:
                raise NoSuchStep(uid)
            messages = records.load_messages(connection, uid)
            ids = tuple(message.message_id for message in messages)
            rows = self._spool.queue(Selection(message_ids=ids), limit=_MOST) if ids else []
            instances = self._spool.instances([one.sop_instance_uid for one in step.references()])
            return shown(step, messages, rows, instances, notices_of(connection, uid), phi=_phi(query))


def _page(query: Mapping[str, str]) -> "partial[list[records.Step]]":
    try:
        stages = [Stage(query["stage"])] if "stage" in query else []
    except ValueError:
        raise BadRequest(f"stage must be one of {', '.join(stage.value for stage in Stage)}") from None
    return partial(records.page, stages=stages, limit=number(query, "limit", LIMIT, 1, LIMIT_MAX))


def _phi(query: Mapping[str, str]) -> bool:
    return query.get("phi") == "1"
