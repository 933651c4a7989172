"""An error of the router's own is answered, and ends neither the association nor anything beside it."""

from pathlib import Path
from typing import Any, cast

import attrs
import pytest
import trio
from structlog.testing import capture_logs

from pdu import AcceptedContext, AssociateRQ
from router.association import OperationPerformer, RemoteAE, Requestor, plan_contexts
from router.association.transport import Transport
from router.config import Timeouts
from router.dimse import Command, CommandField, MessageBegin, Status, encode
from router.routing import RoutingTable
from router.services import parse_config
from router.services.commitment.attributes import STORAGE_COMMITMENT
from router.services.commitment.options import CommitmentSettings
from router.services.commitment.scp import StorageCommitment
from router.services.mpps.intake import StepIntake
from router.services.verification import Verification
from router.spool import Spool
from tests.support.harness import (
    CT,
    IMPLICIT,
    VERIFICATION,
    Archive,
    Modality,
    configuration,
    data_set,
    eventually,
    p_data,
    running_router,
    store_rq,
)
from tests.support.mpps_messages import in_progress
from tests.support.mpps_peers import RIS, Scanner, hub

UID = "1.2.840.99.1"


def raising(*_: Any, **__: Any) -> Any:
    raise ZeroDivisionError("a fault of the router")


def crashes(logs: list[Any]) -> list[tuple[str, str]]:
    return [(line["event"], line["command"]) for line in logs if line.get("exc_info") and line["log_level"] == "error"]


async def test_an_error_while_an_object_is_taken_is_answered_c001h_and_the_association_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Archive().serving() as archive, running_router(configuration(tmp_path, pacs=archive.port)) as router:
        async with Modality.connected(router.port) as modality:
            await modality.associate()
            with monkeypatch.context() as patch, capture_logs() as logs:
                patch.setattr(RoutingTable, "match", raising)
                answer = await modality.store(store_rq(UID), data_set(UID))
            assert answer.status == Status.UNABLE_TO_PROCESS
            assert "ZeroDivision" not in (answer.error_comment or "")
            assert crashes(logs) == [("operation crashed", "C-STORE-RQ")]
            assert (await modality.store(store_rq(UID), data_set(UID))).status == 0
        assert len(await archive.received(1)) == 1


@pytest.mark.parametrize("step", ["admit", "perform"])
async def test_an_error_while_another_operation_is_performed_is_answered_0110h(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    echo = Command(field=CommandField.C_ECHO_RQ, message_id=7, affected_sop_class_uid=VERIFICATION)
    async with running_router(configuration(tmp_path)) as router, Modality.connected(router.port) as modality:
        await modality.associate((VERIFICATION, (IMPLICIT,)), (CT, (IMPLICIT,)))
        with monkeypatch.context() as patch, capture_logs() as logs:
            patch.setattr(Verification, step, raising)
            await modality.say(p_data(1, encode(echo), command=True))
            assert (await modality.response()).status == Status.PROCESSING_FAILURE
        assert crashes(logs) == [("operation crashed", "C-ECHO-RQ")]
        await modality.say(p_data(1, encode(echo), command=True))
        assert (await modality.response()).status == 0


async def test_an_error_while_a_step_is_taken_is_answered_0110h(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with RIS().serving() as ris, running_router(hub(tmp_path, ris=ris.port)) as router:
        async with Scanner.connected(router.port) as scanner:
            with monkeypatch.context() as patch:
                patch.setattr(StepIntake, "accept", raising)
                assert (await scanner.create(UID, in_progress())).status == Status.PROCESSING_FAILURE
            assert (await scanner.create(UID, in_progress())).status == Status.SUCCESS


# what is refused by the command set needs nothing of the service
COMMITMENT = object.__new__(StorageCommitment)
COMMITMENT._settings = CommitmentSettings()
NO_REPORT = Command(field=CommandField.N_EVENT_REPORT_RQ, message_id=1, affected_sop_class_uid=CT)


def pacs(port: int, called: str = "PACS") -> RemoteAE:
    return RemoteAE(
        host="127.0.0.1",
        port=port,
        called_ae=called,
        calling_ae="ROUTER",
        maximum_pdu_length=16384,
        implementation_class_uid="1.2.3",
        implementation_version_name="TEST",
    )


async def test_a_refusal_on_an_association_that_the_router_opened_has_the_sites_code_too() -> None:
    statuses = parse_config('[statuses.by_calling_ae."PACS"]\nno_such_sop_class = "C321"', Path()).statuses
    operations = OperationPerformer((COMMITMENT,), cast("Spool", None), statuses)
    context = AcceptedContext(id=1, abstract_syntax=STORAGE_COMMITMENT, transfer_syntax=IMPLICIT)
    for called, status in (("PACS", 0xC321), ("VNA", 0x0118)):
        operation = operations.begin(MessageBegin(1, NO_REPORT, b""), context, pacs(104, called))
        assert operation is not None
        assert (await operation.perform()).status == status


@attrs.define
class Flooding(Archive):
    """Sends a thousand requests at once on the association that the router has opened."""

    answers: int = 0

    async def _accept(self, transport: Transport, request: AssociateRQ) -> None:
        await super()._accept(transport, request)
        one = transport.upper_layer.send_data(1, encode(NO_REPORT), command=True, last=True)
        await transport.send(one * 1000)

    async def _answer(self, transport: Transport, begin: MessageBegin, data: bytes) -> None:
        self.answers += 1


async def test_thousands_of_requests_on_an_association_that_the_router_opened_hold_nobody_up() -> None:
    operations = OperationPerformer((COMMITMENT,), cast("Spool", None))
    archive = Flooding()
    most = 0

    async def look() -> None:
        """How many are answered between two turns of another task."""
        nonlocal most
        before = 0
        while True:
            await trio.lowlevel.checkpoint()
            most, before = max(most, archive.answers - before), archive.answers

    async def answered() -> bool:
        return archive.answers == 1000

    async with archive.serving(), trio.open_nursery() as nursery:
        contexts = plan_contexts([(STORAGE_COMMITMENT, IMPLICIT)])
        async with await Requestor.open(pacs(archive.port), contexts, Timeouts(), operations=operations) as association:
            nursery.start_soon(look)
            nursery.start_soon(association.attend)
            await eventually(answered)
            nursery.cancel_scope.cancel()
    assert most < 20
