"""The state machine of a step, judged without a router: what may happen to it, and what may not."""

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from router.dicom.dataset import DataSet, text
from router.dimse import Status
from router.services.mpps import attributes
from router.services.mpps.attributes import InstanceReference, StepStatus, of_schedule, references
from router.services.mpps.state_machine import (
    Accepted,
    Refused,
    Repeated,
    StepState,
    ValidationRules,
    decide_create,
    decide_set,
    fingerprint,
)
from tests.support.mpps_messages import CT, SERIES, STUDY, completed, in_progress, progress, tree

LENIENT, STRICT = ValidationRules(), ValidationRules(strict=True)


def held(stage: StepStatus = StepStatus.IN_PROGRESS, *, updated_by: bytes = b"") -> StepState:
    data_set = tree(in_progress())
    return StepState(status=stage, created_by=fingerprint(data_set), updated_by=updated_by, data_set=lambda: data_set)


def with_status(status: str) -> DataSet:
    step = Dataset()
    step.PerformedProcedureStepStatus = status
    return tree(step)


@pytest.mark.parametrize("rules", [LENIENT, STRICT])
def test_a_step_begins_in_progress(rules: ValidationRules) -> None:
    verdict = decide_create(None, tree(in_progress()), rules)
    assert isinstance(verdict, Accepted)
    assert verdict.step_status is StepStatus.IN_PROGRESS
    assert verdict.complaints == ()


@pytest.mark.parametrize("status", ["COMPLETED", "DISCONTINUED", "", "in progress", "SCHEDULED"])
def test_a_step_begins_in_no_other_state(status: str) -> None:
    step = in_progress()
    step.PerformedProcedureStepStatus = status
    verdict = decide_create(None, tree(step), LENIENT)
    assert isinstance(verdict, Refused)
    assert verdict.status is Status.INVALID_ATTRIBUTE_VALUE
    assert text(verdict.attributes, attributes.STATUS) == status


def test_a_step_without_a_state_is_none() -> None:
    step = in_progress()
    del step.PerformedProcedureStepStatus
    assert isinstance(decide_create(None, tree(step), LENIENT), Refused)


@pytest.mark.parametrize("stage", StepStatus)
@pytest.mark.parametrize("change", ["COMPLETED", "DISCONTINUED", "IN PROGRESS"])
def test_nothing_changes_after_the_end(stage: StepStatus, change: str) -> None:
    verdict = decide_set(held(stage), with_status(change), LENIENT)
    if stage.is_final:
        assert isinstance(verdict, Refused)
        assert (verdict.status, verdict.error_id) == (Status.PROCESSING_FAILURE, 0xA710)
    else:
        assert isinstance(verdict, Accepted)
        assert verdict.step_status.value == change


def test_an_unknown_step_cannot_change() -> None:
    verdict = decide_set(None, with_status("COMPLETED"), LENIENT)
    assert isinstance(verdict, Refused)
    assert verdict.status is Status.NO_SUCH_SOP_INSTANCE


def test_a_change_to_no_state_is_refused() -> None:
    verdict = decide_set(held(), with_status("DONE"), LENIENT)
    assert isinstance(verdict, Refused)
    assert verdict.status is Status.INVALID_ATTRIBUTE_VALUE


def test_the_same_n_create_is_known_until_the_step_goes_on() -> None:
    data_set = tree(in_progress())
    assert decide_create(held(), data_set, LENIENT) == Repeated()
    for later in (held(updated_by=b"x"), held(StepStatus.COMPLETED, updated_by=b"x")):
        verdict = decide_create(later, data_set, LENIENT)
        assert isinstance(verdict, Refused)
        assert verdict.status is Status.DUPLICATE_SOP_INSTANCE


def test_the_same_last_n_set_is_known_after_the_end() -> None:
    data_set = tree(completed())
    step = held(StepStatus.COMPLETED, updated_by=fingerprint(data_set))
    assert decide_set(step, data_set, LENIENT) == Repeated()
    assert isinstance(decide_set(step, tree(completed(["1.2.3.9"])), LENIENT), Refused)
    assert isinstance(decide_set(step, data_set, ValidationRules(retransmissions=False)), Refused)


