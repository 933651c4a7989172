"""The worklist of two information systems as one: DCMTK's wlmscpfs, and one that says nothing."""

from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support.ports import HOST
from tests.support.pynetdicom_query import find, identifier
from tests.support.query_servers import Wlmscpfs, scheduled_step
from tests.support.router_process import RouterProcess, configuration


class Silent:
    """An AE that accepts connections, and says nothing."""

    ae_title = "SILENT"

    def __init__(self, port: int) -> None:
        self.address = f"{HOST}:{port}"


@pytest.mark.interop
@pytest.mark.parametrize("silent", [False, True])
async def test_two_wlmscpfs_are_one_worklist_and_a_silent_one_is_named(tmp_path: Path, silent: bool) -> None:
    one = Wlmscpfs(tmp_path / "one", ae_title="ONE")
    two = Wlmscpfs(tmp_path / "two", ae_title="TWO")
    shared = scheduled_step("P2", "MR")
    one.add(scheduled_step("P1", "CT"), shared)
    two.add(shared, scheduled_step("P3", "CT"))
    item = identifier(Modality="", ScheduledProcedureStepStartDate="20260101-20260103")
    keys = identifier(PatientID="", PatientName="", ScheduledProcedureStepSequence=[item])
    route = {"name": "worklist", "service": "worklist", "to": ["one", "two"], "connect": "1s"}
    listeners = await trio.open_tcp_listeners(0, host=HOST)
    second: Any = Silent(listeners[0].socket.getsockname()[1]) if silent else two
    with (
        one,
        two,
        RouterProcess(tmp_path / "r", configuration({"one": one, "two": second}, routes=[route])) as r,
    ):
        matches, final = await trio.to_thread.run_sync(find, r.port, "worklist", keys)
    found = sorted((str(match.PatientID), match.ScheduledProcedureStepSequence[0].Modality) for match in matches)
    assert found == [("P1", "CT"), ("P2", "MR")] + ([] if silent else [("P3", "CT")])
    assert final.Status == (0xC001 if silent else 0x0000)
    assert not silent or "two" in final.ErrorComment
    await listeners[0].aclose()
