"""A system that stores under one AE title and does storage commitment under another, at another port."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from attrs import define, evolve, field

from pdu import AssociateRJ, AssociateRQ
from router.config import Endpoint, Options
from router.services import parse_config
from router.services.commitment.attributes import STORAGE_COMMITMENT, CommitmentRequest
from router.services.commitment.options import CommitmentPeerOptions, commitment_of
from router.services.commitment.transaction import COMMITTED, InstanceResult, Reference, TransactionOutcome
from tests.support.commitment import STORAGE, store, until_asked
from tests.support.commitment_peers import CommittingArchive, Modality, ask, instances
from tests.support.harness import RunningRouter, configuration, eventually, running_router

ONE, TWO = instances(2)
BY_ROUTE = """
[[routes]]
name = "commitment"
service = "storage-commitment"
to = ["pacs"]
deadline = "10s"
grace = "0s"
"""
BY_DELIVERIES = '[commitment]\ngrace = "0s"\n'


@define
class OneTitle(CommittingArchive):
    """An AE that rejects associations under any other title (PS3.8 table 9-21)."""

    called: list[str] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.on_request = self._judge

    def _judge(self, request: AssociateRQ) -> AssociateRJ | None:
        title = request.called_ae_title
        if title != self.title:
            return AssociateRJ(result=1, source=1, reason=7)
        self.called.append(title)
        return None


@define
class CommitmentAE(OneTitle):
    """It commits to what the storage AE of its system holds."""

    storage: CommittingArchive = field(factory=CommittingArchive)

    def outcome(self, request: CommitmentRequest) -> TransactionOutcome:
        holds = {stored.command.sop_instance_uid for stored in self.storage.stored}
        return TransactionOutcome(
            tuple(
                InstanceResult(one, COMMITTED if one.sop_instance_uid in holds else 0x0112, self.retrieve_ae)
                for one in request.references
            )
        )


@asynccontextmanager
async def system() -> AsyncIterator[tuple[OneTitle, CommitmentAE]]:
    """PACS takes objects and knows no storage commitment, PACS_SC the other way round."""
    async with trio.open_nursery() as nursery:
        storage = OneTitle(title="PACS", nursery=nursery)
        storage.accepts = lambda context: context.abstract_syntax != STORAGE_COMMITMENT
        commitment = CommitmentAE(title="PACS_SC", nursery=nursery, storage=storage)
        commitment.accepts = lambda context: context.abstract_syntax == STORAGE_COMMITMENT
        async with storage.serving(), commitment.serving():
            yield storage, commitment
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def router(
    folder: Path, text: str, storage: OneTitle, commitment: CommitmentAE, modality: Modality, keys: str = ""
) -> AsyncIterator[RunningRouter]:
    another = f'ae_title = "PACS_SC", address = "127.0.0.1:{commitment.port}"'
    peers = f"""
