"""Each kind of work has worker threads of its own."""

import ast
from pathlib import Path

import trio
from attrs import evolve

import router
from router.concurrency import COMPUTING, DISK_IN, DISK_OUT, STATE
from router.spool.disk.counters import Counters
from router.state_store import StateStore
from tests.support.spool import SETTINGS, running_spool, store_message

PATIENCE = 20.0
DATA = bytes(range(256)) * (5 << 12)
"""5 MiB: more than two pieces of a large file."""
ONE_SHOT = {"cli", "tools"}
"""Programs with one thing to do: they may use the default threads."""


def test_every_worker_thread_of_the_running_router_has_a_named_limiter() -> None:
    root = Path(router.__file__).parent
    without = [
        f"{path.relative_to(root)}:{node.lineno}"
        for path in root.rglob("*.py")
        if path.relative_to(root).parts[0] not in ONE_SHOT
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "run_sync"
        and ast.unparse(node.func.value) == "trio.to_thread"
        and not any(keyword.arg == "limiter" for keyword in node.keywords)
    ]
    assert without == []


async def test_a_large_data_set_is_received_while_all_other_limiters_are_exhausted(tmp_path: Path) -> None:
    async with running_spool(tmp_path / "spool", SETTINGS) as spool:
        for lane in (trio.to_thread.current_default_thread_limiter(), DISK_OUT, STATE, COMPUTING):
            for _ in range(int(lane.available_tokens)):
                lane.acquire_on_behalf_of_nowait(object())
        try:
            with trio.fail_after(PATIENCE):
                await store_message(spool, bytes(range(256)) * 16_384)
        finally:
            _give_back(DISK_OUT, STATE, COMPUTING)


async def test_the_state_changes_while_all_other_limiters_are_exhausted(tmp_path: Path) -> None:
    state = StateStore.open(tmp_path, Counters())
    state.define("CREATE TABLE IF NOT EXISTS facts (name TEXT)")
    for lane in (trio.to_thread.current_default_thread_limiter(), DISK_IN, DISK_OUT, COMPUTING):
        for _ in range(int(lane.available_tokens)):
            lane.acquire_on_behalf_of_nowait(object())
    try:
        with trio.fail_after(PATIENCE):
            await state.change(lambda connection: connection.execute("INSERT INTO facts VALUES ('a')"))
            assert await state.read(lambda connection: connection.execute("SELECT name FROM facts").fetchall())
    finally:
        _give_back(DISK_IN, DISK_OUT, COMPUTING)
        state.close()


async def test_writing_large_data_sets_uses_no_more_threads_than_its_limiter_allows(tmp_path: Path) -> None:
    settings = evolve(SETTINGS, memory=64 << 20)  # room for two pieces of each
    async with running_spool(tmp_path / "spool", settings) as spool, trio.open_nursery() as nursery:
        most = 0

        async def look() -> None:
            nonlocal most
            while True:
                most = max(most, int(DISK_IN.borrowed_tokens))
                await trio.lowlevel.checkpoint()

        async def store_all() -> None:
            async with trio.open_nursery() as storing:
                for number in range(12):
                    storing.start_soon(store_message, spool, DATA, f"1.2.{number}")
            nursery.cancel_scope.cancel()

        nursery.start_soon(look)
        with trio.fail_after(PATIENCE):
            await store_all()
        assert 0 < most <= DISK_IN.total_tokens
    assert DISK_IN.borrowed_tokens == 0, "a place was not given back"


def _give_back(*lanes: trio.CapacityLimiter) -> None:
    for lane in lanes:
        for borrower in lane.statistics().borrowers:
            lane.release_on_behalf_of(borrower)
