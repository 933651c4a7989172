"""Measure how far data sets that never end bring the free space below the floor, and what they leave behind.

    python tests/evidence/firm-ground/floor.py FOLDER

FOLDER lies on a file system that nothing else writes to, with 1 GiB free or more: the router's floor is 256 MiB
below what is free. One C-ECHO and eight C-STOREs send 320 MiB each at the same time, as fast as they can, and do not
end. All other settings are the defaults, `segment_size` 64 MiB and `reserve` 64 MiB among them.
"""

import os
import sys
import threading
import time
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import attrs
import trio

from router import logs
from router.dimse import DATA_SET
from router.services import parse_config
from tests.support.harness import data_set, eventually, p_data, running_router, store_rq
from tests.support.streams import ECHO, modality_of, stream

MIB = 1 << 20
ROOM = 256 * MIB
EACH = 320 * MIB
CONFIG = """
[router]
listen = ["127.0.0.1:0"]
[admin]
listen = "127.0.0.1:0"
[spool]
free_space_floor = "{floor}B"
[peers.pacs]
ae_title = "PACS"
address = "127.0.0.1:1"
[[routes]]
name = "images"
service = "storage"
to = ["pacs"]
"""


class Watch:
    """The lowest free space, looked at a thousand times a second by a thread of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lowest = self.free()
        self.is_over = False
        threading.Thread(target=self._look, daemon=True).start()

    def free(self) -> int:
        status = os.statvfs(self.folder)
        return status.f_bavail * status.f_frsize

    def _look(self) -> None:
        while not self.is_over:
            self.lowest = min(self.lowest, self.free())
            time.sleep(0.001)


async def main(folder: Path) -> None:
    watch = Watch(folder)
    floor = watch.free() - ROOM
    config = parse_config(CONFIG.format(floor=floor), folder)
    async with running_router(config) as router, AsyncExitStack() as stack:
        modalities = [await stack.enter_async_context(modality_of(router)) for _ in range(9)]
        began = trio.current_time()
        async with trio.open_nursery() as streaming:
            endless_echo = attrs.evolve(ECHO, data_set_type=DATA_SET)
            streaming.start_soon(stream, modalities[0], 3, endless_echo, EACH)
            for number, modality in enumerate(modalities[1:]):
                streaming.start_soon(stream, modality, 1, store_rq(f"1.2.{number}"), EACH)
        seconds = trio.current_time() - began
        await eventually(partial(_is_empty, config.router.spool / "large"))
        watch.is_over = True
        print(
            f"sent without an end: {9 * EACH // MIB} MiB in {seconds:.1f} s; room above the floor at the start: 256 MiB"
        )
        print(f"lowest free space: {(watch.lowest - floor) / MIB:.2f} MiB above the floor")
        print(f"left in large/ before any data set has ended: {len(os.listdir(config.router.spool / 'large'))} files")
        print(f"memory for data sets: {router.spool.statistics().memory} bytes")
        print(f"free space then: {(watch.free() - floor) / MIB:.2f} MiB above the floor")
        for number, modality in enumerate(modalities[:2]):
            await modality.say(p_data(1 if number else 3, b"end!", command=False))
            answer = await modality.response()
            print(f"{'C-STORE' if number else 'C-ECHO'} at its end: {answer.status:04X}H {answer.error_comment or ''}")
        answer = await modalities[1].store(store_rq("1.4"), data_set("1.4"))
        print(f"the next C-STORE on the same association: {answer.status:04X}H")


async def _is_empty(folder: Path) -> bool:
    return not os.listdir(folder)


if __name__ == "__main__":
    logs.configure("json", level="critical")
    trio.run(main, Path(sys.argv[1]).resolve())
