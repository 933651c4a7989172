"""`steps list` and `steps show`, of a running router and of one that has stopped."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from router.dimse import Status
from router.services.mpps import step_store
from router.state_store import StateTransaction
from tests.support.command_line import command, json_output
from tests.support.harness import Archive, RunningRouter, running_router
from tests.support.mpps import store_instances
from tests.support.mpps_messages import UID, completed, encoded, in_progress, progress
from tests.support.mpps_peers import RIS, Scanner, hub

PHI = ("Doe", "P1", "A4711")


@asynccontextmanager
async def a_step(folder: Path) -> AsyncIterator[RunningRouter]:
    """A router with a step: one image delivered, one that never came, and a RIS that refuses the last N-SET."""
    async with Archive().serving() as pacs, RIS().serving() as ris:
        ris.judged = lambda heard: 0x0106 if heard.status == "COMPLETED" else None
        config = hub(
            folder,
            'service = "storage"\nto = ["pacs"]',
            'service = "mpps"\nto = ["ris"]',
            'service = "instance-availability"\nto = ["ris"]',
            pacs=pacs.port,
            ris=ris.port,
        )
        async with running_router(config) as router:
            await store_instances(router, ["1.2.3.1"])
            async with Scanner.connected(router.port) as scanner:
                await scanner.create(UID, in_progress())
                await scanner.create("1.2.3", in_progress("2", modality="MR"))
                await scanner.set(UID, completed(["1.2.3.1", "1.2.3.2"]))
            await router.until("ris", delivered=2, held=1)
            await router.until("pacs", delivered=1)
            yield router


def judge(page: Any, step: Any) -> None:
    states = {one["uid"]: (one["stage"], one["modality"], one["series"], one["instances"]) for one in page["steps"]}
    assert states == {UID: ("COMPLETED", "CT", 1, 2), "1.2.3": ("IN PROGRESS", "MR", 0, 0)}
    assert [(one["kind"], one["deliveries"][0]["state"]) for one in step["messages"]] == [
        ("N-CREATE-RQ", "delivered"),
        ("N-SET-RQ", "held"),
    ]
    assert [(one["sop_instance_uid"], one["came"], one["deliveries"]) for one in step["references"]] == [
        ("1.2.3.1", True, [{"destination": "pacs", "state": "delivered"}]),
        ("1.2.3.2", False, []),
    ]
    assert [one["destination"] for one in step["availability_owed"]] == ["ris"]
    assert (step["held"], step["waiting"]) == (1, 0)


async def test_a_running_router_tells_of_its_steps(tmp_path: Path) -> None:
    async with a_step(tmp_path) as router:
        admin = router.options
        judge(await json_output("steps", "list", *admin), await json_output("steps", "show", UID, *admin))
        begun = await json_output("steps", "list", "--stage", "in-progress", *admin)
        unknown = await command("steps", "show", "1.2.3.4", *admin)
    assert [one["uid"] for one in begun["steps"]] == ["1.2.3"]
    assert unknown.exit_code == 1
    assert "there is no step 1.2.3.4" in unknown.stderr


async def test_a_stopped_router_tells_the_same_from_what_it_left(tmp_path: Path) -> None:
    async with a_step(tmp_path):
        pass
    file = tmp_path / "router.toml"
    file.write_text('[router]\nspool = "spool"\n[admin]\nlisten = "127.0.0.1:1"\n')
    option = ("--config", str(file))
    judge(await json_output("steps", "list", *option), await json_output("steps", "show", UID, *option))


async def test_queue_show_has_the_messages_that_wait_for_one_another_together(tmp_path: Path) -> None:
    async with RIS().serving() as ris:
        ris.judged = lambda heard: 0x0120
        async with running_router(hub(tmp_path, ris=ris.port)) as router:
            async with Scanner.connected(router.port) as scanner:
                await scanner.create(UID, in_progress())
                await scanner.set(UID, completed())
            await router.until("ris", held=1, waiting=1)
            shown = await json_output("queue", "show", "1", *router.options)
            words = (await command("queue", "show", "1", *router.options)).stdout
    assert [(one["kind"], one["state"]) for one in shown["deliveries"] + shown["together"]] == [
        ("N-CREATE-RQ", "held"),
        ("N-SET-RQ", "waiting"),
    ]
    assert "in order with message 2, N-SET-RQ, to ris: waiting" in words


async def test_the_patient_is_shown_only_on_request(tmp_path: Path) -> None:
    async with a_step(tmp_path) as router:
        for arguments in (["steps", "list"], ["steps", "show", UID]):
            for form in ([], ["--json"]):
                told = (await command(*arguments, *form, "--phi", *router.options)).stdout
                silent = (await command(*arguments, *form, *router.options)).stdout
                assert all(word in told for word in PHI)
                assert not any(word in silent for word in PHI)
                assert UID in silent


async def test_a_list_with_patients_reads_the_data_sets_in_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_store, "BATCH_BYTES", 1)
    async with RIS().serving() as ris, running_router(hub(tmp_path, ris=ris.port)) as router:
        async with Scanner.connected(router.port) as scanner:
            for number in range(3):
                await scanner.create(f"1.2.{number}", in_progress())
        await router.until("ris", delivered=3)
        page = await json_output("steps", "list", "--phi", *router.options)
        state = router.router._state
        assert [len(await state.read(partial(_batch, left=left))) for left in (["1.2.0", "1.2.1"], ["1.2.9"])] == [1, 0]
    assert {one["uid"]: one["patient_name"] for one in page["steps"]} == {
        f"1.2.{number}": "Doe^Jane" for number in range(3)
    }


def _batch(state: StateTransaction, left: list[str]) -> list[step_store.Step]:
    return step_store.load_batch(state, left)[0]


async def test_no_log_line_names_the_patient(tmp_path: Path) -> None:
    with capture_logs() as logs:
        async with a_step(tmp_path):
            pass
    assert UID in str(logs)
    assert not any(word in str(logs) for word in PHI)


async def test_a_sequence_in_the_place_of_the_character_set_hides_no_step(tmp_path: Path) -> None:
    nested = bytes.fromhex("08000500 5351 0000 00000000") + encoded(progress("on the way"))
    async with RIS().serving() as ris, running_router(hub(tmp_path, ris=ris.port)) as router:
        async with Scanner.connected(router.port) as scanner:
            await scanner.tell(scanner.create_command(UID), nested)
            assert (await scanner.hear()).status == Status.INVALID_ATTRIBUTE_VALUE, "the association stands"
            await scanner.create(UID, in_progress())
            await scanner.tell(scanner.set_command(UID), nested)
            assert (await scanner.hear()).status == Status.SUCCESS
        await router.until("ris", delivered=2)  # their log lines would stand in the command's output
        page = await json_output("steps", "list", "--phi", *router.options)
    assert [one["uid"] for one in page["steps"]] == [UID]
