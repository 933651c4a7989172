"""Which archive is asked for which instance, by which operation, in which presentation contexts."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from router.dicom.information_models import IMAGE, SERIES
from router.services.retrieve.plan import (
    COMMON_SYNTAXES,
    MOST_STORAGE_CONTEXTS,
    MOST_UIDS,
    Batch,
    Instance,
    Operation,
    Sources,
    Way,
    batches,
)

BOTH = (Operation.GET, Operation.MOVE)


def instance(number: int, *, series: str = "2.1", sop_class: str = "1.2.3", syntaxes: tuple[str, ...] = ()) -> Instance:
    return Instance(uid=f"1.{number}", study="2", series=series, sop_class=sop_class, transfer_syntaxes=syntaxes)


INSTANCES = st.lists(
    st.builds(
        instance,
        st.integers(0, 10_000),
        series=st.sampled_from(["2.1", "2.2", "2.3"]),
        sop_class=st.integers(1, 60).map("1.2.{}".format),
        syntaxes=st.lists(st.integers(1, 40).map("1.9.{}".format), max_size=20, unique=True).map(tuple),
    ),
    max_size=100,
    unique_by=lambda one: one.uid,
)


@given(INSTANCES)
def test_every_instance_is_asked_for_once_on_an_association_that_has_its_contexts(wanted: list[Instance]) -> None:
    sizes = Counter(one.series for one in wanted)
    planned = batches(wanted, sizes, Operation.GET)
    assert Counter(asked(planned)) == Counter(one.uid for one in wanted)
    for batch in planned:
        assert len(set(batch.contexts)) == len(batch.contexts) <= MOST_STORAGE_CONTEXTS
        for part in batch.parts:
            assert len({(one.study, one.series) for one in part.instances}) == 1
            assert all(one.contexts <= set(batch.contexts) for one in part.instances)


def test_two_hundred_pairs_are_split_over_associations() -> None:
    wanted = [instance(number, sop_class=f"1.2.{number // 10}", syntaxes=(f"1.9.{number}",)) for number in range(200)]
    planned = batches(wanted, {"2.1": 200}, Operation.GET)
    assert [len(batch.contexts) for batch in planned] == [127, 73]
    assert {part.level for batch in planned for part in batch.parts} == {IMAGE}


def test_a_series_that_is_wanted_as_a_whole_is_asked_for_as_a_whole() -> None:
    (batch,) = batches([instance(1), instance(2)], {"2.1": 2}, Operation.MOVE)
    assert [part.level for part in batch.parts] == [SERIES]
    (batch,) = batches([instance(1), instance(2)], {"2.1": 3}, Operation.MOVE)
    assert [part.level for part in batch.parts] == [IMAGE]


def test_an_identifier_never_has_more_uids_than_a_value_can_hold() -> None:
    wanted = [instance(number) for number in range(MOST_UIDS + 1)]
    (batch,) = batches(wanted, {}, Operation.MOVE)
    assert [len(part.instances) for part in batch.parts] == [MOST_UIDS, 1]


def test_an_instance_of_unknown_transfer_syntax_may_come_in_any_common_one() -> None:
    assert instance(1).contexts == {("1.2.3", syntax) for syntax in COMMON_SYNTAXES}


def test_what_one_way_does_not_bring_is_asked_for_by_the_next_one() -> None:
    sources = Sources({"a": [instance(1), instance(2)], "b": [instance(2)]}, {"a": BOTH, "b": BOTH})
    assert ways(sources, "1.1", "1.2") == {Way("a", Operation.GET): ["1.1", "1.2"]}
    sources.strike(Way("a", Operation.GET), ["1.2"])
    assert ways(sources, "1.1", "1.2") == {Way("a", Operation.GET): ["1.1"], Way("a", Operation.MOVE): ["1.2"]}
    sources.is_lost("a")
    assert ways(sources, "1.1", "1.2") == {Way("b", Operation.GET): ["1.2"]}
    sources.is_closed(Way("b", Operation.GET))
    sources.strike(Way("b", Operation.MOVE), ["1.2"])
    assert ways(sources, "1.1", "1.2") == {}


def test_an_instance_without_a_known_sop_class_is_not_asked_for_by_a_get() -> None:
    sources = Sources({"a": [instance(1, sop_class="")]}, {"a": BOTH})
    assert ways(sources, "1.1") == {Way("a", Operation.MOVE): ["1.1"]}


def asked(planned: list[Batch]) -> list[str]:
    return [one.uid for batch in planned for part in batch.parts for one in part.instances]


def ways(sources: Sources, *wanted: str) -> dict[Way, list[str]]:
    return {way: [one.uid for one in instances] for way, instances in sources.next(wanted).items()}
