"""Which actors are told of which instances, and that many of them do not hold the event loop."""

from typing import Any, cast

import trio

from router.services.commitment.transaction_actor import TransactionActor, Watch

MANY = 50_000


class Told:
    """In place of an actor: notes what it is told of."""

    def __init__(self) -> None:
        self.arrivals: list[str] = []

    def arrived(self, uid: str) -> None:
        self.arrivals.append(uid)


def told_of(watch: Watch, actor: Told, *uids: str) -> list[str]:
    actor.arrivals.clear()
    for uid in uids:
        watch.arrived(uid)
    return actor.arrivals


async def test_an_actor_is_told_of_what_it_waits_for_until_that_is_narrowed_or_ends() -> None:
    watch, one, other = Watch(), Told(), Told()
    await watch.enter(cast("TransactionActor", one), ["1", "2"])
    await watch.enter(cast("TransactionActor", one), ["3"])
    await watch.enter(cast("TransactionActor", other), ["2"])
    assert told_of(watch, one, "1", "2", "3", "4") == ["1", "2", "3"]
    await watch.narrow(cast("TransactionActor", one), {"3", "4"})
    assert told_of(watch, one, "1", "2", "3", "4") == ["3"]
    assert told_of(watch, other, "1", "2", "3") == ["2"]
    watch.end(cast("TransactionActor", one))
    assert told_of(watch, one, "3") == []


async def test_others_have_turns_while_an_actor_enters_and_leaves_many_instances() -> None:
    watch, actor = Watch(), cast("TransactionActor", Told())
    turns = 0

    async def count_turns(*, task_status: Any) -> None:
        nonlocal turns
        task_status.started()
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        await nursery.start(count_turns)
        await watch.enter(actor, [str(number) for number in range(MANY)])
        entered, turns = turns, 0
        await watch.narrow(actor, set())
        nursery.cancel_scope.cancel()
    assert min(entered, turns) >= 8
