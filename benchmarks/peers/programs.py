"""Programs of the distribution: where they are, and the environment to start them with."""

import os
import shutil
from typing import Final

PATH: Final = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"])
"""With /usr/sbin, where Orthanc is and which is not on every user's PATH."""


def installed(program: str) -> str | None:
    """Return the path of a program; None if it is not installed."""
    return shutil.which(program, path=PATH)


def environment(nodelay: bool) -> dict[str, str]:
    """Return the environment for a DCMTK program.

    Without `nodelay`, DCMTK leaves Nagle's algorithm on, as real modalities do.
    """
    kept = {name: value for name, value in os.environ.items() if name != "TCP_NODELAY"}
    return {**kept, "TCP_NODELAY": "1"} if nodelay else kept
