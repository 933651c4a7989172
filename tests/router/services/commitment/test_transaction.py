"""The merge of the archives' words, without time and without I/O."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.services.commitment.options import Require
from router.services.commitment.transaction import (
    COMMITTED,
    ArchiveReport,
    ArchiveReports,
    ArchiveResult,
    FailureReason,
    Policy,
    Quorum,
    Transaction,
    TransactionOutcome,
    add_report,
    decide,
)
from tests.support.commitment_peers import instances

A, B, C = "pacs", "vna", "cloud"
ONE, TWO = instances(2)
YES, NO = ArchiveResult(COMMITTED), ArchiveResult(FailureReason.NO_SUCH_OBJECT_INSTANCE)


def of(*clauses: tuple[tuple[str, ...], int], archives: tuple[str, ...] = (A, B)) -> Transaction:
    policy: Policy = tuple(Quorum(names, at_least) for names, at_least in clauses)
    return Transaction(
        references=(ONE, TWO), policies=(policy, policy), reports={name: ArchiveReports() for name in archives}
    )


def report(archive: str, one: ArchiveResult | None, two: ArchiveResult | None) -> ArchiveReport:
    words = {ONE.sop_instance_uid: one, TWO.sop_instance_uid: two}
    return ArchiveReport(archive=archive, results={uid: word for uid, word in words.items() if word is not None})


def reasons(outcome: TransactionOutcome | None) -> list[int] | None:
    return None if outcome is None else [result.reason for result in outcome.results]


BOTH = ((A, B), 2)
EITHER = ((A, B), 1)


def test_nothing_is_decided_before_anybody_has_spoken() -> None:
    assert decide(of(BOTH), expired=False) is None


def test_silence_is_0110_when_time_is_up() -> None:
    outcome = decide(add_report(of(BOTH), report(A, YES, YES)), expired=True)
    assert reasons(outcome) == [0x0110, 0x0110]
    assert outcome is not None
    assert outcome.event_type == 2


def test_everything_committed_by_all_is_event_1() -> None:
    transaction = add_report(add_report(of(BOTH), report(A, YES, YES)), report(B, YES, YES))
    outcome = decide(transaction, expired=False)
    assert outcome is not None
    assert outcome.event_type == 1
    assert not outcome.failed


def test_who_is_not_needed_any_more_is_not_waited_for() -> None:
    assert reasons(decide(add_report(of(EITHER), report(B, YES, YES)), expired=False)) == [COMMITTED, COMMITTED]


def test_one_instance_that_has_failed_does_not_take_the_word_from_the_others() -> None:
    transaction = add_report(of(BOTH), report(A, NO, YES))
    assert decide(transaction, expired=False) is None
    assert reasons(decide(add_report(transaction, report(B, YES, YES)), expired=False)) == [0x0112, COMMITTED]


def test_what_can_no_longer_be_met_is_decided_at_once() -> None:
    assert reasons(decide(add_report(of(BOTH), report(A, NO, NO)), expired=False)) == [0x0112, 0x0112]


def test_the_last_word_of_an_archive_counts() -> None:
    transaction = add_report(add_report(of(((A,), 1)), report(A, NO, NO)), report(A, YES, NO))
    assert reasons(decide(transaction, expired=False)) == [COMMITTED, 0x0112]


def test_an_archive_that_takes_no_part_has_failed_what_it_has_not_spoken_of() -> None:
    refusal = ArchiveReport(archive=A, refusal=FailureReason.REFERENCED_SOP_CLASS_NOT_SUPPORTED)
    transaction = add_report(add_report(of(((A,), 1)), report(A, YES, None)), refusal)
    assert reasons(decide(transaction, expired=False)) == [COMMITTED, 0x0122]


def test_every_clause_must_be_met() -> None:
    transaction = add_report(
        add_report(of(EITHER, ((C,), 1), archives=(A, B, C)), report(A, YES, YES)), report(C, YES, NO)
    )
    assert reasons(decide(transaction, expired=False)) == [COMMITTED, 0x0112]


def test_what_nobody_is_to_promise_is_never_committed() -> None:
    assert reasons(decide(of(), expired=False)) == [0x0112, 0x0112]


def test_strangers_and_instances_that_were_not_asked_about_change_nothing() -> None:
    transaction = of(BOTH)
    assert add_report(transaction, report(C, YES, YES)) == transaction
    stray = add_report(transaction, ArchiveReport(archive=A, results={"2.25.1": YES}))
    assert stray.reports[A].results == {}


def test_the_retrieve_ae_title_is_that_of_an_archive_that_has_committed() -> None:
    transaction = add_report(of(BOTH), report(A, YES, YES))
    transaction = add_report(transaction, report(B, ArchiveResult(COMMITTED, "VNA"), YES))
    outcome = decide(transaction, expired=False)
    assert outcome is not None
    assert [result.retrieve_ae for result in outcome.results] == ["VNA", ""]


@pytest.mark.parametrize(
    ("require", "expected"),
    [
        (Require(), ((A, B, C), 3)),
        (Require(1), ((A, B, C), 1)),
        (Require(2), ((A, B, C), 2)),
        (Require(None, (B,)), ((B,), 1)),
    ],
)
def test_a_requirement_is_so_many_of_these(require: Require, expected: tuple[tuple[str, ...], int]) -> None:
    assert require.of((A, B, C)) == expected


words = st.sampled_from([YES, NO, None])
policies = st.lists(
    st.lists(st.sampled_from([A, B, C]), min_size=1, max_size=3, unique=True).flatmap(
        lambda names: st.tuples(st.just(tuple(names)), st.integers(1, len(names)))
    ),
    min_size=1,
    max_size=2,
)


@given(policies, st.tuples(words, words, words), st.tuples(words, words, words), st.booleans())
def test_an_instance_is_committed_if_and_only_if_every_clause_has_its_votes(
    clauses: list[tuple[tuple[str, ...], int]],
    one: tuple[ArchiveResult | None, ...],
    two: tuple[ArchiveResult | None, ...],
    expired: bool,
) -> None:
    reports = [report(name, one[n], two[n]) for n, name in enumerate((A, B, C))]
    results = set()
    for order in permutations(reports):
        transaction = of(*clauses, archives=(A, B, C))
        for item in (*order, order[0]):
            transaction = add_report(transaction, item)
        results.add(decide(transaction, expired=expired))
    (outcome,) = results
    said = [dict(zip((A, B, C), row, strict=True)) for row in (one, two)]
    met = [all(sum(row[name] == YES for name in names) >= least for names, least in clauses) for row in said]
    lost = [any(sum(row[name] != NO for name in names) < least for names, least in clauses) for row in said]
    if outcome is None:
        assert not expired
        assert not all(a or b for a, b in zip(met, lost, strict=True))
    else:
        assert [result.reason == COMMITTED for result in outcome.results] == met
        assert outcome.event_type == (1 if all(met) else 2)
