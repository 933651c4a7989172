"""What others learn of a step: on asking (N-GET), on every change (N-EVENT-REPORT)."""

from pathlib import Path

import pytest

from pdu import AssociateRJ, AssociateRQ
from router.dicom.dataset import TRANSFER_SYNTAXES, read, text
from router.dicom.uids import EXPLICIT_LE, IMPLICIT_LE
from router.dimse import Status
from router.services.mpps import attributes
from router.services.mpps.attributes import MPPS_NOTIFICATION, MPPS_RETRIEVE, references
from tests.support.harness import running_router
from tests.support.mpps import get, perform
from tests.support.mpps_messages import UID, completed, in_progress, progress, tree
from tests.support.mpps_peers import RIS, Scanner, hub


@pytest.mark.parametrize("transfer_syntax", TRANSFER_SYNTAXES)
async def test_a_step_is_given_as_it_is_now(tmp_path: Path, transfer_syntax: str) -> None:
    async with RIS().serving() as ris, running_router(hub(tmp_path, ris=ris.port)) as router:
        async with Scanner.connected(router.port) as scanner:
            await perform(scanner)
        async with Scanner.connected(
            router.port, transfer_syntax=transfer_syntax, sop_class=MPPS_RETRIEVE
        ) as workstation:
            whole = await get(workstation, UID)
            some = await get(workstation, UID, attributes.STATUS, attributes.MODALITY)
            unknown = await get(workstation, "1.2.3")
            beyond = await get(workstation, UID, attributes.STATUS, 0x00420010)
    step = read(whole.data_set, transfer_syntax)
    assert whole.status == Status.SUCCESS
    assert text(step, attributes.STATUS) == "COMPLETED"
    assert text(step, attributes.PATIENT_NAME) == "Doe^Jane"
    assert text(step, 0x00400254) == "on the way"
    assert references(step) == references(tree(completed()))
    assert set(read(some.data_set, transfer_syntax)) == {attributes.STATUS, attributes.MODALITY}
    assert unknown.status == Status.NO_SUCH_SOP_INSTANCE
    assert beyond.status == 0x0001
    assert set(read(beyond.data_set, transfer_syntax)) == {attributes.STATUS}


async def test_only_those_who_may_retrieve_steps_can(tmp_path: Path) -> None:
    async with RIS().serving() as ris:
        config = hub(tmp_path, ris=ris.port, extra='[mpps]\nretrieve_ae = "WS*"')
        async with running_router(config) as router:
            async with Scanner.connected(router.port, sop_class=MPPS_RETRIEVE, calling="CT1") as stranger:
                assert (await get(stranger, UID)).status == Status.NOT_AUTHORIZED
            async with Scanner.connected(router.port, sop_class=MPPS_RETRIEVE, calling="WS1") as workstation:
                assert (await get(workstation, UID)).status == Status.NO_SUCH_SOP_INSTANCE


async def test_peers_hear_of_every_change_in_order_and_we_propose_to_be_the_scp(tmp_path: Path) -> None:
    requests: list[AssociateRQ] = []

    def listen(request: AssociateRQ) -> AssociateRJ | str | None:
        requests.append(request)
        return None

    async with RIS().serving() as ris, RIS().serving() as viewer:
        viewer.on_request = listen
        config = hub(
            tmp_path,
            'service = "mpps"\nto = ["ris"]',
            'service = "mpps-notification"\nto = ["viewer"]',
            ris=ris.port,
            viewer=viewer.port,
        )
        async with running_router(config) as router, Scanner.connected(router.port) as scanner:
            await perform(scanner)
            await scanner.create("1.2.3", in_progress())
            await scanner.set("1.2.3", completed(status="DISCONTINUED"))
            await router.until("viewer", delivered=5)
    assert {one.kind for one in viewer.heard} == {"N-EVENT-REPORT-RQ"}
    events = {uid: [one.command.event_type_id for one in viewer.heard if one.uid == uid] for uid in (UID, "1.2.3")}
    assert events == {UID: [1, 4, 2], "1.2.3": [1, 3]}
    assert not any(one.command.has_data_set for one in viewer.heard)
    roles = [
        (role.sop_class_uid, role.scu_role, role.scp_role)
        for request in requests
        for role in request.user_information.roles
    ]
    assert set(roles) == {(MPPS_NOTIFICATION, False, True)}


async def test_a_hub_may_notify_without_relaying(tmp_path: Path) -> None:
    async with RIS().serving() as viewer:
        config = hub(tmp_path, 'service = "mpps-notification"\nto = ["viewer"]', viewer=viewer.port)
        async with running_router(config) as router, Scanner.connected(router.port, transfer_syntax=IMPLICIT_LE) as one:
            assert (await one.create(UID, in_progress())).status == Status.SUCCESS
            assert (await one.set(UID, progress("x"))).status == Status.SUCCESS
            await router.until("viewer", delivered=2)
    assert EXPLICIT_LE not in {message.transfer_syntax for message in viewer.heard}
