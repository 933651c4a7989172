"""The comparison with real peers, as quick as it can be: it runs, says who was not there, and leaves a whole result."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.aims import (
    ABOVE_IDLE,
    CPU,
    FORWARDING,
    GENERATOR_CPU,
    ORTHANC,
    P99_BY_P50,
    PYNETDICOM,
    RAW_RECEIVE,
    ROUTER,
    SINK_CPU,
    STORESCP,
    STORESCP_FORK,
    STORESCU,
    TCP,
    WITHOUT_NAGLE,
)
from benchmarks.peers import dcmtk


def compare(folder: Path, *cases: str) -> dict[str, Any]:
    """What `bench compare --quick` writes of these cases."""
    options = [word for case in cases for word in ("--only", case)]
    done = subprocess.run(
        [sys.executable, "-m", "router", "bench", "compare", "--quick", *options, "--results", str(folder)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (written,) = folder.iterdir()
    for absent in (found := json.loads((written / "results.json").read_text()))["absent"]:
        assert absent["side"] in done.stdout
        assert absent["why"]
    assert (written / "README.md").read_text().startswith("# Benchmarks, ")
    return dict(found)


def sides(result: dict[str, Any], case: str, workload: str, quantity: str) -> set[str]:
    """Who was measured at it, and had a number that can be."""
    rows = [
        one for one in result["series"] if (one["case"], one["workload"], one["quantity"]) == (case, workload, quantity)
    ]
    assert all(one["median"] > 0 for one in rows)
    return {one["side"] for one in rows}


@pytest.mark.interop
@pytest.mark.soak
def test_reception_is_compared_with_storescp(tmp_path: Path) -> None:
    if dcmtk.program("storescp") is None:
        pytest.skip("not installed: DCMTK (make peers)")
    result = compare(tmp_path, "receive")
    assert sides(result, "receive", "525 kB", "MB/s") == {STORESCP, RAW_RECEIVE, ROUTER, FORWARDING}
    assert sides(result, "receive", "525 kB", CPU) == {ROUTER, FORWARDING}
    assert sides(result, "receive", "240 MB", SINK_CPU) == {FORWARDING}
    assert sides(result, "receive", "12 kB, 16 associations", "objects/s") == {STORESCP_FORK, ROUTER}
    assert sides(result, "receive", "12 kB, Nagle", "objects/s") == {WITHOUT_NAGLE, ROUTER}


@pytest.mark.interop
@pytest.mark.soak
def test_the_route_is_compared_with_relays_and_the_limit(tmp_path: Path) -> None:
    result = compare(tmp_path, "end-to-end")
    absent = {one["side"] for one in result["absent"]}
    assert sides(result, "end-to-end", "12 kB", "objects/s") >= {PYNETDICOM, ROUTER, TCP}
    assert sides(result, "end-to-end", "240 MB", "MB/s") == {ROUTER, TCP}
    assert sides(result, "end-to-end", "12 kB", GENERATOR_CPU) >= {PYNETDICOM, ROUTER, TCP}
    assert sides(result, "end-to-end", "12 kB", ABOVE_IDLE) == {ROUTER}
    assert (ORTHANC in absent) is not (ORTHANC in sides(result, "end-to-end", "525 kB", "objects/s"))
    assert {curve["name"] for curve in result["curves"]} >= {PYNETDICOM, ROUTER}


@pytest.mark.interop
def test_two_routers_share_the_round_trip_of_a_link_among_many_objects(tmp_path: Path) -> None:
    if dcmtk.program("storescu") is None:
        pytest.skip("not installed: DCMTK (make peers)")
    result = compare(tmp_path, "link")
    rates = {one["side"]: one["median"] for one in result["series"] if one["quantity"] == "objects/s"}
    assert rates[STORESCU] < 20.5 < rates[ROUTER]


@pytest.mark.soak
def test_latency_is_measured_at_half_of_each_top_rate(tmp_path: Path) -> None:
    result = compare(tmp_path, "latency", "ceiling")
    assert sides(result, "latency", "12 kB at half the top rate", P99_BY_P50) == {ROUTER}
    assert sides(result, "latency", "525 kB at half the top rate", P99_BY_P50) == {PYNETDICOM, ROUTER}
    assert "optimiz" in result["facts"]["Python"]


@pytest.mark.soak
def test_memory_backlog_and_dead_destinations_are_measured(tmp_path: Path) -> None:
    result = compare(tmp_path, "memory", "backlog", "dead-destination")
    assert {aim["aim"]["work"] for aim in result["aims"] if aim["met"]} >= {
        "peak RSS, objects of 240 MB",
        "peak RSS, 50 destinations at once",
        "peak RSS, 500 open associations",
    }
    assert {curve["plot"] for curve in result["curves"]} == {"memory", "backlog"}
    assert sides(result, "backlog", "200 waiting", "objects/s when it is back") == {ROUTER}
