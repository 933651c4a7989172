"""The relay on dcmjs-dimse: installed by npm, in the versions of package-lock.json, into a cache folder."""

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
_PATIENCE: Final = 180.0


class NotInstalled(Exception):
    """In words, what it lacks."""


def version() -> str:
    """Such as "v20.1.0"; "none"."""
    node = shutil.which("node")
    if node is None:
        return "none"
    return subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout.strip()


def relay(sink: int) -> Launched:
    """The relay to the sink, to be entered.

    Raises:
        NotInstalled: there is no Node, no npm, or npm cannot get the packages.
    """
    folder = _installed()
    return Launched(shutil.which("node") or "node", "relay.cjs", "127.0.0.1", sink, folder=folder)


@cache
def _installed() -> Path:
    """The folder with the relay and its packages; one for each state of the files here."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise NotInstalled("node and npm are not here")
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
            timeout=_PATIENCE,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise NotInstalled("npm did not come to its end") from None
    if done.returncode:
        raise NotInstalled(f"npm could not install dcmjs-dimse: {done.stderr.strip().splitlines()[-1:]}")
    (folder / ".ready").touch()
    return folder
