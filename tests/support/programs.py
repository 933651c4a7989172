"""The programs of the distribution that the tests start."""

import pytest

from benchmarks.peers.programs import PATH as PATH
from benchmarks.peers.programs import environment as environment
from benchmarks.peers.programs import installed as installed


def require(*programs: str) -> None:
    """Skip the test unless these programs are installed, and name those that are not."""
    missing = [program for program in programs if not installed(program)]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)} (make peers)")
