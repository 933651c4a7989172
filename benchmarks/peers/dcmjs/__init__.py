"""The relay on dcmjs-dimse, which npm installs into a cache folder in the versions of package-lock.json."""

import hashlib
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Final

from benchmarks.peers.processes import Launched

_HERE: Final = Path(__file__).parent
_FILES: Final = ("package.json", "package-lock.json", "relay.cjs")
_INSTALL_DEADLINE: Final = 180.0


class NotInstalled(Exception):
    """A program or package is missing; the message names it."""


def version() -> str:
    """Return the version, such as "v20.1.0"; "none" if it is not installed."""
    node = shutil.which("node")
    if node is None:
        return "none"
    return subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout.strip()


def relay(sink: int) -> Launched:
    """Return the relay to the sink, to be entered.

    Raises:
        NotInstalled: Node or npm is missing, or npm cannot install the packages.
    """
    folder = _installed()
    return Launched(shutil.which("node") or "node", "relay.cjs", "127.0.0.1", sink, folder=folder)


@cache
def _installed() -> Path:
    """Install the relay and its packages, and return their folder; there is one for each state of these files."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise NotInstalled("node or npm is not installed")
    state = hashlib.sha256(b"".join((_HERE / name).read_bytes() for name in _FILES)).hexdigest()[:16]
    cache_home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache_home / "dicom-router-bench" / f"dcmjs-{state}"
    if (folder / ".ready").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    for name in _FILES:
        shutil.copy(_HERE / name, folder)
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=_INSTALL_DEADLINE,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise NotInstalled("npm took too long") from None
    if done.returncode:
        raise NotInstalled(f"npm could not install dcmjs-dimse: {done.stderr.strip().splitlines()[-1:]}")
    (folder / ".ready").touch()
    return folder
