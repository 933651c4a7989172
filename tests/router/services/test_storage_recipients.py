"""Each object goes where the routes send it, whatever was stored before it and however the routes change."""

from pathlib import Path

import attrs
import trio

from tests.support.harness import (
    CT,
    IMPLICIT,
    Modality,
    RunningRouter,
    configuration,
    data_set,
    running_router,
    store_rq,
)

MR = "1.2.840.10008.5.1.4.1.1.4"
BY_SENDER = """
[[routes]]
name = "cross-section"
service = "storage"
when = { calling_ae = "CT*", sop_class = "CTImageStorage" }
to = ["one"]

[[routes]]
name = "magnet"
service = "storage"
when = { sop_class = "MRImageStorage" }
to = ["two"]
"""
BY_CONTENT = BY_SENDER.replace('sop_class = "CTImageStorage"', 'PatientID = "A"')


async def store(router: RunningRouter, calling: str, *uids: str, sop_class: str = CT, patient: bytes = b"") -> None:
    extra = b"\x10\x00\x20\x00" + len(patient).to_bytes(4, "little") + patient
    async with Modality.connected(router.port) as modality:
        await modality.associate((CT, (IMPLICIT,)), (MR, (IMPLICIT,)), calling=calling)
        for uid in uids:
            answer = await modality.store(
                store_rq(uid, sop_class), data_set(uid, sop_class, extra=extra), context_id=1 if sop_class == CT else 3
            )
            assert answer.status == 0


async def test_senders_and_sop_classes_are_told_apart_in_any_order(tmp_path: Path) -> None:
    config = configuration(tmp_path, BY_SENDER, router='unrouted = "hold"', one=1, two=1)
    async with running_router(config) as router:
        await store(router, "CT1", "1.2.1", "1.2.2")
        await store(router, "US1", "1.2.3")
        await store(router, "US1", "1.2.4", "1.2.5", "1.2.6", sop_class=MR)
        await store(router, "CT1", "1.2.7")
        assert (await router.totals("one"))["waiting"] == 3
        assert (await router.totals("two"))["waiting"] == 3


async def test_content_decides_for_each_object(tmp_path: Path) -> None:
    config = configuration(tmp_path, BY_CONTENT, router='unrouted = "hold"', one=1, two=1)
    async with running_router(config) as router:
        await store(router, "CT1", "1.2.1", patient=b"B ")
        await store(router, "CT1", "1.2.2", "1.2.3", patient=b"A ")
        assert (await router.totals("one"))["waiting"] == 2


async def test_a_reload_holds_for_the_next_object(tmp_path: Path) -> None:
    config = configuration(tmp_path, BY_SENDER, router='unrouted = "hold"', one=1, two=1)
    async with running_router(config) as router:
        await store(router, "CT1", "1.2.1")
        turned = [attrs.evolve(route, to=("two",)) for route in config.routes]
        router.router.reload(attrs.evolve(config, routes=tuple(turned)))
        await trio.lowlevel.checkpoint()
        await store(router, "CT1", "1.2.2", "1.2.3")
        assert (await router.totals("one"))["waiting"] == 1
        assert (await router.totals("two"))["waiting"] == 2
