"""Storage commitment in numbers, and under SIGKILL: no transaction is lost, none is reported as successful without
the archives' word, and none twice with different content. Printed with `-s`."""

import os
import random
import time
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import define, field

from benchmarks.peers.processes import memory_of
from router.association import AssociationError
from router.association.transport import Transport
from router.dimse import CommandField, MessageBegin, response_to
from router.services.commitment.attributes import CommitmentRequest, read_request
from router.services.commitment.transaction import Reference
from tests.soak.load import FragileRouter
from tests.support.commitment_peers import CommittingArchive, Heard, Modality, ask, instances
from tests.support.harness import IMPLICIT, eventually
from tests.support.ports import HOST
from tests.support.router_process import RouterProcess

MANY = int(os.environ.get("SOAK_KILLS", "100"))
TRANSACTIONS, REFERENCES = 100, 1000
OBJECTS, FORGOTTEN = 1000, 0.05
PATIENCE = 120.0

soak = [pytest.mark.soak, pytest.mark.timeout(1200)]


@define
class Persistent(CommittingArchive):
    """An archive as the standard wants it: its report is owed until it is answered, whoever falls over meanwhile."""

    fragile: FragileRouter | None = None
    promised: dict[str, frozenset[str]] = field(factory=dict)
    """By Transaction UID as it was asked, what it has committed to."""

    async def _answer(self, transport: Transport, begin: MessageBegin, data: bytes) -> None:
        command = begin.command
        if command.field != CommandField.N_ACTION_RQ:
            await super()._answer(transport, begin, data)
            return
        request = read_request(data, IMPLICIT)
        self.asked.append(request)
        assert self.nursery is not None
        self.nursery.start_soon(self._owe, request)
        await self._respond(transport, begin.context_id, response_to(command, 0))

    async def _owe(self, request: CommitmentRequest) -> None:
        committed = (one.reference.sop_instance_uid for one in self.outcome(request).committed)
        self.promised[request.transaction_uid] = frozenset(committed)
        while True:
            assert self.fragile is not None
            self.router = await self.fragile.port()
            try:
                if await self.report(request) == 0:
                    return
            except AssociationError:
                pass
            await trio.sleep(0.05)


def content(modality: Modality, archives: dict[str, int], **route: Any) -> dict[str, Any]:
    retry = {"first": "100ms", "max": "300ms"}
    peers: dict[str, Any] = {
        name: {"ae_title": name.upper(), "address": f"{HOST}:{port}", "linger": "10s", "retry": retry}
        for name, port in {**archives, "modality": modality.port}.items()
    }
    about = {"name": "commitment", "service": "storage-commitment", "to": list(archives), "grace": "0s", **route}
    return {
        "router": {"listen": [f"{HOST}:0"], "spool": "spool", "shutdown_grace": "5s"},
        "admin": {"listen": f"{HOST}:0"},
        "spool": {"free_space_floor": "1MiB"},
        "peers": peers,
        "routes": [about],
    }


async def ask_until_taken(router: FragileRouter, references: tuple[Reference, ...], uid: str) -> None:
    """As a modality does whose association breaks."""
    while True:
        try:
            if await ask(await router.port(), references, uid=uid) == 0:
                return
        except AssociationError:
            pass
        await trio.sleep(0.02)


