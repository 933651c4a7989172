"""Measure the milliseconds from a client's C-CANCEL, abort or lost connection to the C-CANCEL at two archives.

Run it from the top of the tree:
`PYTHONPATH=. python tests/evidence/live-relays/cancel.py`. Both archives answer without end; ten runs of each kind.
"""

import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median

import trio

from tests.support.find_client import find_client
from tests.support.harness import configuration, eventually, running_router
from tests.support.query_archive import QueryArchive, record, until_cancelled

ROUTE = '[[routes]]\nname = "q"\nservice = "query"\nto = ["one", "two"]\nlimit = 10000000\n'
KEYS = record({0x00080052: "STUDY", 0x0020000D: ""})


async def run_once(how: str, folder: Path) -> tuple[list[float], float]:
    """Return the milliseconds to the C-CANCEL at each archive, and to the final response of a cancelled query."""
    archives = [QueryArchive(find=until_cancelled) for _ in range(2)]
    async with AsyncExitStack() as stack:
        for archive in archives:
            await stack.enter_async_context(archive.serving())
        config = configuration(folder, ROUTE, one=archives[0].port, two=archives[1].port)
        router = await stack.enter_async_context(running_router(config))
        final = 0.0
        async with find_client(router.port) as client:
            invocation = await client.begin(KEYS)
            for _ in range(50):
                await anext(invocation)
            began = trio.current_time()
            if how == "C-CANCEL":
                await invocation.cancel()
                await client.read(invocation)
                final = 1e3 * (trio.current_time() - began)
            elif how == "connection lost":
                client.association.close()
        await eventually(lambda: all(len(archive.cancels) == 1 for archive in archives))
        return [1e3 * (archive.cancels[0] - began) for archive in archives], final


async def main() -> None:
    for how in ("C-CANCEL", "A-ABORT", "connection lost"):
        times: list[float] = []
        finals: list[float] = []
        for _ in range(10):
            with tempfile.TemporaryDirectory() as folder:
                cancelled, final = await run_once(how, Path(folder))
            times += cancelled
            finals.append(final)
        print(f"{how}: median {median(times):.1f} ms, most {max(times):.1f} ms", end="")
        print(f"; to FE00H {median(finals):.1f} ms" if any(finals) else "")


if __name__ == "__main__":
    trio.run(main)
