"""Orthanc, which forwards what it stores by the Lua script of its documentation ("auto-routing")."""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.peers.ports import HOST, listens, own_port
from benchmarks.peers.programs import installed

_DEADLINE: Final = 30.0
"""Seconds to start, and to end."""
_LUA: Final = """
function OnStoredInstance(instanceId, tags, metadata)
  Delete(SendToModality(instanceId, 'sink'))
end
"""


def version() -> str:
    """Return the version, such as "1.10.1"; "none" if it is not installed."""
    path = installed("Orthanc")
    if path is None:
        return "none"
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    return next((word for word in done.stdout.split() if word[:1].isdigit()), "unknown")


@contextmanager
def auto_forward(folder: Path, sink: int) -> Iterator[int]:
    """Run an Orthanc that forwards to the sink and deletes; yield its port."""
    path, port, http = installed("Orthanc"), own_port(), own_port()
    assert path is not None
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "forward.lua").write_text(_LUA)
    settings = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "Plugins": [],
        "LuaScripts": [str(folder / "forward.lua")],
        "HttpPort": http,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomPort": port,
        "DicomCheckCalledAet": False,
        "DicomAlwaysAllowStore": True,
        "UnknownSopClassAccepted": True,
        "SaveJobs": False,
        "TcpNoDelay": True,
        "DicomModalities": {"sink": ["SINK", HOST, sink]},
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [path, str(folder / "orthanc.json")], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + _DEADLINE
        while not listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Orthanc did not start: {(folder / 'log').read_text()[-1000:]}")
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        try:
            process.wait(_DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
