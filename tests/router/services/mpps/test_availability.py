"""Instance availability: one notification when all that a step has produced is in the archives, no sooner."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from attrs import evolve

from router.dicom import tags
from router.dicom.dataset import DataSet, items, read, text
from router.dicom.tags import REFERENCED_SOP_SEQUENCE
from router.dimse import Status
from router.services.mpps import attributes, availability_notifier
from router.services.mpps.instance_availability import (
    INSTANCE_AVAILABILITY_TAG,
    REFERENCED_SERIES_SEQUENCE,
    REFERENCED_STEP_SEQUENCE,
)
from tests.support.harness import (
    Archive,
    RunningRouter,
    running_router,
)
from tests.support.mpps import INFORM, STEPS, STORE, availability_router, notices, store_instances, until_notified
from tests.support.mpps_messages import SERIES, STUDY, UID, completed, in_progress
from tests.support.mpps_peers import RIS, Heard, Scanner, hub


def told(one: Heard) -> dict[str, tuple[str, str]]:
    """Availability and where, by SOP Instance UID."""
    tree = read(one.data, one.transfer_syntax)
    return {
        text(item, tags.REFERENCED_SOP_INSTANCE_UID): (
            text(item, INSTANCE_AVAILABILITY_TAG),
            _values(item, tags.RETRIEVE_AE_TITLE),
        )
        for series in items(tree, REFERENCED_SERIES_SEQUENCE)
        for item in items(series, REFERENCED_SOP_SEQUENCE)
    }


def _values(tree: DataSet, tag: int) -> str:
    value = tree[tag].value
    assert isinstance(value, bytes)
    return value.decode().strip()


async def end(router: RunningRouter, uids: Sequence[str], status: str = "COMPLETED") -> None:
    async with Scanner.connected(router.port) as scanner:
        assert (await scanner.create(UID, in_progress())).status == Status.SUCCESS
        assert (await scanner.set(UID, completed(uids, status=status))).status == Status.SUCCESS


async def test_a_step_whose_images_came_first_is_notified_when_it_ends(tmp_path: Path) -> None:
    async with availability_router(tmp_path) as (router, ris):
        await store_instances(router, ["1.2.3.1", "1.2.3.2"])
        await router.until("pacs", delivered=2)
        await end(router, ["1.2.3.1", "1.2.3.2"])
        (notice,) = await until_notified(ris, 1)
        await router.until("ris", delivered=3)
    tree = read(notice.data, notice.transfer_syntax)
    assert told(notice) == {"1.2.3.1": ("ONLINE", "PACS"), "1.2.3.2": ("ONLINE", "PACS")}
    assert text(tree, attributes.STUDY_INSTANCE_UID) == STUDY
    assert [text(series, attributes.SERIES_INSTANCE_UID) for series in items(tree, REFERENCED_SERIES_SEQUENCE)] == [
        SERIES
    ]
    (step,) = items(tree, REFERENCED_STEP_SEQUENCE)
    assert text(step, tags.REFERENCED_SOP_INSTANCE_UID) == UID
    assert not {tag for tag in tree if tag >> 16 == 0x0010}


async def test_the_retrieve_ae_of_several_archives_is_listed_once(tmp_path: Path) -> None:
    async with Archive().serving() as one, Archive().serving() as other, RIS().serving() as ris:
        both = 'service = "storage"\nto = ["one", "other"]'
        config = hub(tmp_path, both, STEPS, INFORM, one=one.port, other=other.port, ris=ris.port)
        peers = {
            name: evolve(peer, retrieve_ae="PACS_QR") if name != "ris" else peer for name, peer in config.peers.items()
        }
        async with running_router(evolve(config, peers=peers)) as router:
            await store_instances(router, ["1.2.3.1"])
            await end(router, ["1.2.3.1"])
            (notice,) = await until_notified(ris, 1)
    assert told(notice) == {"1.2.3.1": ("ONLINE", "PACS_QR")}


async def test_a_step_whose_images_come_later_is_notified_when_the_last_is_delivered(tmp_path: Path) -> None:
    async with availability_router(tmp_path) as (router, ris):
        await end(router, ["1.2.3.1", "1.2.3.2"])
        await store_instances(router, ["1.2.3.1"])
        await router.until("pacs", delivered=1)
        await store_instances(router, ["1.2.3.9"])
        await router.until("pacs", delivered=2)
        assert notices(ris) == []
        await store_instances(router, ["1.2.3.2"])
        (notice,) = await until_notified(ris, 1)
    assert set(told(notice)) == {"1.2.3.1", "1.2.3.2"}


async def test_all_archives_of_an_instance_must_have_it_and_are_named(tmp_path: Path) -> None:
    async with Archive().serving() as down:
        port = down.port
    async with Archive().serving() as pacs, RIS().serving() as ris:
        config = hub(
            tmp_path,
            'service = "storage"\nto = ["pacs", "vna"]',
            STEPS,
            INFORM,
            pacs=pacs.port,
            vna=port,
            ris=ris.port,
        )
        async with running_router(config) as router:
            await store_instances(router, ["1.2.3.1"])
            await end(router, ["1.2.3.1"])
            await router.until("pacs", delivered=1)
            assert notices(ris) == []
            async with Archive(port=port).serving():
                (notice,) = await until_notified(ris, 1)
    assert told(notice) == {"1.2.3.1": ("ONLINE", "PACS\\VNA")}


async def test_a_partial_notification_follows_after_patience_and_a_complete_one_later(tmp_path: Path) -> None:
    inform = f'{INFORM}\npatience = "200ms"'
    async with availability_router(tmp_path, STORE, STEPS, inform) as (router, ris):
        await store_instances(router, ["1.2.3.1"])
        await end(router, ["1.2.3.1", "1.2.3.2"])
        (partial,) = await until_notified(ris, 1)
        assert told(partial) == {"1.2.3.1": ("ONLINE", "PACS")}
        await store_instances(router, ["1.2.3.2"])
        whole = (await until_notified(ris, 2))[1]
    assert set(told(whole)) == {"1.2.3.1", "1.2.3.2"}
    assert partial.uid != whole.uid


async def test_missing_instances_are_listed_as_unavailable_if_the_route_says_so(tmp_path: Path) -> None:
    inform = f'{INFORM}\npatience = "200ms"\nmissing = "unavailable"'
    async with availability_router(tmp_path, STORE, STEPS, inform) as (router, ris):
        await store_instances(router, ["1.2.3.1"])
        await end(router, ["1.2.3.1", "1.2.3.2"])
        (notice,) = await until_notified(ris, 1)
    assert told(notice) == {"1.2.3.1": ("ONLINE", "PACS"), "1.2.3.2": ("UNAVAILABLE", "PACS")}


async def test_a_discontinued_step_is_notified_if_it_has_instances(tmp_path: Path) -> None:
    async with availability_router(tmp_path) as (router, ris):
        await store_instances(router, ["1.2.3.1"])
        async with Scanner.connected(router.port) as scanner:
            await scanner.create("1.2.4", in_progress())
            await scanner.set("1.2.4", completed([], status="DISCONTINUED"))
        await end(router, ["1.2.3.1"], "DISCONTINUED")
        (notice,) = await until_notified(ris, 1)
        await router.until("ris", delivered=5)
    assert told(notice) == {"1.2.3.1": ("ONLINE", "PACS")}


async def test_pending_notifications_survive_a_restart(tmp_path: Path) -> None:
    async with Archive().serving() as pacs, RIS().serving() as ris:
        config = hub(tmp_path, STORE, STEPS, INFORM, pacs=pacs.port, ris=ris.port)
        async with running_router(config) as router:
            await end(router, ["1.2.3.1"])
        async with running_router(config) as router:
            await store_instances(router, ["1.2.3.1"])
            (notice,) = await until_notified(ris, 1)
    assert told(notice) == {"1.2.3.1": ("ONLINE", "PACS")}


async def test_instances_delivered_before_a_restart_are_confirmed_page_by_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uids = [f"1.2.3.{number}" for number in range(1, 6)]
    monkeypatch.setattr(availability_notifier, "_PAGE", 2)
    async with Archive().serving() as pacs, RIS().serving() as ris:
        config = hub(tmp_path, STORE, STEPS, INFORM, pacs=pacs.port, ris=ris.port)
        with monkeypatch.context() as crashed:
            crashed.setattr(availability_notifier.AvailabilityNotifier, "settled", lambda self, delivery, result: None)
            async with running_router(config) as router:
                await end(router, uids)
                await store_instances(router, uids)
                await router.until("pacs", delivered=5)
                assert notices(ris) == []
        async with running_router(config):
            (notice,) = await until_notified(ris, 1)
    assert told(notice) == dict.fromkeys(uids, ("ONLINE", "PACS"))


async def test_an_archive_that_is_no_longer_configured_has_no_retrieve_ae_title(tmp_path: Path) -> None:
    async with Archive().serving() as one, Archive().serving() as other, RIS().serving() as ris:
        both = 'service = "storage"\nto = ["one", "other"]'
        config = hub(tmp_path, both, STEPS, INFORM, one=one.port, other=other.port, ris=ris.port)
        async with running_router(config) as router:
            await store_instances(router, ["1.2.3.1"])
            await router.until("one", delivered=1)
            await router.until("other", delivered=1)
        config = hub(tmp_path, 'service = "storage"\nto = ["one"]', STEPS, INFORM, one=one.port, ris=ris.port)
        async with running_router(config) as router:
            await end(router, ["1.2.3.1"])
            (notice,) = await until_notified(ris, 1)
    assert told(notice) == {"1.2.3.1": ("ONLINE", "ONE")}


async def test_a_step_is_notified_once(tmp_path: Path) -> None:
    async with availability_router(tmp_path) as (router, ris):
        await store_instances(router, ["1.2.3.1"])
        await end(router, ["1.2.3.1"])
        await until_notified(ris, 1)
        await store_instances(router, ["1.2.3.1"])
        await router.until("pacs", delivered=2)
        async with Scanner.connected(router.port) as scanner:
            await scanner.set(UID, completed(["1.2.3.1"]))
        await router.until("ris", delivered=3)
    assert len(notices(ris)) == 1
