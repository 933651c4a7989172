"""Run by test_sigkill.py: commits, delivers, and says on its standard output what it was told, until it is killed."""

import hashlib
import sys
from pathlib import Path

import trio

from router.model import PendingDelivery, SpoolSettings
from router.spool import Spool
from tests.router.spool.driver import content, delivered, envelope

SETTINGS = SpoolSettings(segment_size=1 << 20, large_object=40_000, memory=1 << 20, free_space_floor=0)
SENDERS = 8


async def main(path: Path, first: int) -> None:
    spool = Spool.open(path, SETTINGS)
    for damage in (*spool.recovery.damaged, *spool.recovery.lost):
        if damage.message_id is not None:
            print("damaged", damage.message_id, flush=True)

    def arrived(destination: str, rows: list[PendingDelivery]) -> None:
        for row in rows:
            if row.message_id % 3 == 0:
                print("delivered", row.message_id, destination, flush=True)
                spool.settle(row.message_id, destination, delivered())

    async def send(number: int) -> None:
        while True:
            data = content(number, (number * 7919) % 60_000)
            incoming = spool.intake.incoming()
            await incoming.write(data)
            receipt = await spool.intake.store(incoming, envelope(f"1.2.{number}", ("pacs", "vna")))
            digest = hashlib.sha256(data).hexdigest()
            print("acknowledged", receipt.message_id, digest, flush=True)
            number += SENDERS

    spool.subscribe(arrived)
    async with trio.open_nursery() as nursery:
        await nursery.start(spool.run)
        for sender in range(SENDERS):
            nursery.start_soon(send, first + sender)


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]), int(sys.argv[2]))
