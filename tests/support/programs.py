"""The programs of the distribution that the tests start: where they are, and the environment they are given."""

import os
import shutil

import pytest

# Orthanc lives in /usr/sbin, which is not on every user's PATH.
PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"])


def installed(program: str) -> str | None:
    """Where the program is, if it is."""
    return shutil.which(program, path=PATH)


def require(*programs: str) -> None:
    """Skip the test, saying which programs it lacks."""
    missing = [program for program in programs if not installed(program)]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)} (make peers)")


def environment(nodelay: bool) -> dict[str, str]:
    """DCMTK leaves Nagle's algorithm on, as real modalities do, unless TCP_NODELAY is set."""
    kept = {name: value for name, value in os.environ.items() if name != "TCP_NODELAY"}
    return {**kept, "TCP_NODELAY": "1"} if nodelay else kept
