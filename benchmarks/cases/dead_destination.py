"""Two destinations, one of them dead: the cost for the live one, and how soon the dead one catches up when it is back.

A dead destination either refuses connections, or accepts them and never sends anything.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Final

from benchmarks.aims import ROUTER
from benchmarks.peers.ports import HOST, black_hole, closed_port, own_port
from benchmarks.peers.processes import Address, RouterUnderTest, SinkProcess
from benchmarks.readings import Reading
from benchmarks.workspace import Workspace, route, routing_to

COUNT: Final = 2000
HASTE: Final = {"association": "2s"}
"""[timeouts]: how long the router waits for a silent destination."""

Death = Callable[[], AbstractContextManager[int]]
DEATHS: Final[dict[str, Death]] = {"closed port": closed_port, "black hole": black_hole}


def dead_destination(workspace: Workspace) -> Iterator[Reading]:
    """Measure objects/s of the live destination, alone and with a dead one; seconds until it has caught up; once."""
    count = max(20, workspace.scaled(COUNT))
    live = own_port()
    with workspace.empty_folder("12 kB") as folder:
        content = routing_to({"live": Address(live)}, timeouts=HASTE)
        with RouterUnderTest(folder, content) as router:
            yield _live("alone", _rate(router, live, count))
    for name, death in DEATHS.items():
        workspace.tell(name)
        yield from _beside(name, death, workspace, count)


def _beside(name: str, death: Death, workspace: Workspace, count: int) -> Iterator[Reading]:
    live = own_port()
    with workspace.empty_folder("12 kB") as folder, _dying(death) as (dead, resurrect):
        content = routing_to({"live": Address(live), "dead": Address(dead, "DEAD")}, timeouts=HASTE)
        with RouterUnderTest(folder, content) as router:
            yield _live(f"beside a {name}", _rate(router, live, count))
            resurrect()
            started = time.monotonic()
            with SinkProcess(folder, port=dead, options=["--objects", count]) as returned:
                returned.wait()
            seconds = time.monotonic() - started
    yield Reading(workload=f"a {name} returns", side=ROUTER, quantity=f"s for {count} objects", value=seconds)


@contextmanager
def _dying(death: Death) -> Iterator[tuple[int, Callable[[], None]]]:
    """Yield the port of a dead destination, and a function that frees it for an archive."""
    with ExitStack() as grave:
        yield grave.enter_context(death()), grave.close


def _rate(router: RouterUnderTest, live: int, count: int) -> float:
    figures = route(router.port, f"{HOST}:{live}", "12 kB", "--objects", count, "--associations", 4)
    return float(figures["objects_per_s"])


def _live(side: str, rate: float) -> Reading:
    return Reading(workload="the live destination", side=side, quantity="objects/s", value=rate)
