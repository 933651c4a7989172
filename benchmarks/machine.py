"""What a result must say of the machine and the software it was measured on, and nothing that tells whose it is."""

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

PACKAGES: Final = ("trio", "pynetdicom", "pydicom")
_SYNCS: Final = 50


def name() -> str:
    """Such as "2-cores"."""
    return f"{os.cpu_count()}-cores"


def facts(folder: Path) -> dict[str, str]:
    """Cores, memory, the disk that `folder` is on, versions."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cores": str(os.cpu_count()),
        "processor": _processor(),
        "memory": f"{memory / 2**30:.0f} GiB",
        "fdatasync of 12 kB": f"{_sync_seconds(folder) * 1000:.2f} ms",
        "system": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
        "dicom-router": __version__,
        "DCMTK": dcmtk.version(),
        "Orthanc": orthanc.version(),
        "Node": dcmjs.version(),
        **{package: version(package) for package in PACKAGES},
    }


def revision() -> str:
    """The commit that was measured; "+" where the tree had changes."""
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
    """As the kernel names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _sync_seconds(folder: Path) -> float:
    """The median time for 12 kB to be on the disk: what a durable acknowledgement cannot be faster than."""
    seconds = []
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        for _ in range(_SYNCS):
            started = time.perf_counter()
            file.write(bytes(12_000))
            os.fdatasync(file.fileno())
            seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)
