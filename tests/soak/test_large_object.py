"""An object of 2 GiB passes in bounded memory."""

from pathlib import Path

import pytest

from benchmarks.cases.memory import measure
from benchmarks.peers.processes import ArchiveProcess, RouterUnderTest
from benchmarks.stage import routing_to

MOST = 64
"""MiB."""


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_an_object_of_2_gib_needs_less_than_64_mib_above_idle(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ArchiveProcess() as archive, RouterUnderTest(tmp_path / "router", routing_to({"archive": archive})) as router:
        readings = {one.quantity: one.value for one in measure("2 GiB", 2 << 30, router, archive, tmp_path)}
    with capsys.disabled():
        print("\n2 GiB:", ", ".join(f"{value:.1f} {quantity}" for quantity, value in readings.items()))
    assert readings["MiB above idle"] < MOST
