"""The means of all cases: folders on the disk, amounts to send, and `dicom-router bench` as a process."""

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

from benchmarks.aims import ABOVE_IDLE, BUSIEST, CORES_LEFT, CPU, GENERATOR_CPU, MEGABYTES, OBJECTS, P50, P99, SINK_CPU
from benchmarks.peers.flood import Flood
from benchmarks.peers.processes import Use
from benchmarks.peers.router_toml import Archive, configuration
from benchmarks.readings import Reading

SIZES: Final = {"12 kB": "12KB", "525 kB": "525KB", "240 MB": "240MB"}
"""Sizes of objects in the tables, and as values of `--size`."""
BYTES: Final = {"12 kB": 12_000, "525 kB": 525_000, "240 MB": 240_000_000}
SECONDS: Final = 2.5
"""How long a side is loaded with objects of 12 and 525 kB."""
_WARM_UP: Final = {"12 kB": 500, "525 kB": 50, "240 MB": 1}
"""Objects."""
_SOURCE: Final = Path(__file__).parents[1]
_DEADLINE: Final = 900.0
"""Seconds for one measurement."""
_CACHE_WARM_UP: Final = {"12 kB": 512 << 20}
_MOST_CACHE_WARM_UP: Final = 2 << 30
"""Bytes to write before a measurement with objects of a size, or of any: more than any side writes during it."""


@frozen(kw_only=True)
class Workspace:
    """The folder, the amounts and the rounds of a case."""

    folder: Path
    """Folder on the disk for what routers and archives write."""
    rounds: int
    quick: bool
    tell: Callable[[str], None]
    """Show a line of progress."""
    backlog: int = 1_000_000
    """Most deliveries to make wait."""

    def scaled(self, count: int) -> int:
        """Return `count`, or a fiftieth of it for a quick run."""
        return max(2, count // 50) if self.quick else count

    def amount(self, size: str) -> list[str]:
        """Return the options for the amount to send of objects of this size: enough seconds for a steady rate, or a
        few large objects."""
        if size == "240 MB":
            return ["--objects", "1" if self.quick else "4"]
        return ["--objects", "40"] if self.quick else ["--duration", f"{SECONDS:g}s"]

    def flood(self, port: int, sink: int | None, size: str, connections: int) -> dict[str, Any]:
        """Return the figures of the raw relay or receiver on a port of this machine, for the same amount."""
        few = self.quick or size == "240 MB"
        load = Flood(
            port=port,
            sink=sink,
            size=BYTES[size],
            connections=connections,
            seconds=0.0 if few else SECONDS,
            count=2 if self.quick else 4,
        )
        return _json_of(sys.executable, "-m", "benchmarks.peers.flood", load.arguments())

    def warm_up(self, load: Callable[..., object], *arguments: Any) -> None:
        """Load a side for a moment before it is measured: what it does once, it has done then.

        `arguments`: those of `load`, of which the last one is the size.
        """
        load(*arguments, "--objects", 1 if self.quick else _WARM_UP[arguments[-1]])

    @contextmanager
    def empty_folder(self, size: str = "") -> Iterator[Path]:
        """Yield an empty folder to receive objects of this size in, or of any.

        Remove and sync it afterwards, so that no other side pays for its writes.
        """
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        try:
            if not self.quick:
                _warm(folder / "warm", _CACHE_WARM_UP.get(size, _MOST_CACHE_WARM_UP))
            yield folder
        finally:
            shutil.rmtree(folder)
            os.sync()


def _warm(path: Path, amount: int) -> None:
    """Make the kernel allocate memory for the page cache, `amount` bytes.

    A virtual machine must get unused memory from its host, which takes longer than a disk; the first side to
    write would pay for it.
    """
    block = bytes(1 << 20)
    with path.open("wb") as file:
        for _ in range(amount >> 20):
            file.write(block)
    path.unlink()
    os.sync()


def send(port: int, size: str, *options: object) -> dict[str, Any]:
    """Return the figures of `bench send` to a port of this machine; all objects must be stored."""
    return _bench("send", f"127.0.0.1:{port}", "--size", SIZES.get(size, size), *options)


def route(port: int, sink: str, size: str, *options: object) -> dict[str, Any]:
    """Return the figures of `bench route` through a port of this machine; no object may be missing."""
    return _bench("route", f"127.0.0.1:{port}", "--sink", sink, "--size", SIZES.get(size, size), *options)


def _bench(*arguments: object) -> dict[str, Any]:
    return _json_of(sys.executable, "-m", "router", "bench", *map(str, arguments), "--json", "-")


def _json_of(*command: str) -> dict[str, Any]:
    """Run a command of this checkout and return what it prints, which is JSON."""
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_DEADLINE,
        check=False,
        cwd="/",  # so that a router.toml in the current folder is not read
        env=os.environ | {"PYTHONPATH": str(_SOURCE)},
    )
    if done.returncode:
        what = f"{' '.join(command[3:])} failed with exit code {done.returncode}"
        raise RuntimeError(f"{what}:\n{_why(done.stdout)}{done.stderr[-2000:]}")
    return dict(json.loads(done.stdout))


def _why(figures: str) -> str:
    """Return the figures that show what failed."""
    try:
        found = json.loads(figures)
    except ValueError:
        return figures[-2000:]
    load = found.get("acknowledged", found)
    told = {key: load[key] for key in ("answers", "unanswered", "not_sent", "associations_ended_early", "given_up")}
    return f"{told | {key: found[key] for key in ('missing', 'arrived') if key in found}}\n"


def rates(workload: str, side: str, figures: Mapping[str, Any], latency: str | None = None) -> Iterator[Reading]:
    """Yield the readings of a rate, and of what was left; `latency` is the key of its latencies."""
    numbers = {OBJECTS: figures["objects_per_s"], MEGABYTES: figures["megabytes_per_s"]}
    if latency is not None:
        numbers |= {P50: figures[latency]["p50"], P99: figures[latency]["p99"]}
    for quantity, value in (numbers | load_of(figures)).items():
        yield Reading(workload=workload, side=side, quantity=quantity, value=value)


def load_of(figures: Mapping[str, Any]) -> dict[str, float]:
    """Return what the generator and the sink have used, and what was left of the machine, by quantity."""
    ends = {GENERATOR_CPU: figures.get("acknowledged", figures).get("generator"), SINK_CPU: figures.get("sink")}
    found = {quantity: cpu["cpu_us_per_object"] for quantity, cpu in ends.items() if cpu}
    found[BUSIEST] = max((cpu["busiest_share_of_a_core"] or 0.0 for cpu in ends.values() if cpu), default=0.0)
    left = figures["machine"]["cores_left"]
    return found if left is None else found | {CORES_LEFT: left}


def used(workload: str, side: str, use: Use, objects: int) -> Iterator[Reading]:
    """Yield the readings of what the router has used for a number of objects."""
    yield Reading(workload=workload, side=side, quantity=CPU, value=use.cpu / objects * 1e6)
    yield Reading(workload=workload, side=side, quantity=ABOVE_IDLE, value=use.above_idle / 2**20)


def routing_to(archives: Mapping[str, Archive], **sections: Any) -> dict[str, Any]:
    """Return a router.toml that routes everything to all archives, over two associations each."""
    return configuration(archives, **({"peers": {name: {"associations": 2} for name in archives}} | sections))


def holding() -> dict[str, Any]:
    """Return a router.toml that holds everything it receives."""
    return configuration({}, router={"unrouted": "hold"}, routes=[])
