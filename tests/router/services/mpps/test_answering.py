"""A RIS answers in place of the router: its status goes back, and what it has got is not sent to it again."""

import time
from functools import partial
from pathlib import Path

import attrs
import pytest

from router.association.transport import Transport
from router.dicom.dataset import TRANSFER_SYNTAXES, read
from router.dicom.uids import EXPLICIT_LE
from router.dimse import DATA_SET, Command, CommandField, Status
from router.services.mpps import step_store
from router.services.mpps.state_machine import fingerprint
from tests.support.harness import running_router
from tests.support.mpps import WHOLE, perform
from tests.support.mpps_messages import UID, completed, in_progress, progress, tree
from tests.support.mpps_peers import RIS, Scanner, hub

ROUTE = 'service = "mpps"\nto = ["ris", "other"]\nanswer = "ris"'


async def test_the_status_of_the_ris_goes_back_and_the_rest_is_relayed(tmp_path: Path) -> None:
    async with RIS().serving() as ris, RIS().serving() as other:
        config = hub(tmp_path, ROUTE, ris=ris.port, other=other.port)
        async with running_router(config) as router, Scanner.connected(router.port) as scanner:
            await perform(scanner)
            await router.until("other", delivered=3)
            assert not await router.totals("ris") or (await router.totals("ris"))["accepted"] == 0
    assert ris.messages() == WHOLE
    assert other.messages() == WHOLE


@attrs.define
class ReturnsAttributes(RIS):
    """Returns the attributes of each N-CREATE in the transfer syntax of its presentation context."""

    async def _respond(self, transport: Transport, context_id: int, response: Command) -> None:
        if response.field != CommandField.N_CREATE_RSP:
            await super()._respond(transport, context_id, response)
            return
        with_data = attrs.evolve(response, data_set_type=DATA_SET)
        await super()._respond(transport, context_id, with_data)
        layer = transport.upper_layer
        await transport.send(layer.send_data(context_id, self.heard[-1].data, command=False, last=True))


@pytest.mark.parametrize("prefers", TRANSFER_SYNTAXES)
async def test_a_ris_may_choose_another_transfer_syntax_than_the_modality(prefers: str, tmp_path: Path) -> None:
    async with ReturnsAttributes(prefers=prefers).serving() as ris, RIS().serving() as other:
        config = hub(tmp_path, ROUTE, ris=ris.port, other=other.port)
        async with running_router(config) as router, Scanner.connected(router.port) as scanner:
            response = await scanner.create(UID, in_progress())
            assert response.status == 0
            returned = read(response.data_set, EXPLICIT_LE)
    (heard,) = ris.heard
    assert heard.transfer_syntax == prefers
    assert read(heard.data, prefers) == returned == tree(in_progress())


async def test_what_the_ris_refuses_is_refused_and_relayed_to_nobody(tmp_path: Path) -> None:
    async with RIS().serving() as ris, RIS().serving() as other:
        ris.faults.append(Status.MISSING_ATTRIBUTE)
        config = hub(tmp_path, ROUTE, ris=ris.port, other=other.port)
        async with running_router(config) as router, Scanner.connected(router.port) as scanner:
            assert (await scanner.create(UID, in_progress())).status == Status.MISSING_ATTRIBUTE
            assert (await scanner.set(UID, progress("x"))).status == Status.NO_SUCH_SOP_INSTANCE
            await perform(scanner)
            await router.until("other", delivered=3)
    assert other.messages() == WHOLE
    assert ris.steps == other.steps == {UID: "COMPLETED"}


async def test_the_router_answers_for_a_ris_that_is_down_and_delivers_later(tmp_path: Path) -> None:
    async with RIS().serving() as down:
        port = down.port
    async with RIS().serving() as other:
        config = hub(tmp_path, ROUTE, ris=port, other=other.port)
        async with running_router(config) as router, Scanner.connected(router.port) as scanner:
            await scanner.create(UID, in_progress())
            async with RIS(port=port).serving() as ris:
                await scanner.set(UID, completed())
                await ris.until(UID, "COMPLETED")
                await router.until("other", delivered=2)
    assert [kind for kind, _, answer in ris.messages() if answer == 0] == ["N-CREATE-RQ", "N-SET-RQ"]


@pytest.mark.parametrize("fault", ["silence", "abort after", "abort"])
async def test_a_ris_that_breaks_off_gets_the_message_once_more_as_a_delivery(tmp_path: Path, fault: str) -> None:
    async with RIS().serving() as ris, RIS().serving() as other:
        ris.faults.append(fault)
        config = hub(tmp_path, ROUTE, ris=ris.port, other=other.port, extra='[mpps]\nanswer_within = "300ms"')
        async with running_router(config) as router, Scanner.connected(router.port) as scanner:
            assert (await scanner.create(UID, in_progress())).status == Status.SUCCESS
            await router.until("ris", delivered=1)
            assert (await scanner.set(UID, completed())).status == Status.SUCCESS
            await router.until("other", delivered=2)
    assert ris.steps == other.steps == {UID: "COMPLETED"}


async def test_a_ris_that_has_forgotten_the_step_gets_it_from_its_beginning(tmp_path: Path) -> None:
    async with RIS().serving() as ris, RIS().serving() as other:
        config = hub(tmp_path, ROUTE, ris=ris.port, other=other.port)
        async with running_router(config) as router, Scanner.connected(router.port) as scanner:
            await scanner.create(UID, in_progress())
            ris.steps.clear()
            assert (await scanner.set(UID, completed())).status == Status.SUCCESS
            await ris.until(UID, "COMPLETED")


async def test_what_the_ris_got_before_a_crash_is_no_duplicate_when_it_is_repeated(tmp_path: Path) -> None:
    async with RIS().serving() as ris, RIS().serving() as other:
        config = hub(tmp_path, ROUTE, ris=ris.port, other=other.port)
        async with running_router(config) as router, Scanner.connected(router.port) as scanner:
            ris.steps[UID] = "IN PROGRESS"  # what a crash leaves: it was asked, nobody heard the answer
            question = partial(
                step_store.add_delegated_request, uid=UID, fingerprint=fingerprint(tree(in_progress())), now=time.time()
            )
            await router.router._state.change(question)
            assert (await scanner.create(UID, in_progress())).status == Status.SUCCESS
            await other.until(UID, "IN PROGRESS")


async def test_a_step_that_only_the_ris_knows_is_a_duplicate(tmp_path: Path) -> None:
    async with RIS().serving() as ris, RIS().serving() as other:
        config = hub(tmp_path, ROUTE, ris=ris.port, other=other.port)
        ris.steps[UID] = "IN PROGRESS"
        async with running_router(config) as router, Scanner.connected(router.port) as scanner:
            assert (await scanner.create(UID, in_progress())).status == Status.DUPLICATE_SOP_INSTANCE
    assert other.heard == []
