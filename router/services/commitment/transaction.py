"""One commitment transaction as a value, and the merge of the archives' reports on it (PS3.4 J). Pure.

A report of an archive counts for the instances that it names. Nothing else counts: neither the archive's response to a
C-STORE nor that to the N-ACTION. The last result of an archive for an instance is the valid one, so that reports may
come in any order, more than once, early or late. `add_report` merges a report; `decide` returns the outcome once it is
known. Not here: time, which the caller compares; data sets (attributes.py); the database (transaction_store.py).
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import Final

from attrs import evolve, field, frozen

COMMITTED: Final = 0


class FailureReason(IntEnum):
    """Failure Reason (0008,1197), PS3.3 C.14.1.1."""

    PROCESSING_FAILURE = 0x0110
    NO_SUCH_OBJECT_INSTANCE = 0x0112
    CLASS_INSTANCE_CONFLICT = 0x0119
    REFERENCED_SOP_CLASS_NOT_SUPPORTED = 0x0122
    DUPLICATE_TRANSACTION_UID = 0x0131
    RESOURCE_LIMITATION = 0x0213


@frozen
class Reference:
    """One item of a Referenced SOP Sequence."""

    sop_class_uid: str
    sop_instance_uid: str


@frozen
class Quorum:
    """The archives of which at least a number must commit."""

    archives: tuple[str, ...]
    """Names of peers."""
    at_least: int


Policy = tuple[Quorum, ...]
"""Every quorum must be met for an instance to be committed. Without a quorum, the instance is never committed."""


@frozen
class ArchiveResult:
    """What one archive reported of one instance."""

    reason: int
    """`COMMITTED`, or a Failure Reason."""
    retrieve_ae: str = ""
    """Retrieve AE Title; "" if the archive named none."""


@frozen(kw_only=True)
class ArchiveReport:
    """One N-EVENT-REPORT of an archive, or the failure of the N-ACTION to it."""

    archive: str
    results: Mapping[str, ArchiveResult] = field(factory=dict)
    """By SOP Instance UID."""
    refusal: int | None = None
    """The Failure Reason of all instances that it has no result for, because it refused the N-ACTION."""


@frozen(kw_only=True)
class ArchiveReports:
    """All reports of one archive, merged."""

    results: Mapping[str, ArchiveResult] = field(factory=dict)
    refusal: int | None = None

    def result_of(self, uid: str) -> ArchiveResult | None:
        """Return the result of an instance; None while there is none."""
        result = self.results.get(uid)
        return ArchiveResult(self.refusal) if result is None and self.refusal is not None else result


@frozen(kw_only=True)
class Transaction:
    """The instances of a transaction, their policies, and the reports so far."""

    references: tuple[Reference, ...]
    policies: tuple[Policy, ...]
    """For each reference, in the same order."""
    reports: Mapping[str, ArchiveReports]
    """By archive; also for those that have not reported."""


@frozen
class InstanceResult:
    """The result of one instance for the modality."""

    reference: Reference
    reason: int
    """`COMMITTED`, or a Failure Reason."""
    retrieve_ae: str = ""
    """Retrieve AE Title; "" if it is not known."""


@frozen
class TransactionOutcome:
    """The results of all instances for the modality."""

    results: tuple[InstanceResult, ...]

    @property
    def committed(self) -> tuple[InstanceResult, ...]:
        return tuple(result for result in self.results if result.reason == COMMITTED)

    @property
    def failed(self) -> tuple[InstanceResult, ...]:
        return tuple(result for result in self.results if result.reason != COMMITTED)

    @property
    def event_type(self) -> int:
        """Event Type ID: 1 if every instance is committed, else 2 (PS3.4 J.3.3.1.1)."""
        return 2 if self.failed else 1


def add_report(transaction: Transaction, report: ArchiveReport) -> Transaction:
    """Return the transaction with a report merged.

    Results of instances that were not requested are ignored, and so is an archive that was not asked.
    """
    earlier = transaction.reports.get(report.archive)
    if earlier is None:
        return transaction
    requested = {reference.sop_instance_uid for reference in transaction.references}
    results = {uid: result for uid, result in report.results.items() if uid in requested}
    refusal = earlier.refusal if report.refusal is None else report.refusal
    merged = ArchiveReports(results={**earlier.results, **results}, refusal=refusal)
    return evolve(transaction, reports={**transaction.reports, report.archive: merged})


def decide(transaction: Transaction, *, expired: bool) -> TransactionOutcome | None:
    """Return the outcome for the modality; None while an instance is undecided and the deadline has not `expired`.

    An instance is decided as soon as its policy is met or can no longer be met, whatever other archives report later.
    After the deadline, an instance without a result has failed with 0110H.
    """
    results = []
    for reference, policy in zip(transaction.references, transaction.policies, strict=True):
        result = _decide_instance(transaction.reports, reference, policy, expired)
        if result is None:
            return None
        results.append(result)
    return TransactionOutcome(tuple(results))


def _decide_instance(
    reports: Mapping[str, ArchiveReports], reference: Reference, policy: Policy, expired: bool
) -> InstanceResult | None:
    archives = dict.fromkeys(name for quorum in policy for name in quorum.archives)
    results = {name: reports[name].result_of(reference.sop_instance_uid) for name in archives}
    if policy and all(_count(quorum, results, COMMITTED) >= quorum.at_least for quorum in policy):
        titles = (one.retrieve_ae for one in results.values() if one is not None and one.reason == COMMITTED)
        return InstanceResult(reference, COMMITTED, next(filter(None, titles), ""))
    can_be_met = all(_count(quorum, results, COMMITTED, None) >= quorum.at_least for quorum in policy)
    if policy and can_be_met and not expired:
        return None
    failures = (one.reason for one in results.values() if one is not None and one.reason != COMMITTED)
    default = FailureReason.PROCESSING_FAILURE if policy else FailureReason.NO_SUCH_OBJECT_INSTANCE
    return InstanceResult(reference, next(failures, default))


def _count(quorum: Quorum, results: Mapping[str, ArchiveResult | None], *reasons: int | None) -> int:
    """Count the archives of a quorum whose result has one of these reasons; None stands for no result."""
    found = (results[name] for name in quorum.archives)
    return sum((None if one is None else one.reason) in reasons for one in found)
