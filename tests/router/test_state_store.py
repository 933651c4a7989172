"""The durable state of services: changes that are wanted together share a transaction, and fail alone."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from router.spool.disk.counters import Counters
from router.state_store import StateStore, StateTransaction

SCHEMA = "CREATE TABLE IF NOT EXISTS marks (mark INTEGER PRIMARY KEY)"


@asynccontextmanager
async def state(folder: Path) -> AsyncIterator[StateStore]:
    opened = StateStore.open(folder, Counters())
    try:
        opened.define(SCHEMA)
        yield opened
    finally:
        opened.close()


def marks(connection: StateTransaction) -> list[int]:
    return [mark for (mark,) in connection.execute("SELECT mark FROM marks ORDER BY mark")]


def setting(mark: int) -> "Setting":
    return Setting(mark)


class Setting:
    def __init__(self, mark: int) -> None:
        self._mark = mark

    def __call__(self, connection: StateTransaction) -> int:
        connection.execute("INSERT INTO marks VALUES (?)", (self._mark,))
        return self._mark


async def test_a_change_is_seen_by_whoever_reads_when_it_has_returned(tmp_path: Path) -> None:
    async with state(tmp_path) as one:
        assert await one.change(setting(1)) == 1
        assert one.read_now(marks) == [1]
        assert await one.read(marks) == [1]
    async with state(tmp_path) as again:
        assert again.read_now(marks) == [1]


async def test_changes_at_the_same_time_all_happen_and_each_has_its_own_result(tmp_path: Path) -> None:
    results: dict[int, int] = {}
    async with state(tmp_path) as one:

        async def change(mark: int) -> None:
            results[mark] = await one.change(setting(mark))

        async with trio.open_nursery() as nursery:
            for mark in range(50):
                nursery.start_soon(change, mark)
        assert one.read_now(marks) == list(range(50))
    assert results == {mark: mark for mark in range(50)}


async def test_a_change_that_fails_is_undone_alone(tmp_path: Path) -> None:
    errors: list[Exception] = []

    def half(connection: StateTransaction) -> None:
        connection.execute("INSERT INTO marks VALUES (100)")
        raise LookupError("not this one")

    async with state(tmp_path) as one:

        async def change(mark: int) -> None:
            await one.change(setting(mark))

        async def fail(work: object, kind: type[Exception]) -> None:
            with pytest.raises(kind) as raised:
                await one.change(work)  # type: ignore[arg-type]
            errors.append(raised.value)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(change, 1)
            nursery.start_soon(fail, half, LookupError)
            nursery.start_soon(change, 2)
        await fail(setting(2), sqlite3.IntegrityError)
        assert one.read_now(marks) == [1, 2]
    assert len(errors) == 2


async def test_cancellation_waits_for_a_change_that_has_begun(tmp_path: Path) -> None:
    async with state(tmp_path) as one:
        with trio.CancelScope() as scope:

            def work(connection: StateTransaction) -> None:
                trio.from_thread.run_sync(scope.cancel)
                connection.execute("INSERT INTO marks VALUES (1)")

            await one.change(work)
            assert one.read_now(marks) == [1]
        with trio.CancelScope() as scope:
            scope.cancel()
            await one.change(setting(2))
        assert one.read_now(marks) == [1]
