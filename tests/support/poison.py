"""Objects that an archive cannot process, among good ones."""

from tests.support.harness import (
    Modality,
    RunningRouter,
    data_set,
    store_rq,
)

POISON, GOOD = "1.2.9.", "1.2.3."


async def send(router: RunningRouter, prefix: str, count: int, *, first: int = 1) -> None:
    async with Modality.connected(router.port) as modality:
        await modality.associate()
        for number in range(first, first + count):
            uid = f"{prefix}{number}"
            assert (await modality.store(store_rq(uid), data_set(uid))).status == 0
