"""What the router refuses, and the codes that a site wants for it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest

from router.config import STANDARD_STATUSES, ConfigError, Statuses
from router.dimse import Command, CommandField, Status, StatusClass, status_class
from router.dimse import encode as encode_command
from router.services import parse_config
from tests.support.harness import (
    CT,
    IMPLICIT,
    VERIFICATION,
    Modality,
    configuration,
    data_set,
    p_data,
    running_router,
    store_rq,
)

MAPPED = """
[statuses]
sop_class_not_supported = "A800H"
not_authorized = "c002"
data_set_does_not_match = "A901H"
[statuses.by_calling_ae."CT*"]
sop_class_not_supported = "C123H"
[statuses.by_calling_ae."CT_1"]
sop_class_not_supported = "C124H"
"""
OTHER_CLASS = "1.2.840.10008.5.1.4.1.1.4"


@asynccontextmanager
async def modality(folder: Path, text: str, calling: str = "MODALITY") -> AsyncIterator[Modality]:
    config = configuration(folder, text, pacs=1)
    async with running_router(config) as running, Modality.connected(running.port) as peer:
        await peer.associate((CT, (IMPLICIT,)), (VERIFICATION, (IMPLICIT,)), calling=calling)
        yield peer


async def echo(peer: Modality) -> Command:
    command = Command(field=CommandField.C_ECHO_RQ, message_id=7, affected_sop_class_uid=VERIFICATION)
    await peer.say(p_data(3, encode_command(command), command=True))
    return await peer.response()


def test_every_failure_that_the_router_can_answer_has_a_key_with_the_standards_code() -> None:
    own = {"duplicate", "unrouted"}
    codes = {field.name: field.default for field in attrs.fields(Statuses) if field.name not in {"by_calling_ae", *own}}
    assert codes == {
        status.name.lower(): int(status) for status in Status if status_class(status) is StatusClass.FAILURE
    }
    assert own <= {field.name for field in attrs.fields(Statuses)}


@pytest.mark.parametrize(
    "status", ["0000H", "0001H", "0107H", "0116H", "B000H", "B123H", "FE00H", "FE01H", "FF00H", "FF55H", "A8", "", 7]
)
def test_only_a_failure_can_stand_for_a_refusal(status: object) -> None:
    written = status if isinstance(status, int) else f'"{status}"'
    with pytest.raises(ConfigError, match=r"statuses\.duplicate"):
        parse_config(f"[statuses]\nduplicate = {written}", Path())
    with pytest.raises(ConfigError, match=r'statuses.by_calling_ae."CT\*".duplicate'):
        parse_config(f'[statuses.by_calling_ae."CT*"]\nduplicate = {written}', Path())


def test_an_unknown_refusal_is_a_fault() -> None:
    with pytest.raises(ConfigError, match="there is no such key"):
        parse_config('[statuses]\nsop_class_unknown = "A800H"', Path())
    with pytest.raises(ConfigError, match="there is no such key"):
        parse_config('[statuses.by_calling_ae."CT*"]\nby_calling_ae = {}', Path())


def test_a_calling_ae_has_the_first_table_that_it_matches_on_top_of_those_for_all() -> None:
    statuses = parse_config(MAPPED, Path()).statuses
    assert statuses.for_calling_ae("CT_1").sop_class_not_supported == 0xC123
    assert statuses.for_calling_ae("CT_1").not_authorized == 0xC002
    assert statuses.for_calling_ae("MR_1").sop_class_not_supported == 0xA800
    assert statuses.for_calling_ae("MR_1").duplicate == STANDARD_STATUSES.duplicate


@pytest.mark.parametrize(("calling", "status"), [("MODALITY", 0xA800), ("CT_1", 0xC123)])
async def test_a_refusal_has_the_code_of_the_calling_ae(tmp_path: Path, calling: str, status: int) -> None:
    async with modality(tmp_path, MAPPED, calling) as peer:
        answer = await peer.store(store_rq("1.2.3", OTHER_CLASS), data_set("1.2.3", OTHER_CLASS))
        assert answer.status == status
        assert answer.error_comment == "SOP class is not the presentation context's"
        assert (await peer.store(store_rq("1.2.3"), data_set("1.2.4"))).status == 0xA901
        assert (await peer.store(store_rq("1.2.3"), data_set("1.2.3"))).status == 0


async def test_who_may_not_verify_is_told_so(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).mkdir()
    text = '[verification]\ncalling_ae = ["CT*", "MR*"]'
    async with modality(tmp_path / "a", text) as peer:
        assert (await echo(peer)).status == 0x0124
    async with modality(tmp_path / "b", text, "CT_1") as peer:
        assert (await echo(peer)).status == 0
    async with modality(tmp_path / "c", text + MAPPED) as peer:
        assert (await echo(peer)).status == 0xC002


@pytest.mark.parametrize(
    ("extra", "missing"),
    [
        (b"", (0x0020000D, 0x00100020)),
        (bytes.fromhex("10002000 00000000 20000d00 04000000") + b"1.2\0", (0x00100020,)),
        (bytes.fromhex("10002000 02000000") + b"  " + bytes.fromhex("20000d00 04000000") + b"1.2\0", (0x00100020,)),
        (bytes.fromhex("10002000 02000000") + b"X " + bytes.fromhex("20000d00 04000000") + b"1.2\0", ()),
    ],
    ids=["both missing", "one empty", "one blank", "there"],
)
async def test_an_object_must_have_what_is_required(tmp_path: Path, extra: bytes, missing: tuple[int, ...]) -> None:
    text = '[storage]\nrequire = ["StudyInstanceUID", "(0010,0020)"]'
    async with modality(tmp_path, text) as peer:
        answer = await peer.store(store_rq("1.2.3"), data_set("1.2.3", extra=extra))
        assert answer.status == (0xA900 if missing else 0)
        assert answer.offending_element == (missing or None)
        if missing:
            assert "PatientID" in (answer.error_comment or "")


@pytest.mark.parametrize("key", ["PixelData", "ReferencedStudySequence", "NoSuchKeyword", "calling_ae"])
def test_what_cannot_be_looked_for_cannot_be_required(key: str) -> None:
    with pytest.raises(ConfigError, match=r"storage\.require"):
        parse_config(f'[storage]\nrequire = ["{key}"]', Path())