[peers.modality]
ae_title = "MODALITY"
address = "127.0.0.1:{modality.port}"
linger = "50ms"
[peers.pacs]
ae_title = "PACS"
address = "127.0.0.1:{storage.port}"
linger = "50ms"
retry = {{ first = "20ms", max = "100ms" }}
commitment = {{ {another} {keys} }}
"""
    async with running_router(configuration(folder, peers + text + STORAGE)) as running:
        commitment.router = running.port
        yield running


async def committed(modality: Modality, *references: Reference) -> None:
    (heard,) = await modality.reports()
    assert heard.event_type == 1
    assert {uid: word.retrieve_ae for uid, word in heard.words.items()} == {
        one.sop_instance_uid: "PACS" for one in references
    }


async def test_by_a_route_the_commitment_ae_is_asked_and_believed(tmp_path: Path) -> None:
    async with system() as (storage, commitment), Modality().serving() as modality:
        async with router(tmp_path, BY_ROUTE, storage, commitment, modality) as running:
            await store(running.port, ONE, TWO)
            await ask(running.port, (ONE, TWO))
            await committed(modality, ONE, TWO)
            assert (await until_asked(commitment)).references == (ONE, TWO)
            assert not storage.asked


async def test_without_a_route_the_commitment_ae_of_who_got_the_instances_is_asked(tmp_path: Path) -> None:
    async with system() as (storage, commitment), Modality().serving() as modality:
        async with router(tmp_path, BY_DELIVERIES, storage, commitment, modality) as running:
            await store(running.port, ONE)
            await ask(running.port, (ONE,))
            await committed(modality, ONE)


async def test_it_is_not_asked_before_the_storage_ae_has_the_instances(tmp_path: Path) -> None:
    async with system() as (storage, commitment), Modality().serving() as modality:
        storage.full = True
        async with router(tmp_path, BY_ROUTE, storage, commitment, modality) as running:
            await store(running.port, ONE)
            await ask(running.port, (ONE,))
            await running.until("pacs", waiting=1)
            assert not commitment.called
            storage.full = False
            await committed(modality, ONE)


async def test_a_report_is_taken_under_the_title_of_the_commitment_ae_alone(tmp_path: Path) -> None:
    async with system() as (storage, commitment), Modality().serving() as modality:
        commitment.behaviour = "is silent"
        async with router(tmp_path, BY_ROUTE, storage, commitment, modality) as running:
            await store(running.port, ONE)
            await ask(running.port, (ONE,))
            request = await until_asked(commitment)
            assert await commitment.report(request, calling="PACS") == 0x0124
            assert await commitment.report(request) == 0
            await committed(modality, ONE)


async def test_the_routers_own_requests_go_to_the_commitment_ae(tmp_path: Path) -> None:
    async with system() as (storage, commitment), Modality().serving() as modality:
        keys = ', request = true, after = "50ms"'
        async with router(tmp_path, "", storage, commitment, modality, keys) as running:
            await store(running.port, ONE, TWO)

            async def promised() -> bool:
                return (await running.totals("pacs")).get("committed") == 2

            await eventually(promised)
            assert running.spool.statistics().unfinished == 0
            assert set(commitment.called) == {"PACS_SC"}


async def test_what_the_storage_ae_has_lost_is_sent_there_again(tmp_path: Path) -> None:
    async with system() as (storage, commitment), Modality().serving() as modality:
        keys = ', request = true, after = "50ms"'
        commitment.behaviour = "is silent"
        async with router(tmp_path, "", storage, commitment, modality, keys) as running:
            await store(running.port, ONE)
            request = await until_asked(commitment)
            storage.stored.clear()
            commitment.behaviour = "commits"
            assert await commitment.report(request) == 0

            async def promised() -> bool:
                return (await running.totals("pacs")).get("committed") == 1

            await eventually(promised)
            assert [one.command.sop_instance_uid for one in storage.stored] == [ONE.sop_instance_uid]


async def test_a_commitment_ae_that_is_down_is_asked_after_a_restart(tmp_path: Path) -> None:
    async with system() as (storage, commitment), Modality().serving() as modality:
        dead = evolve(commitment, port=1)
        async with router(tmp_path, BY_ROUTE, storage, dead, modality) as running:
            await store(running.port, ONE)
            await ask(running.port, (ONE,))
            await running.until("pacs:storage-commitment", waiting=1)
        async with router(tmp_path, BY_ROUTE, storage, commitment, modality):
            await committed(modality, ONE)


async def test_a_reload_moves_commitment_to_another_ae(tmp_path: Path) -> None:
    async with system() as (storage, commitment), Modality().serving() as modality:
        dead = evolve(commitment, port=1)
        async with router(tmp_path, BY_ROUTE, storage, dead, modality) as running:
            await store(running.port, ONE)
            await ask(running.port, (ONE,))
            await running.until("pacs:storage-commitment", waiting=1)
            pacs = running.config.peers["pacs"]
            address = Endpoint(host="127.0.0.1", port=commitment.port)
            other = evolve(commitment_of(pacs), address=address)
            moved = evolve(pacs, options=Options((CommitmentPeerOptions(commitment=other),)))
            running.router.reload(evolve(running.config, peers={**running.config.peers, "pacs": moved}))
            await committed(modality, ONE)


async def test_a_modality_may_have_a_commitment_ae_too(tmp_path: Path) -> None:
    async with (
        trio.open_nursery() as nursery,
        CommittingArchive(title="PACS", nursery=nursery).serving() as pacs,
        Modality().serving() as listening,
    ):
        peer = '[peers.ct]\nae_title = "CT"\naddress = "127.0.0.1:1"\ncommitment = { ae_title = "CT_SC"'
        peer += f', address = "127.0.0.1:{listening.port}" }}\n'
        async with running_router(configuration(tmp_path, peer + BY_ROUTE, pacs=pacs.port)) as running:
            assert await ask(running.port, (ONE,), calling="CT_SC") == 0
            await listening.reports(1)
            assert await ask(running.port, (TWO,), calling="CT", uid="2.25.1") == 0
            assert [one.transaction_uid for one in await listening.reports(2)] == ["2.25.4711", "2.25.1"]


def test_a_peer_that_is_its_own_commitment_ae_is_one_destination(tmp_path: Path) -> None:
    config = parse_config(
        '[peers.pacs]\nae_title = "PACS"\naddress = "h:104"\ncommitment = { address = "h:104" }\n', tmp_path
    )
    assert list(config.destinations) == ["pacs"]
