"""DCMTK's storescp and storescu, not the programs of the same names that pynetdicom installs."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

from benchmarks.peers.ports import HOST, listens, own_port
from benchmarks.peers.programs import PATH, environment

_START_DEADLINE: Final = 20.0
"""Seconds for storescp to listen."""


@cache
def program(name: str) -> str | None:
    """Return the path of DCMTK's program of that name; None if it is not installed."""
    for folder in PATH.split(os.pathsep):
        path = Path(folder) / name
        if path.is_file() and os.access(path, os.X_OK) and "$dcmtk" in _version_of(path):
            return str(path)
    return None


def version() -> str:
    """Return the version, such as "v3.6.7"; "none" if it is not installed."""
    path = program("storescp")
    parts = _version_of(Path(path)).split() if path else []
    return next((part for part in parts if part.startswith("v3")), "none")


def _version_of(path: Path) -> str:
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    return done.stdout


@contextmanager
def storescp(folder: Path, *, fork: bool = False, nodelay: bool = True) -> Iterator[int]:
    """Run a storescp that writes objects unchanged, without a sync; yield its port.

    Without `nodelay` it leaves Nagle's algorithm on, which is DCMTK's default.
    """
    path, port = program("storescp"), own_port()
    assert path is not None
    options = ["-dhl", "+xa", "-pm", "+uf", "+B", "-od", str(folder), *(["--fork"] if fork else [])]
    process = subprocess.Popen(
        [path, *options, str(port)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(nodelay),
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + _START_DEADLINE
        while not listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("storescp did not start")
            time.sleep(0.02)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # its children too
        process.wait()


def storescu(port: int, files: Sequence[Path]) -> None:
    """Send the files over one association, without Nagle's algorithm."""
    path = program("storescu")
    assert path is not None
    command = [path, "-aec", "ANY", "-xe", HOST, str(port), *map(str, files)]
    done = subprocess.run(
        command, env=environment(nodelay=True), capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        raise RuntimeError(f"storescu failed: {done.stdout[-1000:]}{done.stderr[-1000:]}")
