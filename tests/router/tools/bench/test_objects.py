"""Objects made once and sent under many UIDs: what changes in them, and what does not."""

import io
from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from router.config import quantities
from router.tools.bench import (
    SMALLEST,
    BenchError,
    InstanceUIDs,
    Mixture,
    Template,
    ct_template,
    file_template,
    read_mixture,
)
from router.tools.bench.objects import PIECE
from router.tools.send import examine
from tests.support.objects import ct


def whole(template: Template) -> bytes:
    """All of the data set, piece by piece."""
    return b"".join(
        bytes(template.content.piece(at, min(PIECE, template.length - at))) for at in range(0, template.length, PIECE)
    )


@given(st.integers(0, 10**9), st.integers(28, 64))
def test_a_uid_is_a_uid_of_the_length_asked_for_and_tells_its_number(number: int, length: int) -> None:
    uids = InstanceUIDs()
    uid = uids.uid(number, length)
    assert len(uid) == length
    assert UID(uid).is_valid
    assert uids.number(uid) == number


def test_the_uids_of_another_run_have_no_number() -> None:
    assert InstanceUIDs().number(InstanceUIDs().uid(5)) is None
    assert InstanceUIDs().number("1.2.3") is None
    assert InstanceUIDs().number("2.25." + "7" * 39) is None


@pytest.mark.parametrize("length", [0, 27, 65])
def test_a_uid_with_no_room_for_a_number_is_refused(length: int) -> None:
    with pytest.raises(BenchError):
        InstanceUIDs().uid(0, length)


@pytest.mark.parametrize("size", [SMALLEST, 12_000, 525_000, 3_000_001])
def test_a_made_object_is_a_ct_image_of_very_nearly_the_size(size: int) -> None:
    template = ct_template(size)
    data = whole(template)
    assert template.length == len(data)
    assert abs(template.length - size) <= max(64, size // 1000)
    read = pydicom.dcmread(io.BytesIO(bytes(128) + b"DICM" + data), force=True)
    assert read.SOPClassUID == CTImageStorage == template.sop_class_uid
    assert data[template.uid_at :][: template.uid_length].decode() == read.SOPInstanceUID
    assert len(read.PixelData) == 2 * read.Rows * read.Columns


def test_a_made_object_of_two_gigabytes_shares_its_noise_with_a_small_one() -> None:
    large, small = ct_template(2 << 30), ct_template(12_000)
    assert large.length == pytest.approx(2 << 30, rel=1e-3)
    behind = large.content.piece(large.length - 100, 100)
    assert len(behind) == 100
    assert behind.obj is small.content.piece(small.length - 100, 100).obj


@pytest.mark.parametrize("size", [10, 5 << 30])
def test_an_impossible_size_is_refused(size: int) -> None:
    with pytest.raises(BenchError):
        ct_template(size)


@pytest.mark.parametrize("transfer_syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_a_file_is_sent_as_it_stands_but_for_its_uid(transfer_syntax: str, tmp_path: Path) -> None:
    instance = ct(transfer_syntax=transfer_syntax)
    template = from_file(instance.write(tmp_path))
    data = whole(template)
    assert data == instance.data
    assert data[template.uid_at :][: template.uid_length].decode() == instance.sop_instance_uid
    assert template.syntaxes == (CTImageStorage, transfer_syntax)


def test_a_file_whose_uid_cannot_be_replaced_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="not found"):
        from_file(ct(transfer_syntax=DeflatedExplicitVRLittleEndian).write(tmp_path))


def from_file(path: Path) -> Template:
    instance = examine(path)
    return file_template(
        path,
        offset=instance.offset,
        sop_class_uid=instance.sop_class_uid,
        sop_instance_uid=instance.sop_instance_uid,
        transfer_syntax=instance.transfer_syntax,
    )


def test_a_mixture_without_weights_repeats_its_templates_in_order() -> None:
    mixture = Mixture((ct_template(2000), ct_template(3000), ct_template(4000)))
    assert [mixture.index(number) for number in range(7)] == [0, 1, 2, 0, 1, 2, 0]


def test_a_mixture_has_each_as_often_as_its_weight_says_and_the_same_order_in_each_run() -> None:
    templates = (ct_template(2000), ct_template(3000))
    drawn = [Mixture(templates, (9.0, 1.0)).index(number) for number in range(1000)]
    assert drawn == [Mixture(templates, (9.0, 1.0)).index(number) for number in range(1000)]
    assert 0.87 < drawn.count(0) / 1000 < 0.93


def test_a_mix_file_has_a_weight_and_a_size_on_each_line() -> None:
    text = "# of a busy hospital\n70 12KB\n\n 29.5  525KB # CT\n0.5 240MB\n"
    assert read_mixture(text, quantities.size) == [(70, 12_000), (29.5, 525_000), (0.5, 240_000_000)]


@pytest.mark.parametrize("text", ["", "# nothing", "12KB", "1 12", "x 12KB", "0 12KB", "1 12KB more"])
def test_a_mix_file_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(BenchError):
        read_mixture(text, quantities.size)