def test_what_an_n_set_says_is_laid_over_what_the_n_create_said() -> None:
    verdict = decide_set(held(), tree(progress("head")), LENIENT)
    assert isinstance(verdict, Accepted)
    assert text(verdict.data_set, 0x00400254) == "head"
    assert text(verdict.data_set, attributes.MODALITY) == "CT"
    assert text(verdict.data_set, attributes.STATUS) == "IN PROGRESS"


def test_what_only_an_n_create_may_say_is_not_kept_from_an_n_set() -> None:
    update = progress("head")
    update.PatientID, update.Modality = "OTHER", "MR"
    verdict = decide_set(held(), tree(update), LENIENT)
    assert isinstance(verdict, Accepted)
    assert text(verdict.data_set, attributes.PATIENT_ID) == "P1"
    assert text(verdict.data_set, attributes.MODALITY) == "CT"
    assert len(verdict.complaints) == 2
    assert "OTHER" not in "".join(verdict.complaints)


@pytest.mark.parametrize("missing", ["PerformedProcedureStepEndDate", "PerformedSeriesSequence"])
def test_a_step_ends_with_its_end_and_its_series(missing: str) -> None:
    last = completed()
    delattr(last, missing)
    strict, lenient = (decide_set(held(), tree(last), rules) for rules in (STRICT, LENIENT))
    assert isinstance(strict, Refused)
    assert strict.status is Status.MISSING_ATTRIBUTE_VALUE
    assert missing in strict.reason
    assert isinstance(lenient, Accepted)
    assert missing in lenient.complaints[0]


def test_a_complete_step_ends_strictly() -> None:
    verdict = decide_set(held(), tree(completed()), STRICT)
    assert isinstance(verdict, Accepted)
    assert verdict.complaints == ()


@pytest.mark.parametrize("keyword", ["Modality", "PerformedStationAETitle", "PerformedProcedureStepID"])
def test_an_n_create_has_what_the_standard_requires(keyword: str) -> None:
    without, empty = in_progress(), in_progress()
    delattr(without, keyword)
    setattr(empty, keyword, "")
    verdicts = [decide_create(None, tree(step), STRICT) for step in (without, empty)]
    assert [verdict.status for verdict in verdicts if isinstance(verdict, Refused)] == [
        Status.MISSING_ATTRIBUTE,
        Status.MISSING_ATTRIBUTE_VALUE,
    ]


def test_the_study_of_the_scheduled_step_is_required() -> None:
    step = in_progress()
    del step.ScheduledStepAttributesSequence[0].StudyInstanceUID
    verdict = decide_create(None, tree(step), STRICT)
    assert isinstance(verdict, Refused)
    assert verdict.elements == (attributes.SCHEDULED_STEP_ATTRIBUTES,)


def test_what_a_step_has_produced_is_found_once_each() -> None:
    last = completed(["1.2.3.1", "1.2.3.2", "1.2.3.1"])
    assert references(tree(last)) == [
        InstanceReference(SERIES, CT, "1.2.3.1"),
        InstanceReference(SERIES, CT, "1.2.3.2"),
    ]
    assert of_schedule(tree(in_progress()), attributes.STUDY_INSTANCE_UID) == STUDY


STATUSES = st.sampled_from(["IN PROGRESS", "COMPLETED", "DISCONTINUED", "NONSENSE"])


@given(st.lists(st.tuples(st.booleans(), STATUSES)))
def test_whatever_comes_a_step_ends_once_and_stays_so(messages: list[tuple[bool, str]]) -> None:
    step: StepState | None = None
    ended: StepStatus | None = None
    for number, (creates, status) in enumerate(messages):
        data_set = in_progress(str(number)) if creates else progress(str(number))
        data_set.PerformedProcedureStepStatus = status
        said = tree(data_set)
        verdict = (decide_create if creates else decide_set)(step, said, ValidationRules())
        if isinstance(verdict, Accepted):
            assert ended is None
            assert creates == (step is None)
            step = StepState(
                status=verdict.step_status,
                created_by=step.created_by if step else fingerprint(said),
                updated_by=b"" if creates else fingerprint(said),
                data_set=partial(dict, verdict.data_set),
            )
            ended = verdict.step_status if verdict.step_status.is_final else None
            assert text(step.data_set(), attributes.STATUS) == verdict.step_status.value
