"""SIGKILL at any moment: what was acknowledged is there after the restart."""

import hashlib
import random
import subprocess
import sys
from pathlib import Path

import pytest

from router.spool.disk.filesystem import REAL
from tests.router.spool.driver import Driver
from tests.router.spool.keep_writing import SETTINGS


def killed_after(lines: int, path: Path, first: int) -> list[list[str]]:
    """What the process said before it was killed, which was after at least so many lines."""
    command = [sys.executable, "-m", "tests.router.spool.keep_writing", str(path), str(first)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(lines)]
        process.kill()
        said += process.stdout.readlines()
    assert all(said), "the process ended by itself"
    return [line.split() for line in said if line.endswith("\n")]


def live_and_die(path: Path, times: int, chance: random.Random) -> None:
    acknowledged: dict[int, str] = {}
    delivered: set[tuple[int, str]] = set()
    for time in range(times):
        for what, message_id, more in killed_after(chance.randrange(1, 200), path, time * 1_000_000):
            if what == "acknowledged":
                assert int(message_id) not in acknowledged
                acknowledged[int(message_id)] = more
            else:
                assert what == "delivered", what
                delivered.add((int(message_id), more))
    driver = Driver(REAL, SETTINGS, path)
    assert not driver.report.lost
    assert all("cut short" in damage.reason for damage in driver.report.damaged)
    for destination in ("pacs", "vna"):
        waiting = {row.message_id for row in driver.waiting(destination)}
        owed = {number for number in acknowledged if (number, destination) not in delivered}
        assert owed <= waiting
        for number in owed:
            assert hashlib.sha256(driver.data(number)).hexdigest() == acknowledged[number]
    driver.stop()


def test_what_was_acknowledged_is_there_after_sigkill(tmp_path: Path) -> None:
    live_and_die(tmp_path, 4, random.Random(1))


@pytest.mark.soak
def test_what_was_acknowledged_is_there_after_a_hundred_sigkills(tmp_path: Path) -> None:
    live_and_die(tmp_path, 100, random.Random())
