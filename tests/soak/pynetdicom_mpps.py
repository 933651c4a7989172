"""The MPPS SCP of pynetdicom's documentation, as a process to measure against: keeps steps in a dictionary, writes
nothing to the disk. `python -m tests.soak.pynetdicom_mpps PORT`; it prints a line when it listens."""

import sys
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, _config, evt

from router.services.mpps.attributes import MPPS

steps: dict[str, Dataset] = {}


def on_create(event: evt.Event) -> tuple[int, Dataset | None]:
    request: Any = event.request
    uid = request.AffectedSOPInstanceUID
    if uid is None:
        return 0x0106, None
    if uid in steps:
        return 0x0111, None
    attributes = event.attribute_list
    if attributes.get("PerformedProcedureStepStatus", "").upper() != "IN PROGRESS":
        return 0x0106, None
    step = Dataset()
    step.SOPClassUID, step.SOPInstanceUID = MPPS, uid
    step.update(attributes)
    steps[uid] = step
    return 0x0000, step


def on_set(event: evt.Event) -> tuple[int, Dataset | None]:
    request: Any = event.request
    step = steps.get(request.RequestedSOPInstanceUID)
    if step is None:
        return 0x0112, None
    step.update(event.modification_list)
    return 0x0000, step


def main() -> None:
    _config.LOG_HANDLER_LEVEL = "none"
    entity = AE()
    entity.add_supported_context(MPPS)
    handlers: list[Any] = [(evt.EVT_N_CREATE, on_create), (evt.EVT_N_SET, on_set)]
    server = entity.start_server(("127.0.0.1", int(sys.argv[1])), block=False, evt_handlers=handlers)
    print("listening", flush=True)
    sys.stdin.read()
    assert server
    server.shutdown()


if __name__ == "__main__":
    main()
