"""DCMTK's senders, run to their end; the completed process has what they printed and the exit code."""

import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.support.programs import environment, installed, require


def _run(
    program: str, host: str, port: int, files: Iterable[Path], options: Sequence[str], nodelay: bool, seconds: float
) -> subprocess.CompletedProcess[str]:
    require(program)
    return subprocess.run(
        [str(installed(program)), *options, host, str(port), *map(str, files)],
        env=environment(nodelay),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=seconds,
        check=False,
    )


def storescu(
    host: str,
    port: int,
    files: Iterable[Path],
    *,
    options: Sequence[str] = (),
    called_ae: str = "ROUTER",
    nodelay: bool = False,
    seconds: float = 120.0,
) -> subprocess.CompletedProcess[str]:
    """Send files, or folders with the option "+sd". DCMTK offers a compressed syntax only where an option says so."""
    return _run("storescu", host, port, files, ["-aec", called_ae, *options], nodelay, seconds)


def dcmsend(
    host: str,
    port: int,
    files: Iterable[Path],
    *,
    options: Sequence[str] = (),
    called_ae: str = "ROUTER",
    nodelay: bool = False,
    seconds: float = 120.0,
) -> subprocess.CompletedProcess[str]:
    """Send files in the transfer syntaxes they have, over as many associations as that takes."""
    return _run("dcmsend", host, port, files, ["-aec", called_ae, *options], nodelay, seconds)


def echoscu(
    host: str, port: int, *, options: Sequence[str] = (), called_ae: str = "ROUTER", seconds: float = 30.0
) -> subprocess.CompletedProcess[str]:
    return _run("echoscu", host, port, [], ["-aec", called_ae, *options], True, seconds)
