"""Objects that an archive cannot stand, ahead of good ones: seconds until the good ones are there.

With `retry`, `timeouts` and `associations` at their defaults, and pynetdicom as the archive.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
from attrs import define, field
from pynetdicom import AE, evt

from tests.support.configurations import one_peer
from tests.support.harness import CT, IMPLICIT, configuration, running_router
from tests.support.poison import GOOD, POISON, send

GOOD_COUNT = 100


@define
class PickyArchive:
    """Stores what is good; what is poison it answers as it is told."""

    poison: Callable[[evt.Event], int]
    port: int = 0
    stored: list[str] = field(factory=list)
    ends: threading.Event = field(factory=threading.Event)

    @contextmanager
    def serving(self) -> Iterator["PickyArchive"]:
        ae = AE("PACS")
        ae.add_supported_context(CT, IMPLICIT)
        server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)])
        assert server is not None
        assert server.socket is not None
        self.port = server.socket.getsockname()[1]
        try:
            yield self
        finally:
            self.ends.set()
            server.shutdown()

    def _store(self, event: evt.Event) -> int:
        uid = str(getattr(event.request, "AffectedSOPInstanceUID"))  # noqa: B009 (typed as any request)
        if uid.startswith(POISON):
            return self.poison(event)
        self.stored.append(uid)
        return 0x0000


def out_of_resources(event: evt.Event) -> int:
    return 0xA700


def aborts(event: evt.Event) -> int:
    event.assoc.abort()
    return 0xA700


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("kind", "count"), [("answered A700H", 700), ("an abort", 500), ("never answered", 500)])
async def test_seconds_until_good_objects_are_there_behind_bad_ones(kind: str, count: int, tmp_path: Path) -> None:
    archive = PickyArchive({"answered A700H": out_of_resources, "an abort": aborts}.get(kind, lambda _: 0xA700))
    if kind == "never answered":
        archive.poison = lambda _: 0xA700 if archive.ends.wait(600) else 0
    with archive.serving():
        async with running_router(configuration(tmp_path, one_peer(archive.port))) as router:
            await send(router, POISON, count)
            await send(router, GOOD, GOOD_COUNT)
            first = await seconds_until(archive, GOOD_COUNT)
            await trio.sleep(20)  # the bad ones have failed often enough to be known
            await send(router, f"{GOOD}2.", GOOD_COUNT)
            later = await seconds_until(archive, 2 * GOOD_COUNT)
    print(
        f"{count} objects, {kind}, then {GOOD_COUNT} good: {first:.1f} s; {GOOD_COUNT} more 20 s later: {later:.1f} s"
    )
    assert len(archive.stored) == len(set(archive.stored)) == 2 * GOOD_COUNT


async def seconds_until(archive: PickyArchive, count: int) -> float:
    started = trio.current_time()
    with trio.fail_after(60):
        while len(set(archive.stored)) < count:  # noqa: ASYNC110 (threads of the archive)
            await trio.sleep(0.05)
    return trio.current_time() - started
