"""Reloads that fail or come during start or stop, and connections that cannot be served."""

from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from structlog.testing import capture_logs

from pdu import Abort, AssociateAC, AssociateRJ, AsynchronousOperationsWindow
from router.association import Acceptor
from router.delivery.destination import Destination
from router.dimse import Status
from router.dimse import encode as encode_command
from router.services.storage import Storage
from router.spool import Spool
from router.supervisor import Router
from tests.support.harness import (
    Archive,
    Modality,
    associate_rq,
    configuration,
    data_set,
    eventually,
    p_data,
    running_router,
    store_rq,
)


async def test_a_reload_while_the_router_stops_has_no_effect(tmp_path: Path) -> None:
    async with Archive().serving() as archive:
        config = configuration(tmp_path, pacs=archive.port)
        changed = attrs.evolve(config, peers={"pacs": attrs.evolve(config.peers["pacs"], associations=2)})
        data = data_set("1.2.3")
        with capture_logs() as logs:
            async with running_router(config) as router, Modality.connected(router.port) as modality:
                await modality.associate()
                await modality.say(p_data(1, encode_command(store_rq("1.2.3")), command=True))
                await modality.say(p_data(1, data[:40], command=False, last=False))

                async def is_under_way() -> bool:
                    return bool((await router.router.status())["associations"][0]["data_set_bytes"])

                await eventually(is_under_way)
                router.router.stop()
                router.router.reload(changed)
                await modality.say(p_data(1, data[40:], command=False))
                assert (await modality.response()).status == Status.SUCCESS
    assert [event["log_level"] for event in logs if event["event"] == "not reloaded: the router is stopping"]


async def test_a_reload_before_the_router_is_ready_has_no_effect(tmp_path: Path) -> None:
    config = configuration(tmp_path)
    spool = await trio.to_thread.run_sync(Spool.open, config.router.spool, config.spool)
    router = Router(config, spool)
    with capture_logs() as logs:
        router.reload(config)
    assert [event["event"] for event in logs] == ["not reloaded: not ready"]
    router._state.close()
    spool.close()


@pytest.mark.parametrize("part", [Storage, Destination])
async def test_if_one_part_fails_to_prepare_all_parts_keep_the_old_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: Any
) -> None:
    """Storage is prepared last of the services, and the destinations after them."""

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    async with Archive().serving() as old, Archive().serving() as new:
        async with running_router(configuration(tmp_path, pacs=old.port)) as router:
            changed = configuration(tmp_path, '[verification]\ncalling_ae = ["NOBODY"]', pacs=new.port)
            with capture_logs() as logs, monkeypatch.context() as patch:
                patch.setattr(part, "prepare" if part is Storage else "__init__", fail)
                router.router.reload(changed)
            assert any("the old one stays in force" in event["event"] for event in logs)
            async with Modality.connected(router.port) as modality:
                await modality.associate()
                assert (await modality.store(store_rq("1.2.3"), data_set("1.2.3"))).status == Status.SUCCESS
            await router.until("pacs", delivered=1)
    assert (len(old.stored), len(new.stored)) == (1, 0)


async def test_limits_change_at_a_reload(tmp_path: Path) -> None:
    config = configuration(tmp_path)
    async with running_router(config) as router, Modality.connected(router.port) as first:
        assert isinstance(await first.associate(), AssociateAC)
        router.router.reload(attrs.evolve(config, limits=attrs.evolve(config.limits, associations=1)))
        async with Modality.connected(router.port) as second:
            assert isinstance(await second.associate(), AssociateRJ)


async def test_window_and_command_set_limit_of_a_reload_apply_to_new_connections(tmp_path: Path) -> None:
    config = configuration(tmp_path)
    request = associate_rq()
    proposal = AsynchronousOperationsWindow(invoked=32, performed=1)
    user_information = attrs.evolve(request.user_information, asynchronous_operations_window=proposal)
    async with running_router(config) as router:
        router.router.reload(attrs.evolve(config, limits=attrs.evolve(config.limits, window=3, command_set=40)))
        async with Modality.connected(router.port) as modality:
            await modality.say(attrs.evolve(request, user_information=user_information))
            accept = await modality.hear()
            assert accept.user_information.asynchronous_operations_window.invoked == 3
            await modality.say(p_data(1, encode_command(store_rq("1.2.3")), command=True))
            assert isinstance(await modality.hear(), Abort)


async def test_every_reload_logs_the_sections_that_need_a_restart(tmp_path: Path) -> None:
    config = configuration(tmp_path)
    elsewhere = attrs.evolve(config, router=attrs.evolve(config.router, spool=tmp_path / "elsewhere"))
    changed = attrs.evolve(elsewhere, spool=attrs.evolve(config.spool, history=1.0))
    async with running_router(config) as router:
        for _ in range(2):
            with capture_logs() as logs:
                router.router.reload(changed)
            assert [one["section"] for one in logs if "section" in one] == ["spool", "router.spool"]


async def test_a_failing_acceptor_ends_its_own_connection_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("cannot tune the socket")

    async with running_router(configuration(tmp_path)) as router:
        with monkeypatch.context() as patch, capture_logs() as logs:
            patch.setattr(Acceptor, "__init__", fail)
            async with Modality.connected(router.port) as refused:
                assert await refused.hear() is None
        assert [event["event"] for event in logs] == ["association crashed"]
        async with Modality.connected(router.port) as modality:
            assert isinstance(await modality.associate(), AssociateAC)
