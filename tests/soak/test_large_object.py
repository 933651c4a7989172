"""An object of 2 GiB passes in bounded memory."""

from pathlib import Path

import pytest

from benchmarks.cases.memory import MIB, passing
from benchmarks.workspace import Workspace

MOST = 64
"""MiB."""


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_an_object_of_2_gib_needs_less_than_64_mib_above_idle(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    peak = passing(Workspace(folder=tmp_path, rounds=1, quick=False, tell=lambda words: None), "2 GiB", 1)
    with capsys.disabled():
        print(f"\n2 GiB: {peak.resident / MIB:.1f} MiB above idle, {peak.anonymous / MIB:.1f} without mapped files")
    assert peak.resident / MIB < MOST
