"""pynetdicom at both ends of procedure steps: a RIS that keeps what it is told, and a modality that tells it."""

import threading
from collections.abc import Callable
from typing import Any, Self

from attrs import frozen
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, evt

from router.services.mpps import attributes
from router.services.mpps.instance_availability import INSTANCE_AVAILABILITY
from tests.support.archive import UNCOMPRESSED, NotAssociated, park_reactor, unpark_reactor
from tests.support.ports import HOST, free_port

MPPS = UID(attributes.MPPS)
RETRIEVE = UID(attributes.MPPS_RETRIEVE)
NOTIFICATION = UID(attributes.MPPS_NOTIFICATION)
AVAILABILITY = UID(INSTANCE_AVAILABILITY)
LAST = ("COMPLETED", "DISCONTINUED")


@frozen(kw_only=True)
class Told:
    """One message as the RIS understood it."""

    kind: str
    """ "N-CREATE", "N-SET", "N-EVENT-REPORT", or "IAN"."""
    uid: str
    data_set: Dataset
    event_type: int = 0

    @property
    def state(self) -> str:
        return str(self.data_set.get("PerformedProcedureStepStatus", ""))


class PynetdicomRIS:
    """An SCP of procedure steps and of instance availability. `answer` may change or delay what it answers, or end the
    association through `event.assoc`; what it decides on has not been carried out yet unless it returns None."""

    def __init__(self, *, ae_title: str = "RIS", port: int | None = None) -> None:
        self.ae_title, self.host, self.port = ae_title, HOST, port or free_port()
        self.told: list[Told] = []
        self.steps: dict[str, str] = {}
        self.answer: Callable[[evt.Event, Told], int | None] = lambda event, told: None
        self._news = threading.Condition()
        self._ae = AE(ae_title=ae_title)
        self._ae.add_supported_context(MPPS, UNCOMPRESSED)
        self._ae.add_supported_context(AVAILABILITY, UNCOMPRESSED)
        self._ae.add_supported_context(NOTIFICATION, UNCOMPRESSED, scu_role=False, scp_role=True)

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def __enter__(self) -> Self:
        handlers: list[Any] = [
            (evt.EVT_N_CREATE, self._on_create),
            (evt.EVT_N_SET, self._on_set),
            (evt.EVT_N_EVENT_REPORT, self._on_event),
        ]
        self._server = self._ae.start_server((self.host, self.port), block=False, evt_handlers=handlers)
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._server
        self._server.shutdown()

    def wait_for(self, wanted: Callable[[Self], bool], seconds: float = 30.0) -> None:
        with self._news:
            assert self._news.wait_for(lambda: wanted(self), seconds), f"{self.ae_title} has heard {self.messages()}"

    def messages(self, uid: str = "") -> list[tuple[str, str]]:
        return [(one.kind, one.state) for one in self.told if not uid or one.uid == uid]

    def _take(self, event: evt.Event, told: Told, carry_out: Callable[[], int]) -> int:
        with self._news:
            self.told.append(told)
            status = self.answer(event, told)
            status = carry_out() if status is None else status
            self._news.notify_all()
        return status

    def _on_create(self, event: evt.Event) -> tuple[int, Dataset | None]:
        request: Any = event.request
        uid, kind = str(request.AffectedSOPInstanceUID), "IAN"
        if request.AffectedSOPClassUID == MPPS:
            kind = "N-CREATE"
        told = Told(kind=kind, uid=uid, data_set=event.attribute_list)

        def carry_out() -> int:
            if kind == "IAN":
                return 0x0000
            if uid in self.steps:
                return 0x0111
            self.steps[uid] = told.state
            return 0x0000

        return self._take(event, told, carry_out), None

    def _on_set(self, event: evt.Event) -> tuple[int, Dataset | None]:
        request: Any = event.request
        told = Told(kind="N-SET", uid=str(request.RequestedSOPInstanceUID), data_set=event.modification_list)

        def carry_out() -> int:
            if told.uid not in self.steps:
                return 0x0112
            if self.steps[told.uid] in LAST:
                return 0x0110
            self.steps[told.uid] = told.state or self.steps[told.uid]
            return 0x0000

        return self._take(event, told, carry_out), None

    def _on_event(self, event: evt.Event) -> tuple[int, Dataset | None]:
        request: Any = event.request
        told = Told(
            kind="N-EVENT-REPORT",
            uid=str(request.AffectedSOPInstanceUID),
            data_set=Dataset(),
            event_type=int(request.EventTypeID),
        )
        return self._take(event, told, lambda: 0x0000), None


class PynetdicomModality:
    """An SCU of procedure steps on one association."""

    def __init__(self, host: str, port: int, *, transfer_syntax: UID = UNCOMPRESSED[0]) -> None:
        self._where = host, port
        self._ae = AE(ae_title="MODALITY")
        self._ae.dimse_timeout = 30
        self._ae.add_requested_context(MPPS, transfer_syntax)
        self._ae.add_requested_context(RETRIEVE, transfer_syntax)

    def __enter__(self) -> Self:
        self.association = self._ae.associate(*self._where, ae_title="ROUTER")
        if not self.association.is_established:
            raise NotAssociated("the router")
        park_reactor(self.association)
        return self

    def __exit__(self, *exc: object) -> None:
        unpark_reactor(self.association)
        if self.association.is_established:
            self.association.release()

    def create(self, uid: str | None, data_set: Dataset) -> Dataset:
        """The response's status, with what else its command set says."""
        return self.association.send_n_create(data_set, MPPS, UID(uid) if uid else None)[0]

    def set(self, uid: str, data_set: Dataset) -> Dataset:
        return self.association.send_n_set(data_set, MPPS, UID(uid))[0]

    def get(self, uid: str) -> tuple[Dataset, Dataset | None]:
        return self.association.send_n_get([], RETRIEVE, UID(uid))
