"""One commitment transaction as a value, and the merge of what archives say about it (PS3.4 Annex J). Pure.

An archive's report counts for the instances that it names. Nothing else counts: neither its response to a C-STORE nor
its response to the N-ACTION. The last result of an archive for an instance is the valid one, so that reports may come
in any order, more than once, early or late. `add_report` merges a report; `decide` returns the outcome once it is
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
    """At least so many of these archives, by their peer names, must have committed."""

    archives: tuple[str, ...]
    at_least: int


Policy = tuple[Quorum, ...]
"""All clauses must be met. An instance that has none was promised by nobody, and is never committed."""


@frozen
class ArchiveResult:
    """What one archive said of one instance."""

    reason: int
    """`COMMITTED`, or a Failure Reason."""
    retrieve_ae: str = ""


@frozen(kw_only=True)
class ArchiveReport:
    """One N-EVENT-REPORT of an archive, or what stands for it where it will not give one."""

    archive: str
    results: Mapping[str, ArchiveResult] = field(factory=dict)
    """By SOP Instance UID."""
    refusal: int | None = None
    """It takes no part: the Failure Reason of whatever it has not spoken of."""


@frozen(kw_only=True)
class ArchiveReports:
    """All that one archive has said."""

    results: Mapping[str, ArchiveResult] = field(factory=dict)
    refusal: int | None = None

    def result_of(self, uid: str) -> ArchiveResult | None:
        """None: not heard yet."""
        word = self.results.get(uid)
        return ArchiveResult(self.refusal) if word is None and self.refusal is not None else word


@frozen(kw_only=True)
class Transaction:
    """What was asked, who is to promise it, and what was said so far."""

    references: tuple[Reference, ...]
    policies: tuple[Policy, ...]
    """For each reference, in the same order."""
    reports: Mapping[str, ArchiveReports]
    """By archive, those that have said nothing too."""


@frozen
class InstanceResult:
    """One instance as the modality hears of it."""

    reference: Reference
    reason: int
    """`COMMITTED`, or a Failure Reason."""
    retrieve_ae: str = ""


@frozen
class TransactionOutcome:
    """What the modality is told."""

    results: tuple[InstanceResult, ...]

    @property
    def committed(self) -> tuple[InstanceResult, ...]:
        return tuple(result for result in self.results if result.reason == COMMITTED)

    @property
    def failed(self) -> tuple[InstanceResult, ...]:
        return tuple(result for result in self.results if result.reason != COMMITTED)

    @property
    def event_type(self) -> int:
        """PS3.4 J.3.3.1.1: 1 where everything is committed, else 2."""
        return 2 if self.failed else 1


def add_report(transaction: Transaction, report: ArchiveReport) -> Transaction:
    """The transaction with a report taken in. Words on instances that were not asked about are passed over, and so is
    an archive that was not asked."""
    account = transaction.reports.get(report.archive)
    if account is None:
        return transaction
    asked = {reference.sop_instance_uid for reference in transaction.references}
    heard = {uid: word for uid, word in report.results.items() if uid in asked}
    refusal = account.refusal if report.refusal is None else report.refusal
    merged = ArchiveReports(results={**account.results, **heard}, refusal=refusal)
    return evolve(transaction, reports={**transaction.reports, report.archive: merged})


def decide(transaction: Transaction, *, expired: bool) -> TransactionOutcome | None:
    """What to tell the modality; None while an instance may still go either way and time is left.

    Of an instance whose policy is met, it does not matter what other archives will say; nor of one whose policy can
    no longer be met. Silence is 0110H when time is up.
    """
    results = []
    for reference, policy in zip(transaction.references, transaction.policies, strict=True):
        result = _judge(transaction.reports, reference, policy, expired)
        if result is None:
            return None
        results.append(result)
    return TransactionOutcome(tuple(results))


def _judge(
    accounts: Mapping[str, ArchiveReports], reference: Reference, policy: Policy, expired: bool
) -> InstanceResult | None:
    uid = reference.sop_instance_uid
    named = dict.fromkeys(name for clause in policy for name in clause.archives)
    words = {name: accounts[name].result_of(uid) for name in named}
    if policy and all(_votes(clause, words, COMMITTED) >= clause.at_least for clause in policy):
        promising = (word for word in words.values() if word is not None and word.reason == COMMITTED)
        return InstanceResult(
            reference, COMMITTED, next((word.retrieve_ae for word in promising if word.retrieve_ae), "")
        )
    open_ = all(_votes(clause, words, COMMITTED, None) >= clause.at_least for clause in policy)
    if policy and open_ and not expired:
        return None
    failures = (word.reason for word in words.values() if word is not None and word.reason != COMMITTED)
    default = FailureReason.PROCESSING_FAILURE if policy else FailureReason.NO_SUCH_OBJECT_INSTANCE
    return InstanceResult(reference, next(failures, default))


def _votes(clause: Quorum, words: Mapping[str, ArchiveResult | None], *kinds: int | None) -> int:
    """How many archives of the clause have said, or not said, one of these."""
    said = (words[name] for name in clause.archives)
    return sum((None if word is None else word.reason) in kinds for word in said)
