"""Steps that no modality ends: never forgotten for their age, but counted, bounded, and discarded by an operator."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from router.dimse import Status
from router.services.mpps.intake import NotDiscarded
from tests.support.command_line import command, json_output
from tests.support.harness import RunningRouter, eventually, running_router
from tests.support.mpps_messages import UID, completed, in_progress
from tests.support.mpps_peers import RIS, Scanner, hub

OTHER, THIRD = f"{UID}.1", f"{UID}.2"
WHY = "scanner CT1 was replaced"


@asynccontextmanager
async def house(folder: Path, extra: str = "") -> AsyncIterator[tuple[RunningRouter, RIS, Scanner]]:
    async with RIS().serving() as ris, running_router(hub(folder, ris=ris.port, extra=extra)) as router:
        async with Scanner.connected(router.port) as scanner:
            yield router, ris, scanner


async def quiet(router: RunningRouter) -> None:
    """Wait until nothing is delivered any more: its log lines would stand in a command's output."""
    await router.until("ris", waiting=0, in_flight=0)


async def discard(router: RunningRouter, *uids: str, exit_code: int = 0) -> Any:
    await quiet(router)
    result = await command("steps", "discard", *uids, "--reason", WHY, "--json", *router.options)
    assert result.exit_code == exit_code, result.output
    return json.loads(result.stdout)


async def stale(router: RunningRouter, age: str) -> list[str]:
    await quiet(router)
    page = await json_output("steps", "list", "--stale", age, *router.options)
    return [step["uid"] for step in page["steps"]]


async def test_a_step_in_progress_is_never_forgotten_for_its_age(tmp_path: Path) -> None:
    async with house(tmp_path, extra='[mpps]\nkeep = "1ms"') as (router, _, scanner):
        assert (await scanner.create(UID, in_progress())).status == Status.SUCCESS
        assert (await scanner.create(OTHER, in_progress("2"))).status == Status.SUCCESS
        assert (await scanner.set(OTHER, completed())).status == Status.SUCCESS
        await quiet(router)

        async def forgotten() -> bool:
            await router.router._mpps._remove_expired()
            return len((await json_output("steps", "list", *router.options))["steps"]) == 1

        await eventually(forgotten)
        assert (await scanner.set(OTHER, completed(status="DISCONTINUED"))).status == Status.NO_SUCH_SOP_INSTANCE
        assert (await scanner.set(UID, completed())).status == Status.SUCCESS


async def test_stale_steps_are_listed_and_counted_the_oldest_first(tmp_path: Path) -> None:
    async with house(tmp_path, extra='[mpps]\nkeep = "1ms"') as (router, _, scanner):
        for number, uid in enumerate((UID, OTHER, THIRD)):
            assert (await scanner.create(uid, in_progress(str(number)))).status == Status.SUCCESS
        assert (await scanner.set(OTHER, completed())).status == Status.SUCCESS
        assert await stale(router, "0s") == [UID, THIRD]
        assert await stale(router, "1h") == []

        async def counted() -> bool:
            return (await router.router.status())["steps"] == {"in_progress": 2, "stale": 2}

        await eventually(counted)
        shown = await command("status", *router.options)
        assert "procedure steps: 2 in progress, 2 of them" in shown.stdout


async def test_a_stopped_router_tells_of_its_stale_steps(tmp_path: Path) -> None:
    async with house(tmp_path) as (_, _, scanner):
        assert (await scanner.create(UID, in_progress())).status == Status.SUCCESS
    path = tmp_path / "router.toml"
    path.write_text('[router]\nspool = "spool"\n[admin]\nlisten = "127.0.0.1:0"\n')
    at = ("--config", str(path))
    assert [one["uid"] for one in (await json_output("steps", "list", "--stale", "0s", *at))["steps"]] == [UID]
    assert (await json_output("status", *at))["steps"] == {"in_progress": 1, "stale": 0}


