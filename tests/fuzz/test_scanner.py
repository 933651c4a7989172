"""The scanner's properties, for long: whatever the bytes, an answer or `MalformedDataSet`."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from tests.router.dicom.oracle import SYNTAXES, attempt, check_against_pydicom, damaged, data_sets, encode, read
from tests.support.objects import Instance, files_named_by_meta_only, stored_files

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(1800)]

AT_LENGTH = settings(
    max_examples=5_000, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@given(data=st.binary(max_size=4096), transfer_syntax=st.sampled_from(SYNTAXES))
@AT_LENGTH
def test_any_bytes(data: bytes, transfer_syntax: str) -> None:
    attempt(data, transfer_syntax)


@given(data_set=data_sets(), draw=st.data())
@AT_LENGTH
def test_any_damage_to_made_data_sets(data_set: Dataset, draw: st.DataObject) -> None:
    transfer_syntax = draw.draw(st.sampled_from(SYNTAXES))
    attempt(draw.draw(damaged(encode(data_set, transfer_syntax))), transfer_syntax)


@given(instance=st.sampled_from(stored_files() + files_named_by_meta_only()), draw=st.data())
@AT_LENGTH
def test_any_damage_to_real_data_sets(instance: Instance, draw: st.DataObject) -> None:
    """In their first 4 KiB, where the elements that are asked for stand."""
    head, rest = instance.data[:4096], instance.data[4096:]
    attempt(draw.draw(damaged(head)) + rest, instance.transfer_syntax)


@given(data_set=data_sets(depth=3), transfer_syntax=st.sampled_from(SYNTAXES))
@AT_LENGTH
def test_every_element_of_deeper_data_sets_is_what_pydicom_says(data_set: Dataset, transfer_syntax: str) -> None:
    data = encode(data_set, transfer_syntax)
    wanted = frozenset(int(tag) for tag, _ in data_set.items())
    check_against_pydicom(data, transfer_syntax, read(data, transfer_syntax), wanted)
