"""An N-EVENT-REPORT that waits in the spool for a peer without an address."""

import time

import attrs

from pdu import PDV, AssociateAC, AsynchronousOperationsWindow, PDataTF
from router.dimse import Command, decode, encode, n_requests, response_to
from router.model import Envelope, Recipient
from tests.support.harness import (
    IMPLICIT,
    Modality,
    RunningRouter,
    associate_rq,
    p_data,
)

COMMITMENT = "1.2.840.10008.1.20.1"

REPORT = b"\x08\x00\x95\x11\x04\x00\x00\x001.2\0"

MODALITY = """
[peers.modality]
ae_title = "MODALITY"
"""


def event_report(uid: str = "1.2.840.10008.1.20.1.1") -> Command:
    return n_requests.n_event_report(COMMITMENT, uid, 1)


async def store_report(router: RunningRouter, destination: str) -> None:
    """Put a report into the spool, as the commitment service does."""
    command = event_report()
    envelope = Envelope(
        kind=command.name,
        command=encode(command),
        service="storage-commitment",
        abstract_syntax=COMMITMENT,
        transfer_syntax=IMPLICIT,
        sop_class_uid=COMMITMENT,
        sop_instance_uid="",
        calling_ae="ROUTER",
        called_ae="MODALITY",
        peer="",
        received=time.time(),
        deliveries=(Recipient(destination=destination),),
    )
    incoming = router.spool.intake.incoming()
    await incoming.write(REPORT)
    await router.spool.intake.store(incoming, envelope)


async def hear_report(modality: Modality) -> Command:
    """The report as it comes, command set and data set."""
    pdvs: list[PDV] = []
    while len(pdvs) < 2:
        pdu = await modality.hear()
        assert isinstance(pdu, PDataTF)
        pdvs += pdu.pdvs
    assert bytes(pdvs[1].data) == REPORT
    return decode(bytes(pdvs[0].data))


async def answer_report(modality: Modality, report: Command, status: int = 0) -> None:
    await modality.say(p_data(1, encode(response_to(report, status)), command=True))


async def associate_with_window(modality: Modality, window: AsynchronousOperationsWindow | None) -> AssociateAC:
    request = associate_rq()
    information = attrs.evolve(request.user_information, asynchronous_operations_window=window)
    await modality.say(attrs.evolve(request, user_information=information))
    accept = await modality.hear()
    assert isinstance(accept, AssociateAC)
    return accept
