"""What all cases need: a place on the disk, how much to send, and `dicom-router bench` as a process of its own."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from benchmarks.measuring import Reading
from benchmarks.peers.router_toml import Archive, configuration

SIZES: Final = {"12 kB": "12KB", "525 kB": "525KB", "240 MB": "240MB"}
"""Objects as the tables name them, and as `--size` does."""
_SOURCE: Final = Path(__file__).parents[1]
_PATIENCE: Final = 900.0
_WARM: Final = 2 << 30
"""Bytes; more than any side writes while it is measured."""


@frozen(kw_only=True)
class Stage:
    """Where a case plays, and how long it may take."""

    folder: Path
    """On the disk: what routers and archives write."""
    rounds: int
    quick: bool
    tell: Callable[[str], None]
    """For the one who waits."""
    backlog: int = 1_000_000
    """The most deliveries that are made to wait."""

    def scaled(self, count: int) -> int:
        """So many objects, or a fiftieth of them where it has to be quick."""
        return max(2, count // 50) if self.quick else count

    def amount(self, size: str) -> list[str]:
        """How much to send of objects of this size: seconds that are enough to be steady, few objects where each
        takes long."""
        if size == "240 MB":
            return ["--objects", "1" if self.quick else "4"]
        return ["--objects", "40"] if self.quick else ["--duration", "4s"]

    @contextmanager
    def place(self) -> Iterator[Path]:
        """An empty folder, gone afterwards; and nothing of it is left for the disk to write, which would be charged to
        whoever is measured next."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        try:
            if not self.quick:
                _warm(folder / "warm")
            yield folder
        finally:
            shutil.rmtree(folder)
            os.sync()


def _warm(path: Path) -> None:
    """Have memory for files at hand: that of a virtual machine, unused for a while, has to be got from its host, which
    takes longer than a disk does, and would be charged to whoever writes first."""
    block = bytes(1 << 20)
    with path.open("wb") as file:
        for _ in range(_WARM >> 20):
            file.write(block)
    path.unlink()


def send(port: int, size: str, *options: object) -> dict[str, Any]:
    """`bench send` to somebody on this machine; all has to be stored."""
    return _bench("send", f"127.0.0.1:{port}", "--size", SIZES.get(size, size), *options)


def route(port: int, sink: str, size: str, *options: object) -> dict[str, Any]:
    """`bench route` through somebody on this machine; nothing may be missing."""
    return _bench("route", f"127.0.0.1:{port}", "--sink", sink, "--size", SIZES.get(size, size), *options)


def _bench(*arguments: object) -> dict[str, Any]:
    command = [sys.executable, "-m", "router", "bench", *map(str, arguments), "--json", "-"]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
        check=False,
        cwd="/",  # lest the router.toml that is here has a say in it
        env=os.environ | {"PYTHONPATH": str(_SOURCE)},
    )
    if done.returncode:
        what = f"{' '.join(command[3:])} failed with exit code {done.returncode}"
        raise RuntimeError(f"{what}:\n{_why(done.stdout)}{done.stderr[-2000:]}")
    return dict(json.loads(done.stdout))


def _why(figures: str) -> str:
    """What of the figures says that not all went well."""
    try:
        found = json.loads(figures)
    except ValueError:
        return figures[-2000:]
    load = found.get("acknowledged", found)
    told = {key: load[key] for key in ("answers", "unanswered", "not_sent", "associations_ended_early", "given_up")}
    return f"{told | {key: found[key] for key in ('missing', 'arrived') if key in found}}\n"


def rates(workload: str, side: str, figures: Mapping[str, Any], latency: str) -> Iterator[Reading]:
    """The readings that every measurement of a rate gives; `latency` is the name of its latencies."""
    numbers = {
        "objects/s": figures["objects_per_s"],
        "MB/s": figures["megabytes_per_s"],
        "p50 ms": figures[latency]["p50"],
        "p99 ms": figures[latency]["p99"],
    }
    for quantity, value in numbers.items():
        yield Reading(workload=workload, side=side, quantity=quantity, value=value)


def routing_to(archives: Mapping[str, Archive], **sections: Any) -> dict[str, Any]:
    """A router.toml that sends everything to all of the archives, over two associations each."""
    return configuration(archives, **({"peers": {name: {"associations": 2} for name in archives}} | sections))


def holding() -> dict[str, Any]:
    """A router.toml that only receives."""
    return configuration({}, router={"unrouted": "hold"}, routes=[])
