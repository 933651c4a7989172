"""Make the spool that test_upgrade.py opens, with the code of the revision that it is to be of:

    git worktree add ../old 6426320
    cd ../old
    PYTHONPATH=. python ../THIS/tests/upgrade/make_spool.py ../THIS/tests/upgrade/spool-6426320.tar.gz

Everything that it imports is that revision's, its tests included. What it leaves is listed in `main`.
"""

import io
import sys
import tarfile
import tempfile
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import trio

from router import logs
from router.spool import QueueAction, Selection
from tests.support.commitment_peers import CommittingArchive, Modality, ask, instances
from tests.support.harness import Archive, RunningRouter, configuration, data_set, eventually, running_router, store_rq
from tests.support.harness import Modality as Sender
from tests.support.mpps_messages import in_progress
from tests.support.mpps_peers import RIS, Scanner

STEP = "1.2.826.0.1.3680043.8.498.4711"
NOWHERE = 1
"""A port at which nobody answers."""
ROUTES = """
[[routes]]
name = "images"
service = "storage"
when = { calling_ae = "MODALITY" }
to = ["pacs"]
[[routes]]
name = "refused"
service = "storage"
when = { calling_ae = "STRICT" }
to = ["strict"]
[[routes]]
name = "late"
service = "storage"
when = { calling_ae = "LATE" }
to = ["vna"]
[[routes]]
name = "steps"
service = "mpps"
to = ["ris"]
[[routes]]
name = "promises"
service = "storage-commitment"
to = ["pacs"]
deadline = "30d"
"""


def peer(name: str, port: int, extra: str = "") -> str:
    lines = [f"[peers.{name}]", f'ae_title = "{name.upper()}"', f'address = "127.0.0.1:{port}"', 'linger = "50ms"']
    return "\n".join([*lines, 'retry = { first = "50ms", max = "100ms" }', extra])


async def store(port: int, calling: str, *objects: tuple[str, bytes]) -> None:
    async with Sender.connected(port) as sender:
        await sender.associate(calling=calling)
        for uid, data in objects:
            assert (await sender.store(store_rq(uid), data)).status == 0


async def until(running: RunningRouter, name: str, **numbers: int) -> None:
    await running.until(name, **numbers)


async def fill(running: RunningRouter, pacs: CommittingArchive, ris: RIS) -> None:
    port, spool = running.port, running.spool
    # delivered to the archive and pinned, in an open transaction of the router's own
    await store(port, "MODALITY", *((one.sop_instance_uid, data_set(one.sop_instance_uid)) for one in instances(2)))
    # held, for the archive cannot understand it
    await store(port, "STRICT", ("2.25.3", data_set("2.25.3")))
    # waiting, small and large; held by hand; discarded by hand
    await store(port, "LATE", *((f"2.25.4.{n}", data_set(f"2.25.4.{n}", size=200 + n)) for n in range(3)))
    await store(port, "LATE", ("2.25.5", data_set("2.25.5", size=2 << 20)))
    await store(port, "LATE", ("2.25.6", data_set("2.25.6")), ("2.25.7", data_set("2.25.7")))
    assert await spool.queue.change(Selection(sop_instance_uid="2.25.6"), QueueAction.HOLD) == 1
    assert await spool.queue.change(Selection(sop_instance_uid="2.25.7"), QueueAction.DISCARD) == 1
    # what no route wanted
    await store(port, "NOBODY", ("2.25.8", data_set("2.25.8")))
    # a step in progress, of which the RIS has the beginning
    async with Scanner.connected(port) as scanner:
        assert (await scanner.create(STEP, in_progress())).status == 0
    await ris.until(STEP, "IN PROGRESS")
    # a modality's transaction, of which the archive has been asked
    assert await ask(port, instances(2)) == 0

    async def all_asked() -> bool:
        return len(pacs.asked) == 2

    await eventually(all_asked)
    await until(running, "strict", held=1)
    await until(running, "ris", delivered=1)
    await until(running, "pacs", delivered=4, waiting=0, in_flight=0)


async def make(folder: Path) -> None:
    async with AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(trio.open_nursery())
        pacs = await stack.enter_async_context(
            CommittingArchive(title="PACS", nursery=nursery, behaviour="is silent").serving()
        )
        strict = await stack.enter_async_context(Archive(script=lambda command: 0xC000).serving())
        ris = await stack.enter_async_context(RIS().serving())
        modality = await stack.enter_async_context(Modality().serving())
        peers = [
            peer("pacs", pacs.port, 'commit = true\ncommit_after = "50ms"\ncommit_within = "30d"'),
            peer("strict", strict.port),
            peer("vna", NOWHERE),
            peer("ris", ris.port),
            peer("modality", modality.port),
        ]
        config = configuration(folder, "\n".join([*peers, ROUTES]), router='unrouted = "hold"')
        async with running_router(config) as running:
            await fill(running, pacs, ris)


def pack(folder: Path, out: Path) -> None:
    """Without owners and times, which say nothing."""

    def plain(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
        info.uid = info.gid = info.mtime = 0
        info.uname = info.gname = ""
        return None if info.name.endswith("/lock") else info

    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(folder / "spool", "spool", filter=plain)
    out.write_bytes(packed.getvalue())


def main(out: Path) -> None:
    logs.configure("json", level="critical")
    with tempfile.TemporaryDirectory() as folder:
        trio.run(partial(make, Path(folder)))
        pack(Path(folder), out)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
