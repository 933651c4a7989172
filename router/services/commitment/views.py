"""Transactions and the reconciliation report as JSON objects, for the admin API and the command line. Pure.

A row of the report is one instance at one archive: sent, acknowledged, committed. Not here: reading the queue
(router/web/admin/commitment.py).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from attrs import asdict

from router.dimse import describe
from router.model import DeliveryState, Purpose
from router.services.commitment import archive_store, transaction_store
from router.services.commitment.archive_store import ArchiveRequest, DatedResult
from router.services.commitment.stored_transaction import StoredTransaction
from router.services.commitment.transaction import COMMITTED
from router.services.mpps import step_store
from router.spool import InstanceDelivery, QueueRow
from router.state_store import StateTransaction

COLUMNS: Final = (
    "sop_instance_uid",
    "sop_class_uid",
    "calling_ae",
    "received",
    "archive",
    "state",
    "sent",
    "acknowledged",
    "committed",
    "reason",
)
"""The keys of a row of the report. Times are seconds since the epoch, or None."""


def list_transactions(state: StateTransaction, limit: int, before: int) -> dict[str, Any]:
    """Return a page of the answer to /api/commitments: transactions with an id below `before`, the newest first."""
    found = transaction_store.load_page(state, limit, before=before)
    rows = [_summary(one, archive_store.load(state, one.id)) for one in found]
    return {"commitments": rows, "next": found[-1].id if len(found) == limit else None}


def show_transaction(state: StateTransaction, uid: str) -> dict[str, Any] | None:
    """Return the answer to /api/commitments/UID; None if there is no such transaction.

    `uid` is the Transaction UID of the modality, that of a request to an archive, or the id.
    """
    transaction = _find(state, uid)
    if transaction is None:
        return None
    by_archive = _results_by_archive(state, transaction.id)
    return {
        **_summary(transaction, archive_store.load(state, transaction.id)),
        "policies": [[asdict(quorum) for quorum in policy] for policy in transaction.policies],
        "references": [
            {
                "sop_class_uid": sop_class,
                "sop_instance_uid": instance,
                "result": None if reason is None else _reason_as_text(reason),
                "archives": by_archive.get(instance, {}),
            }
            for sop_class, instance, reason in transaction_store.load_results(state, transaction.id)
        ],
    }


def _find(state: StateTransaction, uid: str) -> StoredTransaction | None:
    transaction = transaction_store.load(state, uid=uid)
    if transaction is None and (found := archive_store.find(state, uid)):
        transaction = transaction_store.load_by_id(state, found[0])
    if transaction is None and uid.isascii() and uid.isdigit() and len(uid) < 19:
        transaction = transaction_store.load_by_id(state, int(uid))
    return transaction


def _results_by_archive(state: StateTransaction, number: int) -> Mapping[str, dict[str, dict[str, Any]]]:
    """Return the results of a transaction, by SOP Instance UID and archive."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for one in archive_store.load_results(state, number):
        found.setdefault(one.sop_instance_uid, {})[one.archive] = {
            "reason": one.reason,
            "retrieve_ae": one.retrieve_ae,
            "said": one.reported,
            "word": _reason_as_text(one.reason),
        }
    return found


def _summary(transaction: StoredTransaction, requests: Sequence[ArchiveRequest]) -> dict[str, Any]:
    return {
        "id": transaction.id,
        "transaction_uid": transaction.uid,
        "stage": transaction.stage.name.lower(),
        "calling_ae": transaction.calling_ae,
        "reply_to": transaction.reply_to,
        "received": transaction.received,
        "instances": transaction.count,
        "event_type": transaction.event_type,
        "failed": transaction.failed,
        "decided": transaction.decided,
        "archives": [asdict(request) for request in requests],
    }


def _reason_as_text(reason: int) -> str:
    return "committed" if reason == COMMITTED else describe(reason)


def instances_of_study(state: StateTransaction, study: str) -> list[str]:
    """Return the SOP Instance UIDs of a study that its procedure steps name, each once."""
    named = (one.sop_instance_uid for step in step_store.load_by_study(state, study) for one in step.references())
    return list(dict.fromkeys(named))


def last_results(state: StateTransaction, uids: Iterable[str]) -> dict[tuple[str, str], DatedResult]:
    """Return the last result of each archive for these instances, by SOP Instance UID and archive."""
    found: dict[tuple[str, str], DatedResult] = {}
    for uid in uids:
        numbers = transaction_store.transactions_with(state, uid)
        results = [one for number in numbers for one in archive_store.load_results_of(state, number, uid)]
        found |= {(uid, one.archive): one for one in sorted(results, key=lambda one: one.reported)}
    return found


def report_rows(
    found: Mapping[str, Sequence[InstanceDelivery]], results: Mapping[tuple[str, str], DatedResult]
) -> list[dict[str, Any]]:
    """Return the rows of the report for the deliveries of some instances, in their order."""
    return [_row(uid, one, results.get((uid, one.destination))) for uid, some in found.items() for one in some]


def _as_delivery(row: QueueRow) -> InstanceDelivery:
    return InstanceDelivery(
        message_id=row.message_id,
        destination=row.destination,
        state=row.state,
        reason=row.reason,
        changed=row.changed,
        service=row.service,
        kind=row.kind,
        sop_class_uid=row.sop_class_uid,
        calling_ae=row.calling_ae,
        received=row.received,
    )


def group_by_instance(rows: Iterable[QueueRow]) -> dict[str, list[InstanceDelivery]]:
    """Return the deliveries of instances among rows of the queue, by SOP Instance UID; without retained ones."""
    found: dict[str, list[InstanceDelivery]] = {}
    for row in rows:
        if row.kind == "C-STORE-RQ" and row.purpose is Purpose.SEND:
            found.setdefault(row.sop_instance_uid, []).append(_as_delivery(row))
    return found


def _row(uid: str, one: InstanceDelivery, last: DatedResult | None) -> dict[str, Any]:
    acknowledged = one.changed if one.state is DeliveryState.DELIVERED else None
    committed = last is not None and last.reason == COMMITTED
    refused = _reason_as_text(last.reason) if last is not None and not committed else ""
    return {
        "sop_instance_uid": uid,
        "sop_class_uid": one.sop_class_uid,
        "calling_ae": one.calling_ae,
        "received": one.received,
        "archive": one.destination,
        "state": one.state.value,
        "sent": acknowledged is not None or bool(one.reason),
        "acknowledged": acknowledged,
        "committed": last.reported if last is not None and committed else None,
        "reason": refused or ("" if acknowledged is not None else one.reason),
    }


def totals_by_archive(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Count the instances of each archive, and how many are sent, acknowledged and committed.

    The gap is what is acknowledged and not committed.
    """
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        name = row["archive"]
        counts = found.setdefault(
            name, {"archive": name, "instances": 0, "sent": 0, "acknowledged": 0, "committed": 0, "gap": 0}
        )
        counts["instances"] += 1
        counts["sent"] += bool(row["sent"])
        counts["acknowledged"] += row["acknowledged"] is not None
        counts["committed"] += row["committed"] is not None
        counts["gap"] += row["acknowledged"] is not None and row["committed"] is None
    return [found[name] for name in sorted(found)]
