"""Delivery, from outside: a modality, the router, and archives with every kind of bad day."""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio
from structlog.testing import capture_logs

from pdu import AssociateRJ
from router.delivery.retry import UNANSWERED_TO_OPEN
from router.dimse import Command
from router.model import Cause
from router.spool import Spool
from tests.support.harness import (
    CT,
    IMPLICIT,
    Answer,
    Archive,
    Modality,
    RunningRouter,
    configuration,
    data_set,
    eventually,
    running_router,
    store_rq,
)

MR, JPEG = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.1.2.4.70"


async def send(router: RunningRouter, *uids: str, contexts: tuple[tuple[str, str], ...] = ((CT, IMPLICIT),)) -> None:
    """Store one object for each UID, in turn on each context; all must be acknowledged."""
    async with Modality.connected(router.port) as modality:
        await modality.associate(*((abstract, (syntax,)) for abstract, syntax in contexts))
        for number, uid in enumerate(uids):
            which = number % len(contexts)
            sop_class = contexts[which][0]
            response = await modality.store(store_rq(uid, sop_class), data_set(uid, sop_class), 2 * which + 1)
            assert response.status == 0


def one_peer(port: int, keys: str = "") -> str:
    """A peer with keys of its own, and a route that sends it everything."""
    return f"""
    [peers.pacs]
    ae_title = "PACS"
    address = "127.0.0.1:{port}"
    {keys}
    [[routes]]
    name = "all"
    service = "storage"
    to = "pacs"
    """


UIDS = [f"1.2.3.{number}" for number in range(1, 11)]


async def test_every_destination_of_every_matching_route_gets_the_object_once(tmp_path: Path) -> None:
    routes = """
    [[routes]]
    name = "ct"
    service = "storage"
    when = { Modality = "CT", calling_ae = "MOD*" }
    to = ["pacs", "vna"]
    [[routes]]
    name = "all"
    service = "storage"
    to = ["vna"]
    """
    async with AsyncExitStack() as stack:
        pacs, vna = [await stack.enter_async_context(Archive().serving()) for _ in range(2)]
        config = configuration(tmp_path, routes, pacs=pacs.port, vna=vna.port)
        router = await stack.enter_async_context(running_router(config))
        await send(router, *UIDS)
        for name in ("pacs", "vna"):
            await router.until(name, delivered=10, waiting=0, in_flight=0)
        for archive in (pacs, vna):
            assert sorted(s.command.affected_sop_instance_uid or "" for s in archive.stored) == sorted(UIDS)


async def test_one_association_carries_what_waits_with_one_context_for_each_class_and_syntax(tmp_path: Path) -> None:
    async with (
        Archive().serving() as archive,
        running_router(configuration(tmp_path, pacs=archive.port)) as router,
    ):
        await send(router, *UIDS, contexts=((CT, IMPLICIT), (MR, JPEG)))
        stored = await archive.received(10)
        assert {(s.command.affected_sop_class_uid, s.transfer_syntax) for s in stored} == {(CT, IMPLICIT), (MR, JPEG)}
        assert archive.most_at_once == 1


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (0x0000, "delivered"),
        (0xB000, "delivered"),
        (0xB006, "delivered"),
        (0xB007, "delivered"),
        (0x0107, "delivered"),
        (0xA900, "held"),
        (0xC000, "held"),
        (0xC123, "held"),
        (0x0122, "held"),
        (0x0124, "held"),
        (0x0110, "held"),
    ],
)
async def test_what_an_archive_answers_decides_what_becomes_of_the_delivery(
    tmp_path: Path, answer: int, outcome: str
) -> None:
    async with (
        Archive(script=lambda _: answer).serving() as archive,
        running_router(configuration(tmp_path, pacs=archive.port)) as router,
    ):
        await send(router, UIDS[0])
        await router.until("pacs", **{outcome: 1}, waiting=0, in_flight=0)


