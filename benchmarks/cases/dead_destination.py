"""Two destinations, one of them dead: what that costs the live one, and how soon the dead one has all when it is back.

It is dead in two ways: nobody listens on its port, or somebody takes the connection and never says a word.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

from attrs import frozen

from benchmarks.measuring import Reading
from benchmarks.peers.processes import ArchiveProcess, RouterUnderTest, black_hole, closed_port
from benchmarks.stage import Stage, objects, routing_to, send_all

SIZE = 12_000
COUNT = 2000
SENDERS = 4
HASTE = {"association": "2s"}
"""[timeouts]: how long a silent destination is waited for."""


@frozen
class Dead:
    """Where there will be an archive again."""

    port: int
    ae_title: str = "DEAD"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


Death = Callable[[], AbstractContextManager[int]]
DEATHS: dict[str, Death] = {"closed port": closed_port, "black hole": black_hole}


def dead_destination(stage: Stage) -> Iterator[Reading]:
    """The live destination's objects/s alone and beside a dead one; seconds until the dead one, back, has all."""
    count = stage.scaled(COUNT)
    for _ in range(stage.rounds):
        with ArchiveProcess() as archive:
            content = routing_to({"live": archive}, timeouts=HASTE)
            with RouterUnderTest(stage.new_folder(), content) as router:
                yield _live("alone", _rate(router, archive, count))
        for name, death in DEATHS.items():
            yield from _beside(name, death, stage, count)


def _beside(name: str, death: Death, stage: Stage, count: int) -> Iterator[Reading]:
    with ArchiveProcess() as archive, _dying(death) as (dead, resurrect):
        content = routing_to({"live": archive, "dead": dead}, timeouts=HASTE)
        with RouterUnderTest(stage.new_folder(), content) as router:
            yield _live(f"beside a {name}", _rate(router, archive, count))
            resurrect()
            with ArchiveProcess(dead.port) as returned:
                back = time.monotonic()
                arrivals = returned.take(count)
                seconds = max(one.at for one in arrivals) - back
    yield Reading(workload=f"a {name} returns", side="router", quantity=f"s for {count} objects", value=seconds)


@contextmanager
def _dying(death: Death) -> Iterator[tuple[Dead, Callable[[], None]]]:
    """A dead destination, and what makes its port free for an archive."""
    with ExitStack() as grave:
        yield Dead(grave.enter_context(death())), grave.close


def _rate(router: RouterUnderTest, archive: ArchiveProcess, count: int) -> float:
    with objects(count, SIZE) as instances:
        started = min(one.started for one in send_all(instances, router.port, associations=SENDERS))
        return count / (max(one.at for one in archive.take(count)) - started)


def _live(side: str, rate: float) -> Reading:
    return Reading(workload="the live destination", side=side, quantity="objects/s", value=rate)