@pytest.mark.parametrize("kills", [3, pytest.param(MANY, marks=soak)])
async def test_a_router_that_is_killed_at_any_moment_tells_every_modality_the_truth_once(
    kills: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each kill hits three transactions at a random moment. One archive in two lacks an instance of each third."""
    dice = random.Random()
    asked: dict[str, tuple[Reference, ...]] = {}
    async with (
        trio.open_nursery() as nursery,
        Persistent(title="ONE", nursery=nursery).serving() as one,
        Persistent(title="TWO", nursery=nursery).serving() as two,
        Modality().serving() as modality,
    ):
        archives = {"one": one.port, "two": two.port}
        router = FragileRouter(RouterProcess(tmp_path / "router", content(modality, archives)))
        one.fragile = two.fragile = router
        lacking: set[str] = set()
        async with router.running():
            for kill in range(kills):
                async with trio.open_nursery() as requests:
                    for number in range(3):
                        uid = f"2.25.8.{kill}.{number}"
                        asked[uid] = instances(5, uid)
                        if number == 2:
                            lacking.add(asked[uid][kill % 5].sop_instance_uid)
                            two.misses = frozenset(lacking)
                        requests.start_soon(ask_until_taken, router, asked[uid], uid)
                    await trio.sleep(dice.uniform(0.0, 0.3))
                    await router.kill()
                    await router.start()
            await eventually(lambda: {heard.transaction_uid for heard in modality.heard} >= asked.keys(), PATIENCE)
        nursery.cancel_scope.cancel()
    by_uid: dict[str, list[Heard]] = {}
    for heard in modality.heard:
        by_uid.setdefault(heard.transaction_uid, []).append(heard)
    repeated = sum(len(reports) - 1 for reports in by_uid.values())
    different = sum(len({report.data_set for report in reports}) > 1 for reports in by_uid.values())
    wrong = 0
    for uid, references in asked.items():
        expected = {one.sop_instance_uid: 0x0112 for one in references if one.sop_instance_uid in lacking}
        wrong += by_uid[uid][0].failures != expected
    with capsys.disabled():
        print(
            f"\n{kills} kills: {len(asked)} transactions, {len(asked.keys() - by_uid.keys())} lost, {wrong} reported "
            f"wrongly, {repeated} reports repeated, {different} of them with different content; "
            f"archives were asked {len(one.asked) + len(two.asked)} times"
        )
    assert asked.keys() == by_uid.keys()
    assert (wrong, different) == (0, 0)


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_a_hundred_transactions_of_a_thousand_references(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with (
        trio.open_nursery() as nursery,
        CommittingArchive(title="ONE", nursery=nursery).serving() as one,
        CommittingArchive(title="TWO", nursery=nursery).serving() as two,
        Modality().serving() as modality,
    ):
        process = RouterProcess(tmp_path / "router", content(modality, {"one": one.port, "two": two.port}))
        router = FragileRouter(process)
        async with router.running():
            idle = memory_of(process.pid)["VmHWM"]
            port = await router.port()
            requests = {f"2.25.7.{n}": instances(REFERENCES, f"2.25.7.{n}") for n in range(TRANSACTIONS)}
            started = time.monotonic()
            for uid, references in requests.items():
                assert await ask(port, references, uid=uid) == 0
            taken = time.monotonic() - started
            await eventually(lambda: len(modality.heard) >= TRANSACTIONS, 300)
            seconds = time.monotonic() - started
            peak = memory_of(process.pid)["VmHWM"]
        nursery.cancel_scope.cancel()
    assert {heard.event_type for heard in modality.heard} == {1}
    assert all(len(heard.words) == REFERENCES for heard in modality.heard)
    with capsys.disabled():
        print(
            f"\n{TRANSACTIONS} transactions of {REFERENCES} references to two archives: taken in {taken:.1f} s, "
            f"all reported after {seconds:.1f} s; peak RSS {peak >> 20} MiB, idle {idle >> 20} MiB"
        )


@define
class Forgetful(CommittingArchive):
    """It acknowledges everything and loses a part of it; what comes again it keeps."""

    doomed: str = ""
    """Of few objects, chance may take none."""
    kept: set[str] = field(factory=set)
    lost: set[str] = field(factory=set)

    async def _answer(self, transport: Transport, begin: MessageBegin, data: bytes) -> None:
        if begin.command.field == CommandField.C_STORE_RQ:
            uid = begin.command.sop_instance_uid
            loses = uid not in self.lost and (uid == self.doomed or random.random() < FORGOTTEN)
            (self.lost if loses else self.kept).add(uid)
            self.misses = frozenset(self.lost - self.kept)
        await super()._answer(transport, begin, data)


@pytest.mark.parametrize("objects", [60, pytest.param(OBJECTS, marks=soak)])
async def test_an_archive_that_forgets_what_it_acknowledged_has_everything_at_the_end(
    objects: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.support.commitment import store

    async with (
        trio.open_nursery() as nursery,
        Forgetful(title="ONE", nursery=nursery).serving() as archive,
        Modality().serving() as modality,
    ):
        archive.doomed = instances(objects)[7].sop_instance_uid
        settings = content(modality, {"one": archive.port})
        settings["peers"]["one"] |= {"commitment": {"request": True, "after": "300ms", "batch": 200}}
        settings["routes"].append({"name": "images", "service": "storage", "to": ["one"]})
        process = RouterProcess(tmp_path / "router", settings)
        router = FragileRouter(process)
        async with router.running():
            started = time.monotonic()
            await store(await router.port(), *instances(objects))

            async def committed() -> bool:
                return (await router.totals())["one"].get("committed") == objects

            await eventually(committed, PATIENCE)
            seconds = time.monotonic() - started
            totals = await router.totals()
        nursery.cancel_scope.cancel()
    with capsys.disabled():
        print(
            f"\n{objects} objects, {len(archive.lost)} of them lost after they were acknowledged: all committed after "
            f"{seconds:.1f} s, {len(archive.stored) - objects} sent again, gap {totals['one']['gap']}"
        )
    assert archive.kept == {one.sop_instance_uid for one in instances(objects)}
    assert totals["one"]["gap"] == 0
