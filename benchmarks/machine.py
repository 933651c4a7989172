"""The machine and the software that a result was measured on, without anything that identifies their owner."""

import os
import platform
import statistics
import subprocess
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Final

from benchmarks.peers import dcmjs, dcmtk, orthanc
from router import __version__
from router.tools.bench import interpreter

PACKAGES: Final = ("trio", "pynetdicom", "pydicom", "matplotlib")
_SYNCS: Final = 50


def name() -> str:
    """Return a name for the machine, such as "2-cores"."""
    return f"{os.cpu_count()}-cores"


def facts(folder: Path) -> dict[str, str]:
    """Return cores, memory, the disk of `folder`, and versions."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cores": str(os.cpu_count()),
        "processor": _processor(),
        "memory": f"{memory / 2**30:.0f} GiB",
        "fdatasync of 12 kB": f"{_sync_seconds(folder) * 1000:.2f} ms",
        "system": f"{platform.system()} {platform.machine()}",
        "Python": interpreter(),
        "dicom-router": __version__,
        "DCMTK": dcmtk.version(),
        "Orthanc": orthanc.version(),
        "Node": dcmjs.version(),
        **{package: version(package) for package in PACKAGES},
    }


def revision() -> str:
    """Return the commit that is measured, with "+" if the tree has changes."""
    folder = Path(__file__).parent
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty=+"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"


def _processor() -> str:
    """Return the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _sync_seconds(folder: Path) -> float:
    """Return the median seconds to sync 12 kB to the disk: the least time of a durable acknowledgement."""
    seconds = []
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        for _ in range(_SYNCS):
            started = time.perf_counter()
            file.write(bytes(12_000))
            os.fdatasync(file.fileno())
            seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)
