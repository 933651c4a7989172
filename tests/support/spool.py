"""A spool on a real disk, and damage to its files."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from router.model import SpoolSettings
from router.spool import (
    Spool,
)
from router.spool.disk.filesystem import REAL, FileSystem
from router.spool.ledger.rows import LedgerEntry
from router.spool.values import Place
from tests.router.spool.driver import envelope

SETTINGS = SpoolSettings(segment_size=1 << 20, large_object=64 << 10, memory=1 << 20, free_space_floor=0)


@asynccontextmanager
async def running_spool(
    path: Path, settings: SpoolSettings = SETTINGS, files: FileSystem = REAL
) -> AsyncIterator[Spool]:
    spool = Spool.open(path, settings, files=files)
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(spool.run)
            yield spool
            nursery.cancel_scope.cancel()
    finally:
        spool.close()


async def store_message(
    spool: Spool, data: bytes, uid: str = "1.2.3", destinations: tuple[str, ...] = ("pacs",)
) -> int:
    async with spool.intake.incoming() as incoming:
        for at in range(0, len(data), 16_000):
            await incoming.write(data[at : at + 16_000])
        return (await spool.intake.store(incoming, envelope(uid, destinations))).message_id


def segment(path: Path, number: int = 1) -> Path:
    return path / "segments" / f"{number:08d}"


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)


def remove_ledger(path: Path) -> None:
    for file in path.glob("ledger.sqlite*"):
        file.unlink()


def ledger_entry(
    message_id: int, destinations: tuple[str, ...] = ("pacs",), key: str = "", uid: str = "1.2.3"
) -> LedgerEntry:
    """Every fourth has a file of its own."""
    file = f"{message_id:032x}" if message_id % 4 == 0 else ""
    place = Place(
        segment=1 + message_id // 30, offset=message_id, length=100, data_length=10, data_crc=message_id, file=file
    )
    return LedgerEntry(message_id=message_id, place=place, envelope=envelope(uid, destinations, key=key), born=0.0)
