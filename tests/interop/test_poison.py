"""One poison object never slows the others: what an archive chokes on waits by itself."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from pynetdicom import evt

from tests.support.objects import ct
from tests.support.peers import PynetdicomArchive, Received, store_all
from tests.support.ports import until
from tests.support.router_process import RouterProcess, configuration

pytestmark = pytest.mark.interop

Choke = Callable[[evt.Event], int]

SECONDS = 5.0
"""What twenty healthy objects may take beside the poison; alone they take less than one."""


def refuse(event: evt.Event) -> int:
    return 0xA700


def abort(event: evt.Event) -> int:
    event.assoc.abort()
    return 0xA700


def keep_silent(event: evt.Event) -> int:
    threading.Event().wait(3)
    return 0xA700


@pytest.mark.parametrize(
    "chokes",
    [
        pytest.param([refuse], id="one refused", marks=pytest.mark.soak),
        pytest.param([abort], id="one aborted", marks=pytest.mark.soak),
        pytest.param([keep_silent], id="one never answered", marks=pytest.mark.soak),
        pytest.param([refuse] * 6, id="six refused"),
        pytest.param([abort] * 6, id="six aborted"),
        pytest.param([refuse] * 4 + [keep_silent], id="four refused and one never answered"),
    ],
)
def test_healthy_objects_pass_those_that_the_archive_chokes_on(tmp_path: Path, chokes: Sequence[Choke]) -> None:
    poison = {(one := ct()).sop_instance_uid: (one, choke) for choke in chokes}
    healthy = [ct() for _ in range(20)]

    def answer(event: evt.Event, received: Received) -> int:
        _, choke = poison.get(received.sop_instance_uid, (None, None))
        return choke(event) if choke else 0x0000

    with PynetdicomArchive(answer=answer) as archive:
        retry = {"first": "100ms", "max": "1m"}
        peers = {"archive": {"retry": retry}}
        content = configuration({"archive": archive}, timeouts={"dimse": "1s"}, peers=peers)
        with RouterProcess(tmp_path / "router", content) as router:

            def arrived() -> set[str]:
                return {one.sop_instance_uid for one in archive.received}

            assert not any(store_all(router.host, router.port, [one for one, _ in poison.values()]))
            until(lambda: len(archive.received) >= 6 + len(poison), "the poison is tried again and again", 60)
            assert not any(store_all(router.host, router.port, healthy))
            until(lambda: arrived() >= {one.sop_instance_uid for one in healthy}, "the healthy objects pass", SECONDS)
