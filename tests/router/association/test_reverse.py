"""What waits for a peer that nobody can call goes out when the peer comes, on the peer's own association."""

import time
from pathlib import Path

import attrs
import trio

from pdu import PDV, AssociateAC, PDataTF
from router.dimse import DATA_SET, Command, CommandField, decode, encode, response_to
from router.model import Envelope, Recipient
from tests.support.harness import CT, IMPLICIT, Modality, RunningRouter, configuration, p_data, running_router

COMMITMENT = "1.2.840.10008.1.20.1"
REPORT = b"\x08\x00\x95\x11\x04\x00\x00\x001.2\0"

MODALITY = """
[peers.modality]
ae_title = "MODALITY"
"""


def event_report(uid: str = "1.2.840.10008.1.20.1.1") -> Command:
    return Command(
        field=CommandField.N_EVENT_REPORT_RQ,
        message_id=1,
        affected_sop_class_uid=COMMITMENT,
        affected_sop_instance_uid=uid,
        event_type_id=1,
        data_set_type=DATA_SET,
    )


async def owe(router: RunningRouter, destination: str) -> None:
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
    incoming = router.spool.incoming()
    await incoming.write(REPORT)
    await router.spool.commit(incoming, envelope)


async def hear_report(modality: Modality) -> Command:
    """The report as it comes, command set and data set."""
    pdvs: list[PDV] = []
    while len(pdvs) < 2:
        pdu = await modality.hear()
        assert isinstance(pdu, PDataTF)
        pdvs += pdu.pdvs
    assert bytes(pdvs[1].data) == REPORT
    return decode(bytes(pdvs[0].data))


async def answer(modality: Modality, report: Command, status: int = 0) -> None:
    await modality.say(p_data(1, encode(response_to(report, status)), command=True))


async def test_a_report_for_a_peer_without_an_address_waits_until_the_peer_comes(tmp_path: Path) -> None:
    async with running_router(configuration(tmp_path, MODALITY)) as router:
        await owe(router, "modality")
        await router.until("modality", waiting=1)
        async with Modality.connected(router.port) as modality:
            assert isinstance(await modality.associate((COMMITMENT, (IMPLICIT,))), AssociateAC)
            report = await hear_report(modality)
            assert (await router.totals("modality"))["delivered"] == 0
            await answer(modality, report)
            await router.until("modality", delivered=1, waiting=0, in_flight=0)


async def test_a_report_reaches_a_peer_whose_association_is_open_already(tmp_path: Path) -> None:
    async with running_router(configuration(tmp_path, MODALITY)) as router, Modality.connected(router.port) as modality:
        await modality.associate((COMMITMENT, (IMPLICIT,)))
        for _ in range(3):
            await owe(router, "modality")
            await answer(modality, await hear_report(modality))
        await router.until("modality", delivered=3, waiting=0)


async def test_a_peer_that_leaves_without_an_answer_gets_the_report_again(tmp_path: Path) -> None:
    content = MODALITY + 'retry = { first = "20ms", max = "100ms" }'
    async with running_router(configuration(tmp_path, content)) as router:
        await owe(router, "modality")
        async with Modality.connected(router.port) as modality:
            await modality.associate((COMMITMENT, (IMPLICIT,)))
            await hear_report(modality)
        await router.until("modality", delivered=0, waiting=1, in_flight=0)
        async with Modality.connected(router.port) as modality:
            await modality.associate((COMMITMENT, (IMPLICIT,)))
            await answer(modality, await hear_report(modality))
            await router.until("modality", delivered=1)


async def test_nobody_else_and_no_other_context_gets_it(tmp_path: Path) -> None:
    async with running_router(configuration(tmp_path, MODALITY)) as router:
        await owe(router, "modality")
        async with Modality.connected(router.port) as stranger, Modality.connected(router.port) as modality:
            await stranger.associate((COMMITMENT, (IMPLICIT,)), calling="STRANGER")
            await modality.associate((CT, (IMPLICIT,)))
            for one in (stranger, modality):
                with trio.move_on_after(0.3) as patience:
                    await one.stream.receive_some()
                assert patience.cancelled_caught
        assert (await router.totals("modality"))["waiting"] == 1


async def test_an_answer_to_something_else_is_not_taken_for_the_reports(tmp_path: Path) -> None:
    async with running_router(configuration(tmp_path, MODALITY)) as router, Modality.connected(router.port) as modality:
        await owe(router, "modality")
        await modality.associate((COMMITMENT, (IMPLICIT,)))
        report = await hear_report(modality)
        await answer(modality, attrs.evolve(report, message_id=4711))
        assert (await router.totals("modality"))["delivered"] == 0
        await answer(modality, report)
        await router.until("modality", delivered=1)
