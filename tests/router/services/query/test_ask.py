"""One query at one peer: every match in order, the end as a value, and a C-CANCEL whenever it is wanted."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import trio

from router.association import AssociationPools, PooledPeers
from router.config import Config, Peer
from router.config.identifiers import Endpoint
from router.dicom.dataset import text
from router.dicom.information_models import PATIENT_ID, STUDY_ROOT
from router.dimse import Status
from router.services.query.ask import DRAIN, Deadlines, Outcome, PeerMatch, Question, query_peer
from router.services.query.identifier import decode_identifier
from tests.support.harness import PATIENCE
from tests.support.ports import HOST, free_port
from tests.support.query import QuerySCP, identifier, match
from tests.support.query_archive import QueryArchive, answering, record

KEYS = decode_identifier(identifier(PatientID=""), "1.2.840.10008.1.2")


def peers_at(port: int) -> PooledPeers:
    config = Config(peers={"pacs": Peer(name="pacs", ae_title="PACS", address=Endpoint(host=HOST, port=port))})
    return PooledPeers(AssociationPools(), lambda: config)


def question(peer: str = "pacs", **options: Any) -> Question:
    return Question(peer=peer, sop_class=STUDY_ROOT.find, identifier=KEYS, **options)


async def answers(
    port: int, *, cancelled: trio.Event | None = None, stop_after: int = 0, **options: Any
) -> tuple[list[PeerMatch], Outcome]:
    found: list[PeerMatch] = []
    cancelled = cancelled or trio.Event()

    async def receive(one: PeerMatch) -> None:
        found.append(one)
        if len(found) == stop_after:
            assert cancelled is not None
            cancelled.set()

    with trio.fail_after(PATIENCE):
        outcome = await query_peer(peers_at(port), question(**options), receive, cancelled)
    return found, outcome


async def test_the_matches_come_in_order_with_their_statuses_and_then_the_end() -> None:
    def find(event: Any) -> Iterator[Any]:
        for number in range(100):
            yield Status.PENDING_WITH_WARNING if number % 2 else Status.PENDING, match(number)

    with QuerySCP(find, relational=b"\1") as scp:
        found, outcome = await answers(scp.port, extended=b"\1")
    assert [text(one.identifier, PATIENT_ID) for one in found] == [f"P{number}" for number in range(100)]
    assert [one.status for one in found[:2]] == [0xFF00, 0xFF01]
    assert outcome.is_complete
    assert (outcome.matches, outcome.cause, outcome.extended) == (100, "", b"\1")


async def test_a_failure_of_the_peer_is_its_outcome() -> None:
    def find(event: Any) -> Iterator[Any]:
        yield Status.PENDING, match(1)
        yield 0xC123, None

    with QuerySCP(find) as scp:
        found, outcome = await answers(scp.port)
    assert (len(found), outcome.status, outcome.is_complete) == (1, 0xC123, False)


async def test_a_peer_that_is_not_there_is_an_outcome() -> None:
    for port, peer in ((free_port(), "pacs"), (1, "nobody")):
        found, outcome = await answers(port, peer=peer)
        assert not found
        assert outcome.status is None
        assert outcome.cause
        assert not outcome.has_associated


@pytest.mark.parametrize(("before", "words"), [(0, "0 matches"), (1, "1 match"), (3, "3 matches")])
async def test_a_peer_that_falls_silent_is_left_after_its_deadline(before: int, words: str) -> None:
    script = answering(*[record({PATIENT_ID: "1"})] * before, final="silence")
    async with QueryArchive(find=script).serving() as archive:
        found, outcome = await answers(archive.port, deadlines=Deadlines(first_answer=0.3, between_answers=0.3))
    assert len(found) == before
    assert outcome.cause == f"silent for 0.3 s after {words}"


def until_cancelled(event: Any) -> Iterator[Any]:
    number = 0
    while not event.is_cancelled:
        yield Status.PENDING, match(number)
        number += 1
        threading.Event().wait(0.01)
    yield Status.CANCEL, None


async def test_a_cancelled_query_is_cancelled_at_the_peer_and_gives_no_further_match() -> None:
    with QuerySCP(until_cancelled) as scp:
        found, outcome = await answers(scp.port, stop_after=5)
        assert len(found) == 5
        assert outcome.cause == "cancelled"
        assert scp.released.wait(PATIENCE), "the association is not aborted: the peer has ended the operation"


async def test_a_query_is_cancelled_at_its_deadline() -> None:
    with QuerySCP(until_cancelled) as scp:
        _, outcome = await answers(scp.port, deadlines=Deadlines(deadline=0.5))
        assert outcome.cause == "not complete within 0.5 s"
        assert scp.released.wait(PATIENCE)


async def test_a_peer_that_ignores_a_cancel_is_left_soon() -> None:
    async with QueryArchive(find=answering(record({PATIENT_ID: "1"}), final="silence")).serving() as archive:
        _, outcome = await answers(archive.port, stop_after=1)
        assert archive.cancels
    assert outcome.cause == "cancelled"
    assert outcome.seconds >= DRAIN


async def test_a_reader_that_waits_does_not_keep_a_cancel_from_the_peer() -> None:
    cancelled = trio.Event()

    async def never(one: PeerMatch) -> None:
        cancelled.set()
        await trio.sleep_forever()

    with QuerySCP(until_cancelled) as scp:
        with trio.fail_after(PATIENCE):
            outcome = await query_peer(peers_at(scp.port), question(), never, cancelled)
        assert scp.released.wait(PATIENCE)
    assert outcome.matches == 1


async def test_a_query_that_the_negotiation_rules_out_is_not_sent() -> None:
    with QuerySCP(until_cancelled) as scp:
        found, outcome = await answers(scp.port, is_possible=lambda extended: "not relational")
    assert (found, outcome.cause, outcome.has_associated) == ([], "not relational", True)
