"""The state of the services at a start: set aside where it cannot be trusted, never followed out of the spool."""

import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from router import state_file
from router.spool import OutOfSpace, SpoolFailure, SpoolUnusable
from router.spool.disk.counters import Counters
from router.state_file import NAME, mark_corrupt
from router.state_store import StateStore, StateTransaction

DAY = 86400.0
SCHEMA = """
CREATE TABLE IF NOT EXISTS marks (mark INTEGER PRIMARY KEY, word TEXT);
CREATE INDEX IF NOT EXISTS marks_word ON marks (word);
"""
_ADD, _ROW = "INSERT INTO marks (word) VALUES (?)", ("word" * 500,)


def opened(folder: Path, counters: Counters | None = None) -> StateStore:
    state = StateStore.open(folder, counters or Counters())
    state.define(SCHEMA)
    return state


def add(connection: StateTransaction) -> None:
    connection.execute(_ADD, _ROW)


def count(connection: StateTransaction) -> int:
    return int(connection.execute("SELECT count(*) FROM marks").fetchone()[0])


async def filled(folder: Path, rows: int = 100) -> None:
    state = opened(folder)
    await state.change(lambda connection: connection.executemany(_ADD, [_ROW] * rows))
    state.close()


def aside(folder: Path) -> set[str]:
    return {path.name for path in (folder / "damaged").iterdir()}