@pytest.mark.parametrize("trouble", [0xA700, 0xA712, 0x0213, "abort", "abort early", "close", "wrong id", "silence"])
async def test_trouble_that_may_pass_is_tried_again_until_it_has_passed(tmp_path: Path, trouble: Answer) -> None:
    answers = iter([trouble, trouble, trouble])

    def script(command: Command) -> Answer:
        return next(answers, 0)

    config = configuration(tmp_path, "[timeouts]\ndimse = '100ms'")
    async with Archive(script=script).serving() as archive:
        config = configuration(tmp_path, "[timeouts]\ndimse = '100ms'", pacs=archive.port)
        async with running_router(config) as router:
            await send(router, UIDS[0])
            await router.until("pacs", delivered=1)
        assert [s.command.affected_sop_instance_uid for s in archive.stored][-1] == UIDS[0]


async def test_one_poison_object_does_not_slow_the_others(tmp_path: Path) -> None:
    def script(command: Command) -> Answer:
        return "abort" if command.affected_sop_instance_uid == UIDS[0] else 0

    async with (
        Archive(script=script).serving() as archive,
        running_router(configuration(tmp_path, pacs=archive.port)) as router,
    ):
        await send(router, *UIDS)
        await router.until("pacs", delivered=9)
        assert (await router.totals("pacs"))["accepted"] == 10


@pytest.mark.parametrize("trouble", ["abort", "close"])
async def test_a_destination_that_keeps_failing_is_left_in_peace_for_a_while(tmp_path: Path, trouble: Answer) -> None:
    asked: set[str | None] = set()

    def script(command: Command) -> Answer:
        asked.add(command.affected_sop_instance_uid)
        return trouble

    async with Archive(script=script).serving() as archive:
        text = f"""
        [peers.pacs]
        ae_title = "PACS"
        address = "127.0.0.1:{archive.port}"
        retry = {{ first = "1h", max = "1h" }}
        [[routes]]
        name = "all"
        service = "storage"
        to = "pacs"
        """
        async with running_router(configuration(tmp_path, text)) as router:
            await send(router, *UIDS)
            await send(router, "1.2.4.1")

            async def backing_off() -> bool:
                return (await router.totals("pacs"))["actor_stage"] == "backing off"

            await eventually(backing_off)
            assert len(asked) == UNANSWERED_TO_OPEN
            assert (await router.totals("pacs"))["waiting"] == 11


async def test_a_dead_destination_stops_no_other_and_gets_everything_when_it_returns(tmp_path: Path) -> None:
    async with Archive().serving() as dead:
        port = dead.port
    async with Archive().serving() as live:
        async with running_router(configuration(tmp_path, live=live.port, dead=port)) as router:
            await send(router, *UIDS)
            await router.until("live", delivered=10)
            numbers = await router.until("dead", waiting=10)
            assert numbers["actor_stage"] == "backing off"
            assert "no connection" in numbers["actor_reason"]
            async with Archive(port=port).serving() as returned:
                await router.until("dead", delivered=10, waiting=0)
                assert len(returned.stored) == 10


async def test_after_a_restart_delivery_goes_on_where_it_was(tmp_path: Path) -> None:
    async with Archive().serving() as archive:
        port = archive.port
    config = configuration(tmp_path, pacs=port)
    async with running_router(config) as router:
        await send(router, *UIDS)
        await router.until("pacs", waiting=10)
    async with Archive(port=port).serving() as archive, running_router(config) as router:
        await router.until("pacs", delivered=10, waiting=0)
        assert sorted(s.command.affected_sop_instance_uid or "" for s in archive.stored) == sorted(UIDS)


async def test_a_backlog_larger_than_the_window_flows_without_a_pause(tmp_path: Path) -> None:
    async with Archive().serving() as archive:
        port = archive.port
    text = f"""
    [peers.pacs]
    ae_title = "PACS"
    address = "127.0.0.1:{port}"
    linger = "1h"
    retry = {{ first = "20ms", max = "100ms" }}
    [[routes]]
    name = "all"
    service = "storage"
    to = "pacs"
    """
    uids = [f"1.2.6.{number}" for number in range(700)]
    async with running_router(configuration(tmp_path, text)) as router:
        await send(router, *uids)
        async with Archive(port=port).serving() as archive:
            await router.until("pacs", delivered=700)
            assert archive.associations == 1


