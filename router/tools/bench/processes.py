"""The processes of a measurement: forks that do not outlive their parent, and how much of the machine they used.

A fork starts in a millisecond, with all modules loaded. Not here: what the processes do (`generator`, `sink`).
"""

import ctypes
import gc
import mmap
import multiprocessing
import os
import signal
import struct
import sys
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

_SET_PARENT_DEATH_SIGNAL: Final = 1
"""PR_SET_PDEATHSIG (prctl(2))."""
_COUNT: Final = struct.Struct("=q")
_FULL: Final = 0.9
"""Share of a core, or of all cores, at which a process, or the machine, was the limit."""


def fork(work: Callable[[], None], *, parent_died: int = signal.SIGKILL) -> int:
    """Run `work` in a process of its own and return its ID.

    It ignores Ctrl-C, which its parent handles, and gets the signal `parent_died` when its parent ends. Its exit code
    is 1 if `work` raises; the traceback goes to standard error.
    """
    sys.stdout.flush()
    parent, pid = os.getpid(), os.fork()
    if pid:
        return pid
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, parent_died)
        if os.getppid() == parent:  # else it ended before the call
            gc.freeze()
            gc.disable()
            work()
        code = 0
    except BaseException:  # nothing may reach the parent's code, of which this is a copy
        traceback.print_exc()
    finally:
        os._exit(code)


def end(pids: Iterable[int]) -> None:
    """Kill the processes that still run, and wait for all of them."""
    for pid in pids:
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def describe_exit(pid: int) -> str:
    """Wait for a process, and describe how it ended."""
    with suppress(ChildProcessError):
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    return "ended"


class SharedCounter:
    """A counter that forks and threads share."""

    def __init__(self) -> None:
        self._lock = multiprocessing.get_context("fork").Lock()
        self._memory = mmap.mmap(-1, _COUNT.size)

    def next(self) -> int:
        """Return 0, 1, 2, each to one caller in one process only."""
        with self._lock:
            (number,) = _COUNT.unpack(self._memory)
            _COUNT.pack_into(self._memory, 0, number + 1)
        return int(number)


class MachineUse:
    """How much of all cores was in use from `start` to `stop`, by anyone."""

    def __init__(self) -> None:
        self._begin = self._end = (0, 0)

    def start(self) -> None:
        self._begin = self._end = _ticks()

    def stop(self) -> None:
        self._end = _ticks()

    def figures(self) -> dict[str, Any]:
        """Return the cores and how many of them were left; None if /proc does not tell."""
        all_of_them, idle = (end - begin for begin, end in zip(self._begin, self._end, strict=True))
        cores = os.cpu_count() or 1
        return {"cores": cores, "cores_left": round(cores * idle / all_of_them, 2) if all_of_them else None}


def _ticks() -> tuple[int, int]:
    """Return the time of all cores since the start of the machine, and the idle part of it (proc(5), /proc/stat)."""
    try:
        user, nice, system, idle, waiting, *more = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:9])
    except (OSError, ValueError):
        return 0, 0
    return user + nice + system + idle + waiting + sum(more), idle + waiting


def cpu_figures(seconds: Iterable[float], elapsed: float, objects: int) -> dict[str, Any]:
    """Return the CPU of processes that used `seconds` each while `objects` passed in `elapsed` seconds."""
    used = list(seconds)
    return {
        "processes": len(used),
        "cpu_us_per_object": round(sum(used) / objects * 1e6, 1) if objects else None,
        "busiest_share_of_a_core": round(max(used, default=0.0) / elapsed, 3) if elapsed > 0 else None,
    }


def bottleneck(machine: dict[str, Any], **parts: dict[str, Any]) -> str | None:
    """Return which of the parts, or "machine", was the limit of a measurement; None for the program under test."""
    for name, figures in parts.items():
        if (figures["busiest_share_of_a_core"] or 0.0) >= _FULL:
            return name
    left = machine["cores_left"]
    return "machine" if left is not None and left <= (1 - _FULL) * machine["cores"] else None
