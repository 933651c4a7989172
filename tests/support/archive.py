"""pynetdicom at both ends: an archive that keeps the very bytes it received, and a modality that sends the very bytes
it was given.

Both live in the test's own process, on threads of their own. pynetdicom's switches are global; they are set here, once:
storage of any SOP class in any transfer syntax, data sets sent from the file as they stand, and no log of its own.
"""

import hashlib
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Self, cast

from attrs import field, frozen
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, _config, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.presentation import (
    NonPatientObjectPresentationContexts,
    PresentationContext,
    build_context,
)

from tests.support.objects import Instance
from tests.support.ports import HOST, free_port, until

_config.UNRESTRICTED_STORAGE_SERVICE = True
_config.STORE_SEND_CHUNKED_DATASET = True
_config.LOG_HANDLER_LEVEL = "none"

VERIFICATION = UID("1.2.840.10008.1.1")
UNCOMPRESSED = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]
PRESENTATION_LUT = UID("1.2.840.10008.5.1.1.23")
# What pynetdicom's unrestricted storage does not take for storage.
OTHERS = [PRESENTATION_LUT, *(UID(context.abstract_syntax or "") for context in NonPatientObjectPresentationContexts)]


@frozen(kw_only=True)
class Received:
    """One C-STORE as it arrived."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax: str
    data: bytes = field(repr=False)
    """The data set, PDV framing removed; empty where the archive keeps no data."""
    length: int
    sha256: str
    calling_ae: str
    called_ae: str
    message_id: int
    association: int
    """A number that the C-STOREs of one association share."""


Answer = Callable[[evt.Event, Received], int | Dataset]


class PynetdicomArchive:
    """A storage SCP that accepts every SOP class in every transfer syntax and keeps what it gets.

    `answer` is the status to respond with, or what decides on it: a callable that may also wait, or abort the
    association through `event.assoc`. What it is asked about has been kept already.
    """

    def __init__(
        self,
        *,
        ae_title: str = "ARCHIVE",
        port: int | None = None,
        answer: int | Answer = 0x0000,
        keep_data: bool = True,
        maximum_pdu_length: int = 131072,
        maximum_associations: int = 20,
    ) -> None:
        self.ae_title, self.host, self.port = ae_title, HOST, port or free_port()
        self.received: list[Received] = []
        self.answer = answer
        self._keep_data = keep_data
        self._arrival = threading.Condition()
        self._ae = AE(ae_title=ae_title)
        self._ae.maximum_pdu_size = maximum_pdu_length
        self._ae.maximum_associations = maximum_associations
        self._ae.add_supported_context(VERIFICATION, UNCOMPRESSED)
        for abstract_syntax in OTHERS:
            self._ae.add_supported_context(abstract_syntax, ALL_TRANSFER_SYNTAXES)

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def __enter__(self) -> Self:
        handlers: list[Any] = [(evt.EVT_C_STORE, self._on_store), (evt.EVT_C_ECHO, lambda event: 0x0000)]
        self._server = self._ae.start_server((self.host, self.port), block=False, evt_handlers=handlers)
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._server
        self._server.shutdown()

    def wait_for(self, count: int, seconds: float = 30.0) -> list[Received]:
        """All that was received, as soon as it is `count` C-STOREs; repeats count."""
        with self._arrival:
            arrived = self._arrival.wait_for(lambda: len(self.received) >= count, seconds)
            assert arrived, f"{self.ae_title}: {len(self.received)} of {count} objects after {seconds} s"
            return list(self.received)

    def clear(self) -> None:
        with self._arrival:
            self.received.clear()

    def _on_store(self, event: evt.Event) -> int | Dataset:
        received = self._received(event)
        with self._arrival:
            self.received.append(received)
            self._arrival.notify_all()
        return self.answer if isinstance(self.answer, int) else self.answer(event, received)

    def _received(self, event: evt.Event) -> Received:
        request = cast("C_STORE", event.request)
        data = request.DataSet.getvalue() if request.DataSet else b""
        return Received(
            sop_class_uid=str(request.AffectedSOPClassUID),
            sop_instance_uid=str(request.AffectedSOPInstanceUID),
            transfer_syntax=str(event.context.transfer_syntax),
            data=data if self._keep_data else b"",
            length=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            calling_ae=event.assoc.requestor.ae_title,
            called_ae=event.assoc.acceptor.ae_title,
            message_id=request.MessageID or 0,
            association=id(event.assoc),
        )


class Modality:
    """A storage SCU: one association that proposes a context for every (SOP class, transfer syntax) pair it is given.

    Entering it raises `NotAssociated` where the acceptor does not accept the association.
    """

    def __init__(
        self,
        host: str,
        port: int,
        pairs: Iterable[tuple[str, str]],
        *,
        calling_ae: str = "MODALITY",
        called_ae: str = "ROUTER",
        patience: float = 60.0,
    ) -> None:
        """`patience` is how many seconds it waits for a response before it aborts."""
        self._host, self._port, self._called_ae = host, port, called_ae
        self._contexts = [build_context(sop_class_uid, syntax) for sop_class_uid, syntax in pairs]
        self._ae = AE(ae_title=calling_ae)
        self._ae.dimse_timeout = patience
        self._message_id = 0

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory()
        self.association: Association = self._ae.associate(
            self._host, self._port, contexts=self._contexts, ae_title=self._called_ae
        )
        if not self.association.is_established:
            self._folder.cleanup()
            raise NotAssociated(f"{self._called_ae} at {self._host}:{self._port}")
        park_reactor(self.association)
        return self

    def __exit__(self, *exc: object) -> None:
        unpark_reactor(self.association)
        if self.association.is_established:
            self.association.release()
        self._folder.cleanup()

    def accepted(self) -> set[tuple[str, str]]:
        """The pairs of the accepted contexts."""
        return {_pair(context) for context in self.association.accepted_contexts}

    def rejected(self) -> dict[tuple[str, str], int]:
        """The pairs of the other contexts, each with its result (PS3.8 table 9-18)."""
        return {_pair(context): context.result or 0 for context in self.association.rejected_contexts}

    def store(self, instance: Instance) -> int | None:
        """Send one instance; the status of the response, or None if the association has ended without one."""
        if not self.association.is_established:
            return None
        self._message_id = self._message_id % 0xFFFF + 1
        path = instance.write(Path(self._folder.name))
        try:
            response = self.association.send_c_store(path, msg_id=self._message_id)
        finally:
            path.unlink()
        return response.Status if "Status" in response else None

    def echo(self) -> int | None:
        response = self.association.send_c_echo()
        return response.Status if "Status" in response else None


def park_reactor(association: Association) -> None:
    """Between two requests pynetdicom lets its own thread look for messages. To a peer that answers at once that
    thread may take the next response away, as "unexpected", so here it rests for as long as we send."""
    checkpoint = association._reactor_checkpoint
    checkpoint.clear()
    time.sleep(0.02)  # it may say that it rests when it has just gone on
    until(lambda: association._is_paused, "the reactor rests")
    checkpoint.set = lambda: None  # type: ignore[method-assign]


def unpark_reactor(association: Association) -> None:
    del association._reactor_checkpoint.set
    association._reactor_checkpoint.set()


class NotAssociated(Exception):
    """The acceptor rejected the association, aborted it or was not there."""


def _pair(context: PresentationContext) -> tuple[str, str]:
    return str(context.abstract_syntax), str(context.transfer_syntax[0])


def store_all(host: str, port: int, instances: Sequence[Instance], **how: Any) -> list[int | None]:
    """Send the instances over as many associations as their contexts need; the statuses, in order."""
    pairs = list(dict.fromkeys((one.sop_class_uid, one.transfer_syntax) for one in instances))
    statuses: dict[int, int | None] = {}
    for at in range(0, len(pairs), 128):
        batch = pairs[at : at + 128]
        with Modality(host, port, batch, **how) as modality:
            for number, instance in enumerate(instances):
                if (instance.sop_class_uid, instance.transfer_syntax) in batch:
                    statuses[number] = modality.store(instance)
    return [statuses[number] for number in range(len(instances))]
