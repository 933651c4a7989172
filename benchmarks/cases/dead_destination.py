"""Two destinations, one of them dead: what that costs the live one, and how soon the dead one has all when it is back.

It is dead in two ways: nobody listens on its port, or somebody takes the connection and never says a word.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Final

from benchmarks.aims import ROUTER
from benchmarks.measuring import Reading
from benchmarks.peers.ports import HOST, black_hole, closed_port, own_port
from benchmarks.peers.processes import RouterUnderTest, SinkProcess, There
from benchmarks.stage import Stage, route, routing_to

COUNT: Final = 2000
HASTE: Final = {"association": "2s"}
"""[timeouts]: how long a silent destination is waited for."""

Death = Callable[[], AbstractContextManager[int]]
DEATHS: Final[dict[str, Death]] = {"closed port": closed_port, "black hole": black_hole}


def dead_destination(stage: Stage) -> Iterator[Reading]:
    """The live destination's objects/s alone and beside a dead one; seconds until the dead one, back, has all."""
    count = max(20, stage.scaled(COUNT))
    for _ in range(stage.rounds):
        live = own_port()
        with stage.place() as folder:
            content = routing_to({"live": There(live)}, timeouts=HASTE)
            with RouterUnderTest(folder, content) as router:
                yield _live("alone", _rate(router, live, count))
        for name, death in DEATHS.items():
            stage.tell(name)
            yield from _beside(name, death, stage, count)


def _beside(name: str, death: Death, stage: Stage, count: int) -> Iterator[Reading]:
    live = own_port()
    with stage.place() as folder, _dying(death) as (dead, resurrect):
        content = routing_to({"live": There(live), "dead": There(dead, "DEAD")}, timeouts=HASTE)
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
    """The port of a dead destination, and what makes it free for an archive."""
    with ExitStack() as grave:
        yield grave.enter_context(death()), grave.close


def _rate(router: RouterUnderTest, live: int, count: int) -> float:
    figures = route(router.port, f"{HOST}:{live}", "12 kB", "--objects", count, "--associations", 4)
    return float(figures["objects_per_s"])


def _live(side: str, rate: float) -> Reading:
    return Reading(workload="the live destination", side=side, quantity="objects/s", value=rate)
