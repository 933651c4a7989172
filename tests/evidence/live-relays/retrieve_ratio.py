"""Measure a C-MOVE through the router, in the modes through and spool, against the same C-MOVE asked of its archive.

Run it as a file, with the repository on PYTHONPATH: `python retrieve_ratio.py FOLDER [ROUNDS]`. The archive is DCMTK's
dcmqrscp (TCP_NODELAY=1) with a study of 1,000 objects of 525 kB and one of 2 objects of 240 MB. The destination is the
sink of `dicom-router bench retrieve`. Each way is measured in turn; the medians count. Prints a line for each study.
"""

import json
import statistics
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from tests.support.archives import Dcmqrscp
from tests.support.objects import ct
from tests.support.ports import free_port
from tests.support.retrieves import peer, route, router

STUDIES = ((1000, 525_000), (2, 240_000_000))
"""Number and bytes of the objects of a study."""
MODES = ("through", "spool")
"""The client says by its AE title which one it wants."""


def main(folder: Path, rounds: int) -> None:
    for count, size in STUDIES:
        measure_study(folder / f"{count}", count, size, rounds)


def measure_study(folder: Path, count: int, size: int, rounds: int) -> None:
    sink, port = free_port(), free_port()
    with ExitStack() as running:
        archive = running.enter_context(Dcmqrscp(folder / "qr", moves={"SINK": sink, "ROUTER": port}))
        archive.fill([ct(size) for _ in range(count)], folder / "in")
        peers = {"archive": peer("QRSCP", archive.address), "station": peer("SINK", f"127.0.0.1:{sink}")}
        routes = [route("archive", name=mode, mode=mode, when={"calling_ae": mode.upper()}) for mode in MODES]
        process = running.enter_context(router(folder / "router", port, peers, *routes))
        rates: dict[str, list[float]] = {}
        for _ in range(rounds):
            rates.setdefault("direct", []).append(moved(archive.address, "QRSCP", "READER", sink))
            for mode in MODES:
                rates.setdefault(mode, []).append(moved(f"127.0.0.1:{port}", "ROUTER", mode.upper(), sink))
        result = {"MB/s": rates, "ratio": ratios(rates), "peak MB resident": resident(process.pid)}
        print(json.dumps({"objects": count, "bytes": size, **result}), flush=True)


def ratios(rates: dict[str, list[float]]) -> dict[str, float]:
    medians = {way: statistics.median(several) for way, several in rates.items()}
    return {way: round(median / medians["direct"], 2) for way, median in medians.items()}


def moved(address: str, called: str, calling: str, sink: int) -> float:
    """Return the MB/s of one C-MOVE."""
    command = [sys.executable, "-m", "router", "bench", "retrieve", address, "StudyInstanceUID=2.25.1"]
    titles = ["--called", called, "--calling", calling]
    options = ["--sink", f"127.0.0.1:{sink}", "--to", "SINK", *titles, "--json", "-"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return float(json.loads(done.stdout)["megabytes_per_s"])


def resident(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    return round(int(status.split("VmHWM:")[1].split()[0]) / 1024, 1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 3)
