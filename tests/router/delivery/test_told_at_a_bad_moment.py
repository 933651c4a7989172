"""News that comes while nobody listens, errors amid others, answers too late: nothing is lost, nothing stops."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import attrs
import trio
from structlog.testing import capture_logs

from pdu import AsynchronousOperationsWindow
from router.association.transport import Transport
from router.dimse import DATA_SET, Command, MessageBegin, encode, response_to
from router.spool import QueueAction, Selection
from tests.support.configurations import peer_with_window
from tests.support.harness import (
    IMPLICIT,
    Answer,
    Archive,
    Modality,
    RunningRouter,
    configuration,
    data_set,
    p_data,
    running_router,
    store_rq,
)
from tests.support.mpps_messages import UID, in_progress, progress
from tests.support.mpps_peers import RIS, Scanner, hub
from tests.support.reverse import COMMITMENT, MODALITY, answer_report, associate_with_window, hear_report, store_report


@attrs.define
class BlockedRIS(RIS):
    """A RIS that withholds every response until `release` is set."""

    release: trio.Event = attrs.field(factory=trio.Event)

    async def _answer(self, transport: Transport, begin: MessageBegin, data: bytes) -> None:
        await self.release.wait()
        await super()._answer(transport, begin, data)


async def send(router: RunningRouter, uid: str) -> None:
    async with Modality.connected(router.port) as modality:
        await modality.associate()
        assert (await modality.store(store_rq(uid), data_set(uid))).status == 0


def slow_ledger(router: RunningRouter) -> trio.Event:
    """From now on, reading the queue takes a while; set when it is being read."""
    asked = trio.Event()

    def slowed(real: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def read(*arguments: Any) -> Any:
            asked.set()
            answer = await real(*arguments)
            await trio.sleep(0.1)
            return answer

        return read

    for name in ("fresh", "due", "first_of_lanes"):
        setattr(router.spool, name, slowed(getattr(router.spool, name)))
    return asked


def crashes(logs: list[Any]) -> list[Any]:
    return [line for line in logs if "crashed" in line["event"]]


async def test_a_second_change_of_the_queue_during_the_reading_of_it_counts(tmp_path: Path) -> None:
    statuses = {"now": 0xA900}
    async with (
        Archive(lambda _: statuses["now"]).serving() as archive,
        running_router(configuration(tmp_path, pacs=archive.port)) as router,
    ):
        await send(router, "1.2.3")
        await router.until("pacs", held=1, in_flight=0)
        asked = slow_ledger(router)
        statuses["now"] = 0
        await router.spool.queue.change(Selection(), QueueAction.RELEASE)
        router.router._dispatcher.rescan()
        await asked.wait()
        router.router._dispatcher.rescan()
        await router.until("pacs", delivered=1)


async def test_what_follows_a_held_message_does_not_travel_although_it_was_read_before(tmp_path: Path) -> None:
    """An N-SET must not overtake its N-CREATE: the ledger's answer is older than the refusal."""
    async with BlockedRIS().serving() as ris:
        ris.judged = lambda heard: 0x0120 if heard.kind == "N-CREATE-RQ" else None
        async with running_router(hub(tmp_path, ris=ris.port)) as router, Scanner.connected(router.port) as scanner:
            await scanner.create(UID, in_progress())
            asked = slow_ledger(router)
            await scanner.set(UID, progress("on the way"))
            await asked.wait()
            ris.release.set()
            await router.until("ris", held=1, waiting=1, in_flight=0)
            await trio.sleep(0.2)
            await router.until("ris", held=1, waiting=1, in_flight=0)
    assert [heard.kind for heard in ris.heard] == ["N-CREATE-RQ"]


async def test_a_reload_during_the_reading_of_the_queue_leaves_a_destination_that_works(tmp_path: Path) -> None:
    async with Archive().serving() as archive:
        config = configuration(tmp_path, pacs=archive.port)
        async with running_router(config) as router:
            asked = slow_ledger(router)
            router.router._dispatcher.rescan()
            await asked.wait()
            peer = attrs.evolve(config.peers["pacs"], linger=0.2)
            router.router.reload(attrs.evolve(config, peers={"pacs": peer}))
            await send(router, "1.2.3")
            await router.until("pacs", delivered=1)


async def test_an_abort_within_a_window_is_no_crash_of_the_destination(tmp_path: Path) -> None:
    def script(command: Command) -> Answer:
        return "abort" if archive.associations == 1 else 0

    with capture_logs() as logs:
        async with (
            Archive(script, window=4).serving() as archive,
            running_router(configuration(tmp_path, peer_with_window(archive.port, 4))) as router,
        ):
            await send(router, "1.2.3")
            await router.until("pacs", delivered=1)
    assert not crashes(logs)
    first = next(line for line in logs if line["event"] == "delivery")
    assert first["outcome"] == "retry"
    assert first["reason"] != "interrupted"


async def test_what_is_held_by_hand_while_it_is_sent_is_not_sent_again(tmp_path: Path) -> None:
    sent = []

    def script(command: Command) -> Answer:
        sent.append(command.sop_instance_uid)
        return "silence"

    async with Archive(script).serving() as archive:
        content = configuration(tmp_path, "[timeouts]\ndimse = '500ms'", pacs=archive.port)
        async with running_router(content) as router:
            await send(router, "1.2.3")
            await router.until("pacs", in_flight=1)
            await router.spool.queue.change(Selection(), QueueAction.HOLD)
            router.router._dispatcher.rescan()
            await router.until("pacs", held=1, in_flight=0)
            tries = len(sent)
            await trio.sleep(1.0)
            assert len(sent) == tries


async def test_a_late_answer_on_a_visit_is_ignored(tmp_path: Path) -> None:
    content = MODALITY + 'retry = { first = "20ms", max = "100ms" }\n[timeouts]\ndimse = "300ms"\n'
    with capture_logs() as logs:
        async with (
            running_router(configuration(tmp_path, content)) as router,
            Modality.connected(router.port) as modality,
        ):
            await modality.associate((COMMITMENT, (IMPLICIT,)))
            await store_report(router, "modality")
            first = await hear_report(modality)
            second = await hear_report(modality)
            await answer_report(modality, first)
            await answer_report(modality, second)
            await router.until("modality", delivered=1, waiting=0)
    assert not crashes(logs)


async def test_an_answer_with_a_data_set_that_nobody_asked_for_is_ignored(tmp_path: Path) -> None:
    with capture_logs() as logs:
        async with (
            running_router(configuration(tmp_path, MODALITY)) as router,
            Modality.connected(router.port) as modality,
        ):
            await modality.associate((COMMITMENT, (IMPLICIT,)))
            await store_report(router, "modality")
            report = await hear_report(modality)
            stray = attrs.evolve(response_to(report, 0), message_id_being_responded_to=77, data_set_type=DATA_SET)
            await modality.say(p_data(1, encode(stray), command=True) + p_data(1, b"12345678", command=False))
            await answer_report(modality, report)
            await router.until("modality", delivered=1)
    assert not crashes(logs)


async def test_a_message_id_that_is_under_way_is_refused(tmp_path: Path) -> None:
    async with running_router(configuration(tmp_path, pacs=1)) as router, Modality.connected(router.port) as modality:
        await associate_with_window(modality, AsynchronousOperationsWindow(invoked=4, performed=1))
        both = b""
        for uid in ("1.2.1", "1.2.2"):
            both += p_data(1, encode(store_rq(uid)), command=True) + p_data(1, data_set(uid), command=False)
        await modality.say(both)
        assert sorted([(await modality.response()).status or 0 for _ in range(2)]) == [0, 0x0210]
