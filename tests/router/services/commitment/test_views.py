"""`commitments list|show|report` and `status`: of a running router, and of the spool of one that does not run."""

import csv
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from click.testing import CliRunner

from router import logs
from router.cli import main
from router.model import Purpose
from router.spool import ReadOnlySpool, Totals
from tests.support.commitment import RETAINED_FOR_PACS, ROUTE, STORAGE, commitment_router, retaining_router, store
from tests.support.commitment_peers import UID, ask, instances
from tests.support.harness import RunningRouter

ONE, TWO = instances(2)


@pytest.fixture(autouse=True)
def quiet() -> None:
    """The router of this process shares its standard output with the command."""
    logs.configure(level="error")


def run(*arguments: str) -> str:
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == 0, result.output
    return result.stdout


def of(running: RunningRouter) -> Callable[..., Any]:
    async def ask_it(*arguments: str) -> str:
        work = partial(run, *arguments, *running.options)
        return await trio.to_thread.run_sync(work)

    return ask_it


async def test_it_is_told_which_archive_said_what(tmp_path: Path) -> None:
    async with commitment_router(tmp_path, misses=frozenset({TWO.sop_instance_uid})) as (running, _, modality):
        cli = of(running)
        assert "no commitments" in await cli("commitments", "list")
        await ask(running.port, (ONE, TWO))
        await modality.reports()
        (listed,) = json.loads(await cli("commitments", "list", "--json"))["commitments"]
        assert (listed["transaction_uid"], listed["instances"], listed["failed"]) == (UID, 2, 1)
        assert "pacs reported" in await cli("commitments", "list")
        for name in (UID, "1", listed["archives"][0]["uid"]):
            shown = json.loads(await cli("commitments", "show", name, "--json"))
            assert shown["transaction_uid"] == UID
        words = {one["sop_instance_uid"]: one["archives"]["pacs"]["word"] for one in shown["references"]}
        assert words == {ONE.sop_instance_uid: "committed", TWO.sop_instance_uid: "0112H no such sop instance"}
        assert "0112H no such sop instance" in await cli("commitments", "show", UID)


async def test_the_report_tells_sent_acknowledged_and_committed_apart(tmp_path: Path) -> None:
    missing = frozenset({TWO.sop_instance_uid})
    async with commitment_router(tmp_path, ROUTE + STORAGE, misses=missing) as (running, _, modality):
        cli = of(running)
        assert "nothing was received" in await cli("commitments", "report")
        await store(running.port, ONE, TWO)
        await ask(running.port, (ONE, TWO))
        await modality.reports()
        report = json.loads(await cli("commitments", "report", "--format", "json"))
        (sums,) = report["archives"]
        assert sums == {"archive": "pacs", "instances": 2, "sent": 2, "acknowledged": 2, "committed": 1, "gap": 1}
        rows = list(csv.DictReader((await cli("commitments", "report", "--format", "csv")).splitlines()))
        assert [(row["archive"], row["state"], bool(row["committed"]), row["reason"]) for row in rows] == [
            ("pacs", "delivered", True, ""),
            ("pacs", "delivered", False, "0112H no such sop instance"),
        ]
        assert "acknowledged" in await cli("commitments", "report")
        assert "nothing" in await cli("commitments", "report", "--day", "2001-01-01")
        assert "nothing" in await cli("commitments", "report", "--study", "1.2.3")


async def test_status_tells_delivered_committed_and_the_gap(tmp_path: Path) -> None:
    async with retaining_router(tmp_path, behaviour="is silent") as (running, pacs):
        await store(running.port, ONE, TWO)
        await running.until("pacs", gap=2)
        pacs.behaviour = "commits"
        await running.until(RETAINED_FOR_PACS, delivered=2)
        totals = await running.totals("pacs")
        assert (totals["committed"], totals["gap"]) == (2, 0)
        assert "committed" in await of(running)("status")


async def test_what_is_retained_is_listed_and_chosen_by_the_name_that_status_shows(tmp_path: Path) -> None:
    async with retaining_router(tmp_path, behaviour="is silent") as (running, _):
        await store(running.port, ONE, TWO)
        await running.until("pacs", gap=2)
        cli = of(running)
        rows = json.loads(await cli("queue", "list", "--state", "all", "--json"))["deliveries"]
        assert [(row["destination"], row["state"]) for row in rows if row["service"] == "storage"] == 2 * [
            ("pacs", "delivered"),
            (RETAINED_FOR_PACS, "waiting"),
        ]
        assert "purpose" not in rows[0]
        assert json.loads(await cli("queue", "list", "--destination", "pacs", "--json"))["deliveries"] == []
        await cli("queue", "hold", "--destination", "pacs")
        assert (await running.totals(RETAINED_FOR_PACS))["held"] == 0
        await cli("queue", "hold", "--destination", RETAINED_FOR_PACS)
        assert (await running.totals(RETAINED_FOR_PACS))["held"] == 2
        result = await trio.to_thread.run_sync(
            partial(CliRunner().invoke, main, ["queue", "retry", "--all", "--to", RETAINED_FOR_PACS, *running.options])
        )
        assert "expected a peer of the configuration" in result.output
    looking = ReadOnlySpool(running.config.router.spool)
    assert looking.queue.totals(Purpose.RETAIN) == {"pacs": Totals(held=2)}
    looking.close()


async def test_a_stopped_routers_spool_tells_the_same(tmp_path: Path) -> None:
    async with commitment_router(tmp_path, ROUTE + STORAGE) as (running, _, modality):
        await store(running.port, ONE)
        await ask(running.port, (ONE,))
        await modality.reports()
        config = tmp_path / "router.toml"
        text = '[router]\nspool = "spool"\n[admin]\nlisten = "127.0.0.1:1"\n'
        config.write_text(text, encoding="utf-8")
    stopped = partial(run, "--config", str(config), "commitments")
    assert UID in await trio.to_thread.run_sync(stopped, "list")
    assert UID in await trio.to_thread.run_sync(stopped, "show", UID)
    report = json.loads(await trio.to_thread.run_sync(stopped, "report", "--format", "json"))
    assert report["archives"][0]["committed"] == 1