async def test_an_association_that_lingers_takes_what_is_due_again(tmp_path: Path) -> None:
    answers = iter([0xA700])
    async with Archive(lambda _: next(answers, 0)).serving() as archive:
        text = f"""
        [peers.pacs]
        ae_title = "PACS"
        address = "127.0.0.1:{archive.port}"
        linger = "1h"
        retry = {{ first = "20ms", max = "100ms" }}
        [[routes]]
        name = "all"
        service = "storage"
        to = "pacs"
        """
        async with running_router(configuration(tmp_path, text)) as router:
            await send(router, UIDS[0])
            await router.until("pacs", delivered=1)
            assert archive.associations == 1


@pytest.mark.parametrize("rejection", [(1, 1, 7), (1, 1, 3), (1, 1, 1), (1, 1, 2), (1, 3, 1), (2, 3, 2), (2, 3, 1)])
async def test_whatever_rejection_is_tried_again_and_is_loud(tmp_path: Path, rejection: tuple[int, int, int]) -> None:
    result, source, reason = rejection
    answers = iter([AssociateRJ(result=result, source=source, reason=reason)] * 3)
    with capture_logs() as logs:
        async with (
            Archive(on_request=lambda _: next(answers, None)).serving() as archive,
            running_router(configuration(tmp_path, pacs=archive.port)) as router,
        ):
            await send(router, *UIDS)
            await router.until("pacs", delivered=10, waiting=0, in_flight=0)
    loud = [line for line in logs if line["event"] == "destination rejects associations"]
    assert [line["log_level"] for line in loud] == ["error"] * 3
    assert all("rejected" in line["why"] for line in loud)


async def test_a_destination_that_rejects_for_longer_than_give_up_gets_its_deliveries_held(tmp_path: Path) -> None:
    rejection = AssociateRJ(result=1, source=1, reason=3)
    async with Archive(on_request=lambda _: rejection).serving() as archive:
        text = one_peer(archive.port, 'retry = { first = "10ms", factor = 1.0, max = "10ms", give_up = "100ms" }')
        async with running_router(configuration(tmp_path, text)) as router:
            await send(router, *UIDS[:3])
            await router.until("pacs", held=3, waiting=0)
            rows = await router.spool.queue.list_deliveries()
    assert {row.cause for row in rows} == {Cause.REJECTED}


async def test_what_the_archive_has_no_presentation_context_for_is_held_and_the_rest_goes(tmp_path: Path) -> None:
    async with (
        Archive(accepts=lambda context: context.abstract_syntax == CT).serving() as archive,
        running_router(configuration(tmp_path, pacs=archive.port)) as router,
    ):
        await send(router, *UIDS, contexts=((CT, IMPLICIT), (MR, IMPLICIT)))
        await router.until("pacs", delivered=5, held=5, waiting=0)


async def test_more_than_128_contexts_take_more_than_one_association(tmp_path: Path) -> None:
    contexts = tuple((f"1.2.840.99.{number}", IMPLICIT) for number in range(150))
    async with Archive().serving() as archive:
        port = archive.port
    config = configuration(tmp_path, pacs=port)
    async with running_router(config) as router:
        for part in (contexts[:100], contexts[100:]):
            await send(router, *(f"1.2.9.{abstract}" for abstract, _ in part), contexts=part)
        async with Archive(port=port).serving() as archive:
            await router.until("pacs", delivered=150)
            assert archive.associations >= 2


async def test_what_is_owed_for_longer_than_give_up_is_held_with_its_reason(tmp_path: Path) -> None:
    async with Archive().serving() as dead:
        port = dead.port
    text = f"""
    [peers.pacs]
    ae_title = "PACS"
    address = "127.0.0.1:{port}"
    retry = {{ first = "10ms", factor = 1.0, max = "10ms", give_up = "100ms" }}
    [[routes]]
    name = "all"
    service = "storage"
    to = "pacs"
    """
    async with running_router(configuration(tmp_path, text)) as router:
        await send(router, *UIDS[:3])
        await router.until("pacs", held=3, waiting=0)


async def test_an_association_is_kept_while_there_is_work_and_for_linger_after_it(tmp_path: Path) -> None:
    async with (
        Archive().serving() as archive,
        running_router(configuration(tmp_path, pacs=archive.port)) as router,
    ):
        for uid in UIDS[:3]:
            await send(router, uid)
        await router.until("pacs", delivered=3)
        assert archive.associations == 1


