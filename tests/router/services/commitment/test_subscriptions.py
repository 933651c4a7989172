"""Subscriptions of actors to instances, and that many of them do not block the event loop."""

from typing import Any, cast

import trio

from router.services.commitment.subscriptions import Subscriber, Subscriptions

MANY = 50_000


class RecordsArrivals:
    """Records the notifications that it gets, in place of an actor."""

    def __init__(self) -> None:
        self.arrivals: list[str] = []

    def instance_arrived(self, uid: str) -> None:
        self.arrivals.append(uid)


def arrivals_at(subscriptions: Subscriptions, actor: RecordsArrivals, *uids: str) -> list[str]:
    actor.arrivals.clear()
    for uid in uids:
        subscriptions.instance_arrived(uid)
    return actor.arrivals


async def test_an_actor_is_arrivals_at_what_it_waits_for_until_that_is_narrowed_or_ends() -> None:
    subscriptions, one, other = Subscriptions(), RecordsArrivals(), RecordsArrivals()
    await subscriptions.add(cast("Subscriber", one), ["1", "2"])
    await subscriptions.add(cast("Subscriber", one), ["3"])
    await subscriptions.add(cast("Subscriber", other), ["2"])
    assert arrivals_at(subscriptions, one, "1", "2", "3", "4") == ["1", "2", "3"]
    await subscriptions.limit(cast("Subscriber", one), {"3", "4"})
    assert arrivals_at(subscriptions, one, "1", "2", "3", "4") == ["3"]
    assert arrivals_at(subscriptions, other, "1", "2", "3") == ["2"]
    subscriptions.remove(cast("Subscriber", one))
    assert arrivals_at(subscriptions, one, "3") == []


async def test_other_tasks_run_while_an_actor_subscribes_to_many_instances() -> None:
    subscriptions, actor = Subscriptions(), cast("Subscriber", RecordsArrivals())
    turns = 0

    async def count_turns(*, task_status: Any) -> None:
        nonlocal turns
        task_status.started()
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        await nursery.start(count_turns)
        await subscriptions.add(actor, [str(number) for number in range(MANY)])
        entered, turns = turns, 0
        await subscriptions.limit(actor, set())
        nursery.cancel_scope.cancel()
    assert min(entered, turns) >= 8
