"""An exception of our own over one message holds that message, and nothing else."""

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from structlog.testing import capture_logs

from router.dimse import encode
from router.model import Cause, Envelope, Recipient
from router.services.storage import Storage
from tests.support.configurations import one_peer
from tests.support.harness import (
    CT,
    IMPLICIT,
    Archive,
    RunningRouter,
    configuration,
    data_set,
    eventually,
    running_router,
    store_rq,
)

KEYS = 'retry = { first = "20ms", max = "100ms" }'


def envelope(uid: str) -> Envelope:
    return Envelope(
        kind="C-STORE-RQ",
        command=encode(store_rq(uid)),
        service="storage",
        abstract_syntax=CT,
        transfer_syntax=IMPLICIT,
        sop_class_uid=CT,
        sop_instance_uid=uid,
        calling_ae="MODALITY",
        called_ae="ROUTER",
        peer="127.0.0.1",
        received=time.time(),
        deliveries=(Recipient(destination="pacs"),),
    )


async def commit(router: RunningRouter, uid: str, **changes: Any) -> None:
    await router.spool.intake.store_bytes(data_set(uid, size=5000), attrs.evolve(envelope(uid), **changes))


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize(
    "changes", [{"command": b"garbage"}, {"service": "a service of a later version"}], ids=["command set", "service"]
)
async def test_a_message_that_makes_our_code_raise_is_held_after_three_attempts(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    with capture_logs() as logs:
        async with Archive().serving() as archive:
            async with running_router(configuration(tmp_path, one_peer(archive.port, KEYS))) as router:
                before = open_files()
                await commit(router, "1.2.9", **changes)
                for number in range(5):
                    await commit(router, f"1.2.3.{number}")
                await router.until("pacs", delivered=5, held=1, waiting=0, in_flight=0)
                assert open_files() <= before + 3  # an association that lingers, and its ends
                (row, *_) = await router.spool.queue.list_deliveries()
    assert (row.cause, row.attempts) == (Cause.CRASHED, 3)
    assert "the router failed over this message 3 times" in row.reason
    assert not [line for line in logs if "crashed" in line["event"]]


async def test_crashes_are_counted_across_restarts(tmp_path: Path) -> None:
    async with Archive().serving() as archive:
        config = configuration(tmp_path, one_peer(archive.port, 'retry = { first = "1h", max = "1h" }'))
        for crashes in (1, 2, 3):
            async with running_router(config) as router:
                if crashes == 1:
                    await commit(router, "1.2.9", command=b"garbage")
                else:
                    router.spool._writer.ledger.database.execute("UPDATE deliveries SET due = 0.001")
                    router.router._dispatcher.rescan()

                async def attempted(crashes: int = crashes) -> bool:
                    return (await router.spool.queue.list_deliveries())[0].attempts >= crashes

                await eventually(attempted)
    with closing(sqlite3.connect(config.router.spool / "ledger.sqlite")) as ledger:
        assert ledger.execute("SELECT state, crashes FROM deliveries").fetchall() == [(2, 3)]


async def test_what_raises_over_a_response_is_the_message_that_was_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where several were under way: each is tried alone then, and the others are delivered."""
    outcome = Storage.outcome

    def raising(self: Storage, delivery: Any, response: Any) -> Any:
        if delivery.sop_instance_uid == "1.2.9":
            raise RuntimeError("a bug")
        return outcome(self, delivery, response)

    monkeypatch.setattr(Storage, "outcome", raising)
    async with Archive(window=8, gathers=1).serving() as archive:
        text = one_peer(archive.port, KEYS + "\nwindow = 8")
        async with running_router(configuration(tmp_path, text)) as router:
            async with trio.open_nursery() as nursery:
                for uid in ("1.2.9", *(f"1.2.3.{number}" for number in range(10))):
                    nursery.start_soon(commit, router, uid)
            await router.until("pacs", delivered=10, held=1, waiting=0, in_flight=0)