def break_index(folder: Path) -> None:
    """In a page that nothing looks at when the database is opened."""
    connection = sqlite3.connect(folder / NAME)
    (root,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'marks_word'").fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    with (folder / NAME).open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * 200)


def overwrite(folder: Path) -> None:
    (folder / NAME).write_bytes(b"no database" * 1000)


def cut_short(folder: Path) -> None:
    os.truncate(folder / NAME, 8192)


@pytest.mark.parametrize("damage", [break_index, overwrite, cut_short])
async def test_a_state_that_is_corrupt_is_set_aside_and_the_router_starts(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    await filled(tmp_path)
    damage(tmp_path)
    with capture_logs() as lines:
        state = opened(tmp_path)
    assert state.read_now(count) == 0
    await state.change(add)
    state.close()
    assert [line["copy"] for line in lines if "copy" in line] == [str(tmp_path / "damaged/state-1.sqlite")]
    again = opened(tmp_path)
    assert again.read_now(count) == 1
    again.close()


async def test_what_was_not_yet_in_the_database_itself_is_set_aside_with_it(tmp_path: Path) -> None:
    """The log of the old database would be played into the new one."""
    await filled(tmp_path)
    log = tmp_path / f"{NAME}-wal"
    state = opened(tmp_path)
    await state.change(add)
    kept = log.read_bytes()
    state.close()
    log.write_bytes(kept)
    mark_corrupt(tmp_path)
    state = opened(tmp_path)
    assert state.read_now(count) == 0
    state.close()
    assert (tmp_path / "damaged/state-1.sqlite-wal").read_bytes() == kept


async def test_what_is_found_corrupt_while_the_router_runs_ends_it_and_is_set_aside_at_the_next_start(
    tmp_path: Path,
) -> None:
    await filled(tmp_path, rows=2000)
    state = opened(tmp_path)
    break_index(tmp_path)
    with pytest.raises(SpoolFailure, match="malformed"):
        await state.read(lambda connection: connection.execute("SELECT max(word) FROM marks").fetchone())
    with pytest.raises(SpoolFailure):
        await state.change(add)
    with pytest.raises(SpoolFailure):
        await state.watch()
    state.close()
    with capture_logs() as lines:
        again = opened(tmp_path)
    assert again.read_now(count) == 0
    again.close()
    assert [line["why"] for line in lines if "copy" in line] == ["SQLite found it corrupt while the router ran"]
    third = opened(tmp_path)
    third.close()
    assert "state-2.sqlite" not in aside(tmp_path)


@pytest.mark.parametrize("renamed", [0, 1])
async def test_a_start_that_was_cut_short_while_it_set_the_state_aside_is_finished_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renamed: int
) -> None:
    await filled(tmp_path)
    (tmp_path / f"{NAME}-wal").write_bytes(b"wal")
    mark_corrupt(tmp_path)
    rename, left = os.rename, iter(range(renamed))

    def cut(source: Path, target: Path) -> None:
        next(left)
        rename(source, target)

    with monkeypatch.context() as patched, pytest.raises(StopIteration):
        patched.setattr(os, "rename", cut)
        opened(tmp_path)
    state = opened(tmp_path)
    assert state.read_now(count) == 0
    state.close()
    assert aside(tmp_path) == {"state-1.sqlite", "state-1.sqlite-wal"}


@pytest.mark.parametrize("name", [NAME, f"{NAME}-wal", f"{NAME}-shm"])
def test_a_symbolic_link_is_set_aside_and_nothing_is_written_through_it(tmp_path: Path, name: str) -> None:
    spool, victim = tmp_path / "spool", tmp_path / "victim"
    spool.mkdir()
    victim.write_bytes(b"not yours")
    (spool / name).symlink_to(victim)
    opened(spool).close()
    assert victim.read_bytes() == b"not yours"
    assert (spool / "damaged" / name.replace("state", "state-1")).is_symlink()
    assert not (spool / name).is_symlink()


def test_a_dangling_symbolic_link_makes_nothing_elsewhere(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    (spool / NAME).symlink_to(tmp_path / "victim")
    opened(spool).close()
    assert not (tmp_path / "victim").exists()


def test_a_state_that_cannot_be_opened_is_left_alone_and_the_reason_given(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    with pytest.raises(SpoolUnusable, match=r"state.sqlite cannot be opened: Is a directory"):
        opened(tmp_path)
    assert (tmp_path / NAME).is_dir()


def test_nobody_else_can_read_it(tmp_path: Path) -> None:
    state = opened(tmp_path)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    state.close()


# Locked by another program


async def test_a_lock_of_another_program_refuses_a_change_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_file, "_PATIENCE", 0.05)
    state = opened(tmp_path)
    other = sqlite3.connect(tmp_path / NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with capture_logs() as lines:
        for _ in range(3):
            with pytest.raises(OutOfSpace, match="another program has locked"):
                await state.change(add)
    assert [line["log_level"] for line in lines] == ["warning"]
    assert await state.read(count) == 0
    other.execute("ROLLBACK")
    await state.change(add)
    assert await state.read(count) == 1
    state.close()


async def test_a_change_waits_for_a_lock_that_is_soon_given_back(tmp_path: Path) -> None:
    state = opened(tmp_path)
    other = sqlite3.connect(tmp_path / NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(state.change, add)
        await trio.testing.wait_all_tasks_blocked()
        assert state.read_now(count) == 0
        other.execute("ROLLBACK")
    assert state.read_now(count) == 1
    state.close()


def test_a_look_in_the_event_loop_does_not_wait_for_a_lock(tmp_path: Path) -> None:
    state = opened(tmp_path)
    other = sqlite3.connect(tmp_path / NAME, isolation_level=None)
    state.close()
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    other.execute("INSERT INTO marks VALUES (1, '')")
    glance = sqlite3.connect(tmp_path / NAME, timeout=0.0, isolation_level=None)
    state._reading_now = glance
    before = time.monotonic()
    with pytest.raises(OutOfSpace):
        state.read_now(count)
    assert time.monotonic() - before < 2
    glance.close()
    other.close()


# Running time and message ids


async def test_the_counters_are_kept_with_what_is_measured_by_them(tmp_path: Path) -> None:
    counters = Counters()
    counters.advance(clock=58 * DAY, next_id=100)
    state = opened(tmp_path, counters)
    counters.advance(clock=59 * DAY, next_id=200)
    await state.change(add)
    state.close()
    again = Counters()
    opened(tmp_path, again).close()
    assert again.clock() >= 59 * DAY
    assert again.next_id == 200


async def test_a_state_that_is_behind_lowers_nothing(tmp_path: Path) -> None:
    state = opened(tmp_path)
    await state.change(add)
    state.close()
    counters = Counters()
    counters.advance(clock=DAY, next_id=100)
    opened(tmp_path, counters).close()
    assert counters.clock() >= DAY
    assert counters.next_id == 100
