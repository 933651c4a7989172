"""Commitment transactions and the reconciliation report for people: from the state and the spool to JSON objects.

Two readers of the same: `Commitments` asks a running router, `StoppedCommitments` the files that it has left. A day
comes in pages; what the ledger has forgotten (`spool.history`) is not in it.
"""

import re
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from router.services.commitment import views
from router.spool import QueueRow, ReadOnlySpool, Selection, Spool
from router.state_file import look_into
from router.state_store import StateStore
from router.web.admin.requests import ID_MAX, LIMIT, LIMIT_MAX, BadRequest, number

_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


class NoSuchCommitment(Exception):
    """The router remembers no such transaction."""

    def __init__(self, uid: str) -> None:
        super().__init__(f"there is no commitment transaction {uid}")


class Commitments:
    """Of a running router."""

    def __init__(self, state: StateStore, spool: Spool) -> None:
        self._state = state
        self._spool = spool

    async def list(self, query: Mapping[str, str]) -> dict[str, Any]:
        return await self._state.read(_page(query))

    async def show(self, uid: str) -> dict[str, Any]:
        """Raises NoSuchCommitment."""
        found = await self._state.read(partial(views.show_transaction, uid=uid))
        if found is None:
            raise NoSuchCommitment(uid)
        return found

    async def report(self, query: Mapping[str, str]) -> dict[str, Any]:
        if study := query.get("study"):
            uids = await self._state.read(partial(views.instances_of_study, study=study))
            found = await self._spool.instances(uids)
            rows: list[QueueRow] = []
        else:
            after, limit = _after(query), _limit(query)
            rows = await self._spool.queue(_of_day(query), after=after, limit=limit)
            found = views.group_by_instance(rows)
        promised = await self._state.read(partial(views.last_results, uids=list(found)))
        return {"rows": views.report_rows(found, promised), "next": _next(rows, query)}


class StoppedCommitments:
    """Of a router that does not run."""

    def __init__(self, folder: Path, spool: ReadOnlySpool) -> None:
        self._folder = folder
        self._spool = spool

    def list(self, query: Mapping[str, str]) -> dict[str, Any]:
        with look_into(self._folder) as connection:
            return _page(query)(connection)

    def show(self, uid: str) -> dict[str, Any]:
        """Raises NoSuchCommitment."""
        with look_into(self._folder) as connection:
            found = views.show_transaction(connection, uid)
        if found is None:
            raise NoSuchCommitment(uid)
        return found

    def report(self, query: Mapping[str, str]) -> dict[str, Any]:
        with look_into(self._folder) as connection:
            rows: list[QueueRow] = []
            if study := query.get("study"):
                found = self._spool.instances(views.instances_of_study(connection, study))
            else:
                rows = self._spool.queue(_of_day(query), _after(query), _limit(query))
                found = dict(views.group_by_instance(rows))
            promised = views.last_results(connection, found)
        return {"rows": views.report_rows(found, promised), "next": _next(rows, query)}


def _page(query: Mapping[str, str]) -> "partial[dict[str, Any]]":
    before = number(query, "before", ID_MAX, 0, ID_MAX)
    return partial(views.list_transactions, limit=_limit(query), before=before)


def _limit(query: Mapping[str, str]) -> int:
    return number(query, "limit", LIMIT, 1, LIMIT_MAX)


def _after(query: Mapping[str, str]) -> int:
    return number(query, "after", 0, 0, ID_MAX)


def _next(rows: "list[QueueRow]", query: Mapping[str, str]) -> int | None:
    return rows[-1].message_id if len(rows) >= _limit(query) else None


def _of_day(query: Mapping[str, str]) -> Selection:
    """What was received on a day, as the people here count it; today unless told."""
    day = query.get("day") or time.strftime("%Y-%m-%d")
    try:
        if not _DAY.fullmatch(day):
            raise ValueError(day)
        begin = time.strptime(day, "%Y-%m-%d")
        first = time.mktime(begin)
        last = time.mktime((begin.tm_year, begin.tm_mon, begin.tm_mday + 1, 0, 0, 0, 0, 0, -1))
    except (ValueError, OverflowError):
        raise BadRequest("day must be written YYYY-MM-DD") from None
    return Selection(service="storage", received_from=first, received_before=last)
