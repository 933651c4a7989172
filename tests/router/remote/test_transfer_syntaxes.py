"""Real peers that take only one of the uncompressed transfer syntaxes, or several: what is stored is encoded for them.

Each message is offered in one presentation context with Explicit LE, Implicit LE and Explicit BE.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from attrs import evolve, frozen
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt

from router.dicom.uids import EXPLICIT_LE, IMPLICIT_LE
from router.dimse import DATA_SET, Command, CommandField, encode
from router.model import Cause, DeliveryState, Envelope, Recipient, SentAs
from router.services.commitment.attributes import STORAGE_COMMITMENT
from router.services.mpps.attributes import MPPS, MPPS_NOTIFICATION
from router.services.mpps.instance_availability import INSTANCE_AVAILABILITY
from tests.support.commitment_peers import n_action, n_event_report
from tests.support.configurations import one_peer
from tests.support.harness import configuration, running_router
from tests.support.mpps_messages import encoded
from tests.support.ports import HOST, free_port

ILE, ELE, EBE = ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian
Heard = tuple[str, str, Dataset]
"""(kind, transfer syntax, data set)."""


@frozen
class Kind:
    """A message that the router sends in any uncompressed transfer syntax."""

    service: str
    abstract_syntax: str
    command: Command
    is_scp: bool = False
    """The router is the SCP that reports."""


def n_create(sop_class_uid: str) -> Command:
    return Command(
        field=CommandField.N_CREATE_RQ,
        affected_sop_class_uid=sop_class_uid,
        affected_sop_instance_uid="1.2.3",
        data_set_type=DATA_SET,
    )


KINDS = {
    "MPPS": Kind("mpps", MPPS, n_create(MPPS)),
    "instance availability": Kind("instance-availability", INSTANCE_AVAILABILITY, n_create(INSTANCE_AVAILABILITY)),
    "commitment request": Kind("storage-commitment", STORAGE_COMMITMENT, n_action()),
    "commitment report": Kind("storage-commitment", STORAGE_COMMITMENT, n_event_report(1), is_scp=True),
}


def message() -> Dataset:
    """Values whose bytes differ between byte orders and VRs, in a sequence and outside."""
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3.4"
    reference.FailureReason = 0x0110
    found = Dataset()
    found.TransactionUID, found.PatientName = "2.25.1", "Doe^Jane"
    found.Rows, found.ExposureTime = 0x0102, "17"
    found.ReferencedSOPSequence = [reference]
    return found


@contextmanager
def pynetdicom_peer(kind: Kind, syntaxes: list[UID]) -> Iterator[tuple[int, SimpleQueue[Heard]]]:
    """An SCP, or for reports an SCU, that takes these transfer syntaxes only."""
    heard: SimpleQueue[Heard] = SimpleQueue()

    def on_message(event: evt.Event) -> tuple[int, None]:
        data_set = next(
            getattr(event, name)
            for name in ("attribute_list", "action_information", "event_information")
            if hasattr(type(event), name) and _has(event, name)
        )
        heard.put((event.event.name, str(event.context.transfer_syntax), data_set))
        return 0x0000, None

    ae = AE(ae_title="PACS")
    roles = {"scu_role": True, "scp_role": True} if kind.is_scp else {}
    ae.add_supported_context(UID(kind.abstract_syntax), syntaxes, **roles)
    port = free_port()
    handlers: list[Any] = [
        (event, on_message) for event in (evt.EVT_N_CREATE, evt.EVT_N_ACTION, evt.EVT_N_EVENT_REPORT)
    ]
    server = ae.start_server((HOST, port), block=False, evt_handlers=handlers)
    assert server is not None
    try:
        yield port, heard
    finally:
        server.shutdown()


def _has(event: evt.Event, name: str) -> bool:
    try:
        getattr(event, name)
    except AttributeError:
        return False
    return True


def envelope(kind: Kind, transfer_syntax: str) -> Envelope:
    return Envelope(
        kind=kind.command.name,
        command=encode(evolve(kind.command, message_id=1)),
        service=kind.service,
        abstract_syntax=kind.abstract_syntax,
        transfer_syntax=transfer_syntax,
        sop_class_uid=kind.abstract_syntax,
        sop_instance_uid="1.2.3",
        calling_ae="MODALITY",
        called_ae="ROUTER",
        peer=HOST,
        received=time.time(),
        deliveries=(Recipient(destination="pacs"),),
    )


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("stored", [EXPLICIT_LE, IMPLICIT_LE], ids=["stored ELE", "stored ILE"])
@pytest.mark.parametrize(
    "syntaxes", [[ILE], [ELE], [EBE], [ILE, EBE], [EBE, ELE, ILE]], ids=["ILE", "ELE", "EBE", "two", "all"]
)
async def test_a_peer_gets_the_same_content_in_a_transfer_syntax_that_it_accepts(
    tmp_path: Path, name: str, stored: str, syntaxes: list[UID]
) -> None:
    kind = KINDS[name]
    with pynetdicom_peer(kind, syntaxes) as (port, heard):
        async with running_router(configuration(tmp_path, one_peer(port))) as router:
            await router.spool.intake.store_bytes(encoded(message(), stored), envelope(kind, stored))
            await router.until("pacs", delivered=1, waiting=0)
    _, transfer_syntax, data_set = heard.get_nowait()
    assert heard.empty()
    assert data_set == message()
    assert transfer_syntax in syntaxes


async def test_mpps_notifications_go_to_a_peer_that_takes_implicit_only(tmp_path: Path) -> None:
    event = Command(
        field=CommandField.N_EVENT_REPORT_RQ,
        affected_sop_class_uid=MPPS_NOTIFICATION,
        affected_sop_instance_uid="1.2.3",
        event_type_id=1,
        data_set_type=DATA_SET,
    )
    kind = Kind("mpps-notification", MPPS_NOTIFICATION, event, is_scp=True)
    with pynetdicom_peer(kind, [ILE]) as (port, heard):
        async with running_router(configuration(tmp_path, one_peer(port))) as router:
            await router.spool.intake.store_bytes(encoded(message(), EXPLICIT_LE), envelope(kind, EXPLICIT_LE))
            await router.until("pacs", delivered=1, waiting=0)
    assert heard.get_nowait()[1:] == (ILE, message())


async def test_what_cannot_be_encoded_for_the_peer_is_held(tmp_path: Path) -> None:
    kind = KINDS["MPPS"]
    with pynetdicom_peer(kind, [EBE]) as (port, heard):
        async with running_router(configuration(tmp_path, one_peer(port))) as router:
            await router.spool.intake.store_bytes(b"not a data set", envelope(kind, EXPLICIT_LE))
            await router.until("pacs", held=1, waiting=0)
            (row,) = await router.spool.queue.list_deliveries()
    assert heard.empty()
    assert (row.state, row.cause) == (DeliveryState.HELD, Cause.NO_CONTEXT)
    assert "Explicit VR Big Endian" in row.reason


async def test_what_must_be_changed_by_an_unknown_change_never_leaves_as_stored(tmp_path: Path) -> None:
    kind = KINDS["MPPS"]
    changed = Recipient(destination="pacs", sent_as=SentAs(transform="pseudonyms", version=2))
    with pynetdicom_peer(kind, [ELE]) as (port, heard):
        async with running_router(configuration(tmp_path, one_peer(port))) as router:
            message_to_change = evolve(envelope(kind, EXPLICIT_LE), deliveries=(changed,))
            await router.spool.intake.store_bytes(encoded(message(), EXPLICIT_LE), message_to_change)
            await router.until("pacs", held=1, waiting=0)
            (row,) = await router.spool.queue.list_deliveries()
    assert heard.empty()
    assert "'pseudonyms'" in row.reason
