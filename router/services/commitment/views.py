"""Transactions and the reconciliation report as people and machines see them: plain dictionaries. Pure.

A row of the report is one instance at one archive: sent, acknowledged, committed. Not here: where it is read from
(`router.web.admin.commitment`).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from attrs import asdict

from router.dimse import describe
from router.model import DeliveryState, Purpose
from router.services.commitment import transaction_store
from router.services.commitment.transaction import COMMITTED
from router.services.commitment.transaction_store import ArchiveRequest, StoredTransaction
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


def list_transactions(connection: StateTransaction, limit: int, before: int) -> dict[str, Any]:
    """A page, the newest first."""
    found = transaction_store.load_page(connection, limit, before=before)
    rows = [_summary(one, transaction_store.load_archive_requests(connection, one.id)) for one in found]
    return {"commitments": rows, "next": found[-1].id if len(found) == limit else None}


def show_transaction(connection: StateTransaction, uid: str) -> dict[str, Any] | None:
    """One transaction whole, by the modality's Transaction UID, by the number, or by one that we asked under."""
    commitment = transaction_store.load(connection, uid=uid)
    if commitment is None and (whose := transaction_store.find_archive_request(connection, uid)):
        commitment = transaction_store.load_by_id(connection, whose[0])
    if commitment is None and uid.isascii() and uid.isdigit() and len(uid) < 19:
        commitment = transaction_store.load_by_id(connection, int(uid))
    if commitment is None:
        return None
    said = _said(connection, commitment.id)
    results = _results(connection, commitment.id)
    return {
        **_summary(commitment, transaction_store.load_archive_requests(connection, commitment.id)),
        "policies": [[asdict(clause) for clause in policy] for policy in commitment.policies],
        "references": [
            {
                "sop_class_uid": sop_class,
                "sop_instance_uid": uid,
                "result": None if reason is None else _word(reason),
                "archives": {name: {**word, "word": _word(word["reason"])} for name, word in said.get(uid, {}).items()},
            }
            for sop_class, uid, reason in results
        ],
    }


def _results(connection: StateTransaction, number: int) -> list[tuple[str, str, int | None]]:
    """SOP class, SOP instance, and what the modality is told of it, once that is decided."""
    return connection.execute(
        "SELECT sop_class_uid, sop_instance_uid, reason FROM commitment_references WHERE commitment = ?"
        " ORDER BY position",
        (number,),
    ).fetchall()


def _said(connection: StateTransaction, number: int) -> Mapping[str, dict[str, dict[str, Any]]]:
    """By SOP Instance UID and archive: its word, and when it was said. For people."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for archive, uid, reason, retrieve_ae, when in connection.execute(
        "SELECT archive, sop_instance_uid, reason, retrieve_ae, said FROM commitment_words WHERE commitment = ?",
        (number,),
    ):
        found.setdefault(uid, {})[archive] = {"reason": reason, "retrieve_ae": retrieve_ae, "said": when}
    return found


def _summary(commitment: StoredTransaction, inquiries: Sequence[ArchiveRequest]) -> dict[str, Any]:
    return {
        "id": commitment.id,
        "transaction_uid": commitment.uid,
        "stage": commitment.stage.name.lower(),
        "calling_ae": commitment.calling_ae,
        "reply_to": commitment.reply_to,
        "received": commitment.received,
        "instances": commitment.count,
        "event_type": commitment.event_type,
        "failed": commitment.failed,
        "decided": commitment.decided,
        "archives": [asdict(inquiry) for inquiry in inquiries],
    }


def _word(reason: int) -> str:
    return "committed" if reason == COMMITTED else describe(reason)


def instances_of_study(connection: StateTransaction, study: str) -> list[str]:
    """The instances of a study, as far as the procedure steps of modalities have named them."""
    named = (one.sop_instance_uid for step in step_store.load_by_study(connection, study) for one in step.references())
    return list(dict.fromkeys(named))


def last_results(connection: StateTransaction, uids: Iterable[str]) -> dict[tuple[str, str], tuple[int, float]]:
    """By SOP Instance UID and archive: its last word, and when it was said."""
    found: dict[tuple[str, str], tuple[int, float]] = {}
    for uid in uids:
        for archive, reason, said in connection.execute(
            "SELECT w.archive, w.reason, w.said FROM commitment_references r JOIN commitment_words w"
            " ON w.commitment = r.commitment AND w.sop_instance_uid = r.sop_instance_uid"
            " WHERE r.sop_instance_uid = ? ORDER BY w.said",
            (uid,),
        ):
            found[uid, archive] = reason, said
    return found


def report_rows(
    found: Mapping[str, Sequence[InstanceDelivery]], promised: Mapping[tuple[str, str], tuple[int, float]]
) -> list[dict[str, Any]]:
    """Of some instances, in their order."""
    return [_row(uid, one, promised.get((uid, one.destination))) for uid, ways in found.items() for one in ways]


def as_delivery(row: QueueRow) -> InstanceDelivery:
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
    """A page of the queue, without what is only retained."""
    found: dict[str, list[InstanceDelivery]] = {}
    for row in rows:
        if row.kind == "C-STORE-RQ" and row.purpose is Purpose.SEND:
            found.setdefault(row.sop_instance_uid, []).append(as_delivery(row))
    return found


def _row(uid: str, one: InstanceDelivery, promised: tuple[int, float] | None) -> dict[str, Any]:
    acknowledged = one.changed if one.state is DeliveryState.DELIVERED else None
    kept = promised is not None and promised[0] == COMMITTED
    refused = _word(promised[0]) if promised is not None and not kept else ""
    return {
        "sop_instance_uid": uid,
        "sop_class_uid": one.sop_class_uid,
        "calling_ae": one.calling_ae,
        "received": one.received,
        "archive": one.destination,
        "state": one.state.value,
        "sent": acknowledged is not None or bool(one.reason),
        "acknowledged": acknowledged,
        "committed": promised[1] if promised is not None and kept else None,
        "reason": refused or ("" if acknowledged is not None else one.reason),
    }


def totals_by_archive(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """By archive: how many instances, and how far they are. The gap is what is acknowledged and not committed."""
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
