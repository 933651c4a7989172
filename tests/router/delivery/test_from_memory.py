"""Deliveries out of memory, with a destination that is down beside one that works."""

import random
from pathlib import Path

from tests.support.harness import Archive, Modality, configuration, data_set, running_router, store_rq
from tests.support.ports import free_port

COUNT, SIZE = 60, 300_000
BUDGET = 32 << 20


async def test_a_destination_that_is_down_holds_a_part_of_the_memory_at_most_and_gets_every_byte(
    tmp_path: Path,
) -> None:
    """Four times what may be kept comes in; what is not kept any more is read from the disk."""
    down = free_port()
    noise = random.Random(1).randbytes(SIZE)
    objects = {f"1.2.{number}": data_set(f"1.2.{number}", size=SIZE) + noise for number in range(COUNT)}
    async with Archive().serving() as pacs:
        async with running_router(configuration(tmp_path, pacs=pacs.port, vna=down)) as router:
            most = 0
            async with Modality.connected(router.port) as modality:
                await modality.associate()
                for uid, data in objects.items():
                    assert (await modality.store(store_rq(uid), data)).status == 0
                    statistics = router.spool.statistics()
                    most = max(most, statistics.kept)
                    assert statistics.kept + statistics.memory <= BUDGET
            await router.until("pacs", delivered=COUNT)
            assert 0 < most <= BUDGET // 4
            vna = Archive(port=down)
            async with vna.serving():
                await router.until("vna", delivered=COUNT, waiting=0)
            assert router.spool.statistics().kept == 0
    for archive in (pacs, vna):
        assert {one.command.sop_instance_uid: one.data for one in archive.stored} == objects
