"""Routers and calls for tests of storage commitment."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from router.services.commitment.attributes import CommitmentRequest
from router.services.commitment.stored_transaction import StoredTransaction, TransactionStage
from router.services.commitment.transaction import Reference
from tests.support.commitment_peers import CommittingArchive
from tests.support.commitment_peers import Modality as ReportedModality
from tests.support.harness import (
    IMPLICIT,
    Modality,
    RunningRouter,
    associate_rq,
    configuration,
    data_set,
    eventually,
    running_router,
    store_rq,
)

ROUTE = """
[[routes]]
name = "commitment"
service = "storage-commitment"
to = ["pacs"]
deadline = "10s"
grace = "0s"
"""

STORAGE = """
[[routes]]
name = "images"
service = "storage"
to = ["pacs"]
"""


@asynccontextmanager
async def commitment_router(
    tmp_path: Path, text: str = ROUTE, *, address: bool = True, **peer: Any
) -> AsyncIterator[tuple[RunningRouter, CommittingArchive, ReportedModality]]:
    """A router between one archive, "pacs", and one modality."""
    async with (
        trio.open_nursery() as nursery,
        CommittingArchive(title="PACS", nursery=nursery, **peer).serving() as pacs,
        ReportedModality().serving() as modality,
    ):
        lines = ["[peers.modality]", 'ae_title = "MODALITY"', 'retry = { first = "20ms", max = "50ms" }']
        if address:
            lines += [f'address = "127.0.0.1:{modality.port}"', 'linger = "50ms"']
        config = configuration(tmp_path, "\n".join([*lines, text]), pacs=pacs.port)
        async with running_router(config) as running:
            pacs.router = running.port
            yield running, pacs, modality


async def store(port: int, *references: Reference) -> None:
    async with Modality.connected(port) as sender:
        await sender.say(associate_rq())
        await sender.hear()
        for one in references:
            answer = await sender.store(store_rq(one.sop_instance_uid), data_set(one.sop_instance_uid))
            assert answer.status == 0


async def until_asked(archive: CommittingArchive, count: int = 1) -> CommitmentRequest:
    async def enough() -> bool:
        return len(archive.asked) >= count

    await eventually(enough)
    return archive.asked[count - 1]


RETAINED_FOR_PACS = "pacs (commitment)"
"""As `status` shows what is retained for the peer."""


@asynccontextmanager
async def retaining_router(
    tmp_path: Path, *, batch: int = 500, attempts: int = 5, within: str = "500ms", **archive: Any
) -> AsyncIterator[tuple[RunningRouter, CommittingArchive]]:
    async with (
        trio.open_nursery() as nursery,
        CommittingArchive(title="PACS", nursery=nursery, **archive).serving() as pacs,
    ):
        peer = f"""
[peers.pacs]
ae_title = "PACS"
address = "127.0.0.1:{pacs.port}"
linger = "50ms"
retry = {{ first = "20ms", max = "100ms" }}
commitment = {{ request = true, batch = {batch}, after = "100ms", within = "{within}", attempts = {attempts} }}
"""
        async with running_router(configuration(tmp_path, peer + STORAGE)) as running:
            pacs.router = running.port
            yield running, pacs


def stored_transaction(number: int, stage: TransactionStage) -> StoredTransaction:
    return StoredTransaction(
        uid=f"2.25.{number}",
        fingerprint=b"",
        stage=stage,
        calling_ae="MODALITY",
        called_ae="ROUTER",
        address="127.0.0.1",
        reply_to="modality",
        transfer_syntax=IMPLICIT,
        received=0.0,
        accepted_at=0.0,
        grace=0.0,
        deadline=86400.0,
        count=1,
    )