async def test_an_archive_that_ends_a_resting_association_costs_no_attempt(tmp_path: Path) -> None:
    with capture_logs() as logs:
        async with Archive().serving() as archive:
            async with running_router(configuration(tmp_path, pacs=archive.port)) as router:
                await send(router, UIDS[0])
                await router.until("pacs", delivered=1)
                async with Archive(script=lambda _: 0).serving():
                    pass
                await send(router, UIDS[1])
                await router.until("pacs", delivered=2)
    assert {line["attempt"] for line in logs if line["event"] == "delivery"} == {1}


async def test_up_to_associations_requestors_work_side_by_side(tmp_path: Path) -> None:
    async with Archive().serving() as archive:
        text = f"""
        [peers.pacs]
        ae_title = "PACS"
        address = "127.0.0.1:{archive.port}"
        associations = 3
        [[routes]]
        name = "all"
        service = "storage"
        to = "pacs"
        """
        async with running_router(configuration(tmp_path, text)) as router:
            await send(router, *(f"1.2.5.{number}" for number in range(100)))
            await router.until("pacs", delivered=100)
        assert 1 <= archive.most_at_once <= 3


async def test_the_same_object_twice_in_the_queue_is_one_delivery(tmp_path: Path) -> None:
    async with Archive().serving() as archive:
        port = archive.port
    async with running_router(configuration(tmp_path, pacs=port)) as router:
        await send(router, UIDS[0], UIDS[0], UIDS[1])
        await send(router, UIDS[0])
        async with Archive(port=port).serving() as archive:
            await router.until("pacs", delivered=2, waiting=0)
            assert len(archive.stored) == 2


async def test_a_delivery_is_one_line_of_the_log(tmp_path: Path) -> None:
    with capture_logs() as logs:
        async with (
            Archive(script=lambda _: 0xB000).serving() as archive,
            running_router(configuration(tmp_path, pacs=archive.port)) as router,
        ):
            await send(router, UIDS[0])
            await router.until("pacs", delivered=1)
    (line,) = [line for line in logs if line["event"] == "delivery"]
    assert (line["destination"], line["outcome"], line["attempt"]) == ("pacs", "delivered", 1)
    assert line["reason"].startswith("B000H")
    assert line["sop_instance_uid"] == UIDS[0]


async def test_a_reload_exchanges_routes_and_peers_and_loses_nothing(tmp_path: Path) -> None:
    async with Archive().serving() as old, Archive().serving() as new:
        async with running_router(configuration(tmp_path, pacs=old.port)) as router:
            await send(router, UIDS[0])
            await router.until("pacs", delivered=1)
            router.router.reload(configuration(tmp_path, pacs=new.port))
            await send(router, UIDS[1])
            await router.until("pacs", delivered=2)
            assert len(new.stored) == 1


async def test_a_crashed_destination_is_started_again_and_the_others_do_not_notice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = Spool.fresh
    crashes = iter([True])

    async def crash_once(self: Spool, destination: str, after: int, limit: int) -> object:
        if destination == "pacs" and next(crashes, False):
            raise RuntimeError("a bug")
        return await fresh(self, destination, after, limit)

    monkeypatch.setattr(Spool, "fresh", crash_once)
    async with Archive().serving() as pacs, Archive().serving() as vna:
        async with running_router(configuration(tmp_path, pacs=pacs.port, vna=vna.port)) as router:
            await send(router, UIDS[0])
            for name in ("vna", "pacs"):
                await router.until(name, delivered=1)


async def test_an_archive_that_never_answers_the_request_is_left_at_the_association_deadline(tmp_path: Path) -> None:
    answers = iter(["silence"])
    text = "[timeouts]\nassociation = '100ms'"
    async with Archive(on_request=lambda _: next(answers, None)).serving() as archive:
        async with running_router(configuration(tmp_path, text, pacs=archive.port)) as router:
            with trio.fail_after(10):
                await send(router, UIDS[0])
                await router.until("pacs", delivered=1)