@pytest.mark.parametrize("arguments", [("--stale", "soon"), ("--stale", "1h", "--stage", "completed")])
async def test_what_cannot_be_stale_is_refused(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    async with house(tmp_path) as (router, _, _):
        assert (await command("steps", "list", *arguments, *router.options)).exit_code != 0


async def test_past_the_limit_no_step_begins_until_one_ends_or_is_discarded(tmp_path: Path) -> None:
    async with house(tmp_path, extra="[limits]\nsteps = 2") as (router, _, scanner):
        assert (await scanner.create(UID, in_progress())).status == Status.SUCCESS
        assert (await scanner.create(OTHER, in_progress("2"))).status == Status.SUCCESS
        assert (await scanner.create(THIRD, in_progress("3"))).status == Status.RESOURCE_LIMITATION
        assert (await scanner.create(UID, in_progress())).status == Status.SUCCESS  # a repeat begins nothing
        assert (await scanner.set(UID, completed())).status == Status.SUCCESS
        assert (await scanner.create(THIRD, in_progress("3"))).status == Status.SUCCESS
        assert (await scanner.create("1.2.3", in_progress("4"))).status == Status.RESOURCE_LIMITATION
        await discard(router, OTHER)
        assert (await scanner.create("1.2.3", in_progress("4"))).status == Status.SUCCESS


async def test_many_that_begin_at_once_do_not_pass_the_limit(tmp_path: Path) -> None:
    async with house(tmp_path, extra="[limits]\nsteps = 3") as (router, _, _):
        statuses: list[int] = []

        async def begin(number: int) -> None:
            async with Scanner.connected(router.port) as scanner:
                statuses.append((await scanner.create(f"1.2.3.{number}", in_progress(str(number)))).status)

        async with trio.open_nursery() as nursery:
            for number in range(12):
                nursery.start_soon(begin, number)
        assert (await router.router.status())["steps"]["in_progress"] <= 3
        assert set(statuses) == {Status.SUCCESS, Status.RESOURCE_LIMITATION}


async def test_a_discarded_step_is_removed_and_destinations_get_no_message(tmp_path: Path) -> None:
    async with house(tmp_path) as (router, ris, scanner):
        assert (await scanner.create(UID, in_progress())).status == Status.SUCCESS
        await ris.until(UID, "IN PROGRESS")
        assert await discard(router, UID) == {"discarded": [UID], "refused": {}}
        assert (await scanner.set(UID, completed())).status == Status.NO_SUCH_SOP_INSTANCE
        assert ris.messages() == [("N-CREATE-RQ", "IN PROGRESS", 0)]


async def test_the_log_says_who_began_a_discarded_step_and_why_it_was_discarded(tmp_path: Path) -> None:
    async with house(tmp_path) as (router, _, scanner):
        assert (await scanner.create(UID, in_progress())).status == Status.SUCCESS
        with capture_logs() as log:
            await router.router._mpps.discard(UID, WHY)
    (said,) = [line for line in log if line["event"] == "procedure step discarded"]
    assert (said["sop_instance_uid"], said["calling_ae"], said["reason"]) == (UID, "MODALITY", WHY)


async def test_only_a_step_in_progress_can_be_discarded(tmp_path: Path) -> None:
    async with house(tmp_path) as (router, _, scanner):
        for uid in (UID, OTHER):
            assert (await scanner.create(uid, in_progress())).status == Status.SUCCESS
        assert (await scanner.set(OTHER, completed())).status == Status.SUCCESS
        answer = await discard(router, UID, OTHER, "1.2.3", exit_code=1)
        left = await json_output("steps", "list", *router.options)
    assert answer["discarded"] == [UID]
    assert answer["refused"].keys() == {OTHER, "1.2.3"}
    assert [step["uid"] for step in left["steps"]] == [OTHER]


async def test_an_n_set_that_is_being_taken_comes_before_the_discard(tmp_path: Path) -> None:
    async with house(tmp_path) as (router, ris, scanner):
        assert (await scanner.create(UID, in_progress())).status == Status.SUCCESS
        commit, committed = router.spool.intake.store, trio.Event()

        async def slowly(*arguments: Any) -> Any:
            committed.set()
            await trio.testing.wait_all_tasks_blocked()
            return await commit(*arguments)

        router.spool.intake.store = slowly  # type: ignore[method-assign,assignment]
        await scanner.tell(scanner.set_command(UID), completed())
        await committed.wait()
        with pytest.raises(NotDiscarded, match="COMPLETED"):
            await router.router._mpps.discard(UID, WHY)
        assert (await scanner.hear()).status == Status.SUCCESS
        await ris.until(UID, "COMPLETED")
