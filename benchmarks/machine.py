"""What a result must say of the machine and the software it was measured on, and nothing that tells whose it is."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

from router import __version__
from tests.interop.programs import installed

PACKAGES = ("trio", "pynetdicom", "pydicom")


def name() -> str:
    """Such as "2-cores"."""
    return f"{os.cpu_count()}-cores"


def facts() -> dict[str, str]:
    """Cores, memory, versions."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cores": str(os.cpu_count()),
        "memory": f"{memory / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
        "dicom-router": __version__,
        "DCMTK": _dcmtk(),
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


def _dcmtk() -> str:
    program = installed("storescp")
    if program is None:
        return "none"
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return next((word for word in done.stdout.split() if word.startswith("v")), "unknown")
