"""The resources of storage commitment: transactions, and the reconciliation report.

A day of the report comes in pages; it lacks what the ledger has forgotten (`spool.history`).
"""

import re
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from router.services.commitment import views
from router.spool import InstanceDelivery, QueueRow, Selection
from router.web.admin.backend import Backend, Resource
from router.web.admin.requests import ID_MAX, BadRequest, NotFound, Query

_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


async def _list(backend: Backend, query: Query) -> dict[str, Any]:
    before = query.number("before", ID_MAX, 0, ID_MAX)
    return await backend.read(partial(views.list_transactions, limit=query.limit, before=before))


async def _show(backend: Backend, query: Query) -> dict[str, Any]:
    found = await backend.read(partial(views.show_transaction, uid=query.item))
    if found is None:
        raise NotFound(f"there is no commitment transaction {query.item}")
    return found


async def _report(backend: Backend, query: Query) -> dict[str, Any]:
    rows: Sequence[QueueRow] = ()
    found: Mapping[str, Sequence[InstanceDelivery]]
    if study := query.get("study"):
        found = await backend.instances(await backend.read(partial(views.instances_of_study, study=study)))
    else:
        rows = await backend.queue(_received_on(query), after=query.after, limit=query.limit)
        found = views.group_by_instance(rows)
    promised = await backend.read(partial(views.last_results, uids=list(found)))
    more = len(rows) >= query.limit
    return {"rows": views.report_rows(found, promised), "next": rows[-1].message_id if more else None}


def _received_on(query: Query) -> Selection:
    """Return the selection of what was received on `day`, in local time; without one, today."""
    day = query.get("day") or time.strftime("%Y-%m-%d")
    try:
        if not _DAY.fullmatch(day):
            raise ValueError(day)
        begin = time.strptime(day, "%Y-%m-%d")
        first = time.mktime(begin)
        last = time.mktime((begin.tm_year, begin.tm_mon, begin.tm_mday + 1, 0, 0, 0, 0, 0, -1))
    except (ValueError, OverflowError):
        raise BadRequest(f"invalid day {day!r}: expected YYYY-MM-DD") from None
    return Selection(service="storage", received_from=first, received_before=last)


COMMITMENTS: Final = Resource(path="/api/commitments", read=_list)
COMMITMENT_REPORT: Final = Resource(path="/api/commitments/report", read=_report)
COMMITMENT: Final = Resource(path="/api/commitments/{item}", read=_show)
