"""pynetdicom at both ends of C-FIND: an archive over the objects that it is given, and a client."""

import fnmatch
from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import Any, Self

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pynetdicom import AE, evt

from tests.support.archive import UNCOMPRESSED
from tests.support.objects import Instance
from tests.support.ports import HOST, free_port

FINDS = {"patient": "1.2.840.10008.5.1.4.1.2.1.1", "study": "1.2.840.10008.5.1.4.1.2.2.1"}
FINDS |= {"patient-study": "1.2.840.10008.5.1.4.1.2.3.1", "worklist": "1.2.840.10008.5.1.4.31"}
UNIQUE = {"PATIENT": "PatientID", "STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}


class PynetdicomQueryArchive:
    """An archive of the Query/Retrieve models that matches single values, wildcards and lists."""

    def __init__(self, instances: Sequence[Instance], *, ae_title: str = "PYNETDICOM") -> None:
        self.ae_title, self.port = ae_title, free_port()
        self._objects = [read_dataset(BytesIO(one.data), False, True) for one in instances]
        self._ae = AE(ae_title=ae_title)
        for name in ("patient", "study", "patient-study"):
            self._ae.add_supported_context(FINDS[name], UNCOMPRESSED)

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    def __enter__(self) -> Self:
        handlers: list[Any] = [(evt.EVT_C_FIND, self._find)]
        self._server = self._ae.start_server((HOST, self.port), block=False, evt_handlers=handlers)
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._server
        self._server.shutdown()

    def _find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        keys, seen = event.identifier, set()
        unique = UNIQUE[keys.QueryRetrieveLevel]
        for one in self._objects:
            if event.is_cancelled:
                yield 0xFE00, None
                return
            if one[unique].value in seen or not all(_fits(key, one) for key in keys):
                continue
            seen.add(one[unique].value)
            found = Dataset()
            for key in keys:
                if key.tag in one:
                    found[key.tag] = one[key.tag]
            found.QueryRetrieveLevel = keys.QueryRetrieveLevel
            yield 0xFF00, found


def _fits(key: Any, one: Dataset) -> bool:
    if key.keyword in ("QueryRetrieveLevel", "SpecificCharacterSet") or not key.value or key.tag not in one:
        return True
    wanted = key.value if key.VM > 1 else [key.value]
    return any(fnmatch.fnmatchcase(str(one[key.tag].value), str(value)) for value in wanted)


def find(port: int, model: str, keys: Dataset, *, calling_ae: str = "CLIENT") -> tuple[list[Dataset], Dataset]:
    """Query the AE on this host; return the matches, and the final response."""
    entity = AE(ae_title=calling_ae)
    entity.add_requested_context(FINDS[model], UNCOMPRESSED)
    association = entity.associate(HOST, port, ae_title="ROUTER")
    assert association.is_established
    try:
        responses = list(association.send_c_find(keys, FINDS[model]))
    finally:
        association.release()
    for status, match in responses[:-1]:
        assert match is not None
        match.status = status.Status
    return [match for _, match in responses[:-1] if match is not None], responses[-1][0]


def identifier(**values: Any) -> Dataset:
    """Keys by keyword."""
    keys = Dataset()
    for keyword, value in values.items():
        setattr(keys, keyword, value)
    return keys
