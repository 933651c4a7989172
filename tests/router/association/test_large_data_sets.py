"""What is large, or large once inflated, is read in a worker's thread: the event loop goes on."""

import struct
import threading
from pathlib import Path
from typing import Any

import pytest

from router.concurrency import COMPUTING
from router.dicom.scanner import AT_ONCE, IN_ALL, Bounds, scan
from router.services import storage
from tests.router.dicom.oracle import deflate
from tests.support.harness import CT, Modality, configuration, running_router, store_rq

UID = "1.2.840.99.1"
EXPLICIT, DEFLATED = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"
SEQUENCE = struct.pack("<HH2sHL", 8, 6, b"SQ", 0, 0xFFFFFFFF) + struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
EMPTY = struct.pack("<HH2sH", 8, 1, b"UI", 0)


def explicit(uid: str) -> bytes:
    """The two UIDs, in explicit VR."""
    values = ((0x0016, CT.encode() + b"\0"), (0x0018, uid.encode() + b"\0" * (len(uid) % 2)))
    return b"".join(struct.pack("<HH2sH", 8, number, b"UI", len(value)) + value for number, value in values)


@pytest.mark.parametrize(
    ("transfer_syntax", "data", "status", "in_a_worker"),
    [
        (EXPLICIT, explicit(UID), 0, ""),
        (DEFLATED, deflate(explicit(UID)), 0, ""),
        (DEFLATED, deflate(EMPTY * 900_000), 0xA900, "much"),
        (DEFLATED, deflate(EMPTY * 1_100_000), 0xC000, "much"),
        (DEFLATED, deflate(SEQUENCE + EMPTY * 1_000_000), 0xC000, "much"),
        (DEFLATED, deflate(EMPTY * 50_000 + explicit(UID)), 0, "much"),
        (EXPLICIT, EMPTY * 100_000 + explicit(UID), 0, "much"),
        (EXPLICIT, explicit(UID) + bytes(1 << 20), 0, "little"),
    ],
    ids=[
        "small",
        "small deflated",
        "bomb",
        "endless",
        "nested bomb",
        "long when inflated",
        "many elements",
        "a file of its own",
    ],
)
async def test_where_a_data_set_is_read(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    transfer_syntax: str,
    data: bytes,
    status: int,
    in_a_worker: str,
) -> None:
    read: list[tuple[bool, Bounds]] = []

    def noting(view: memoryview, syntax: str, wanted: frozenset[int], bounds: Bounds) -> Any:
        read.append((threading.current_thread() is threading.main_thread(), bounds))
        return scan(view, syntax, wanted, bounds)

    monkeypatch.setattr(storage, "scan", noting)
    async with running_router(configuration(tmp_path, pacs=1)) as router:
        async with Modality.connected(router.port) as modality:
            await modality.associate((CT, (transfer_syntax,)))
            assert (await modality.store(store_rq(UID), data)).status == status
            other = deflate(explicit("1.2.3")) if transfer_syntax == DEFLATED else explicit("1.2.3")
            assert (await modality.store(store_rq("1.2.3"), other)).status == 0
    assert ((False, IN_ALL) in read) == (in_a_worker == "much")
    assert any(not in_the_loop for in_the_loop, _ in read) == bool(in_a_worker)
    assert all(bounds is AT_ONCE for in_the_loop, bounds in read if in_the_loop)


async def test_a_large_object_does_not_wait_for_those_of_which_much_has_to_be_read(tmp_path: Path) -> None:
    borrowers = [object() for _ in range(int(COMPUTING.available_tokens))]
    for borrower in borrowers:
        COMPUTING.acquire_on_behalf_of_nowait(borrower)
    try:
        async with running_router(configuration(tmp_path, pacs=1)) as router:
            async with Modality.connected(router.port) as modality:
                await modality.associate((CT, (EXPLICIT,)))
                assert (await modality.store(store_rq(UID), explicit(UID) + bytes(2 << 20))).status == 0
    finally:
        for borrower in borrowers:
            COMPUTING.release_on_behalf_of(borrower)
