"""A query SCP of pynetdicom: C-FIND with any number of responses, and C-GET that stores on the same association."""

import threading
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any, Self

from attrs import define, field
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.dsutils import decode, encode

from router.dimse import DATA_SET, Command, CommandField
from tests.support.harness import CT
from tests.support.ports import HOST, free_port, until

FIND = "1.2.840.10008.5.1.4.1.2.2.1"
GET = "1.2.840.10008.5.1.4.1.2.2.3"
"""Study Root Query/Retrieve Information Model - FIND and GET."""

Answers = Iterator[tuple[int, Dataset | None]]


def identifier(**values: str) -> bytes:
    """An identifier in Implicit VR Little Endian."""
    data_set = Dataset()
    data_set.QueryRetrieveLevel = "STUDY"
    for keyword, value in values.items():
        setattr(data_set, keyword, value)
    encoded = encode(data_set, True, True)
    assert encoded is not None
    return encoded


def patient_id(encoded: bytes) -> str:
    """The Patient ID of an identifier in Implicit VR Little Endian."""
    return str(decode(BytesIO(encoded), True, True).PatientID)


def match(number: int) -> Dataset:
    """One match of a query."""
    data_set = Dataset()
    data_set.QueryRetrieveLevel = "STUDY"
    data_set.PatientID = f"P{number}"
    return data_set


def ct(uid: str) -> Dataset:
    """A small object to retrieve."""
    data_set = Dataset()
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    data_set.SOPClassUID, data_set.SOPInstanceUID = UID(CT), UID(uid)
    data_set.PatientID = "P1"
    return data_set


def request(field_: CommandField, sop_class: str) -> Command:
    return Command(field=field_, affected_sop_class_uid=sop_class, priority=0, data_set_type=DATA_SET)


C_FIND = request(CommandField.C_FIND_RQ, FIND)
C_GET = request(CommandField.C_GET_RQ, GET)


@define
class QuerySCP:
    """`find` and `get` are pynetdicom's handlers; they run in a thread of their own."""

    find: Callable[[evt.Event], Answers] = lambda event: iter(())
    get: Callable[[evt.Event], Iterator[Any]] = lambda event: iter([0])
    relational: bytes | None = None
    """Its answer to SOP Class Extended Negotiation for C-FIND."""
    port: int = field(factory=free_port)
    associations: int = 0
    released: threading.Event = field(factory=threading.Event)
    """An association was released."""
    aborted: threading.Event = field(factory=threading.Event)
    proposed: list[dict[str, bytes]] = field(factory=list)
    """The SOP Class Extended Negotiation of each association."""
    _server: Any = None

    def __enter__(self) -> Self:
        entity = AE(ae_title="PACS")
        entity.add_supported_context(FIND)
        entity.add_supported_context(GET)
        entity.add_supported_context(CT, scu_role=True, scp_role=True)
        handlers: list[Any] = [
            (evt.EVT_C_FIND, lambda event: self.find(event)),
            (evt.EVT_C_GET, lambda event: self.get(event)),
            (evt.EVT_ACCEPTED, self._accepted),
            (evt.EVT_RELEASED, lambda event: self.released.set()),
            (evt.EVT_ABORTED, lambda event: self.aborted.set()),
            (evt.EVT_SOP_EXTENDED, self._extended),
        ]
        self._server = entity.start_server((HOST, self.port), block=False, evt_handlers=handlers)
        return self

    def __exit__(self, *exc: object) -> None:
        until(lambda: not self._server.active_associations, "the end of the associations")
        self._server.shutdown()

    def _accepted(self, event: evt.Event) -> None:
        self.associations += 1

    def _extended(self, event: Any) -> dict[str, bytes]:
        self.proposed.append({str(uid): bytes(value) for uid, value in event.app_info.items()})
        return {FIND: self.relational} if self.relational is not None else {}
