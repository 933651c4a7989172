"""A list of what waits at one destination costs what it shows, not what the whole spool holds."""

from collections.abc import Sequence

import pytest

from router.model import DeliveryState
from router.spool.ledger import queries
from router.spool.ledger.ledger import Ledger
from router.spool.ledger.rows import SettledDelivery
from router.spool.values import Selection
from tests.router.spool.driver import delivered, held, retry
from tests.router.spool.ledger.test_ledger import ledger
from tests.support.spool import ledger_entry

MANY = 5000
FEW = (1200, 2300, 4999)
"""Messages that go to `quiet` too."""
RESULTS = {1: delivered(), 2: held(), 3: retry()}


def filled(opened: Ledger) -> None:
    with opened.transaction():
        opened.enter(
            ledger_entry(number, ("busy", "quiet") if number in FEW else ("busy",)) for number in range(1, MANY)
        )
        opened.enter([ledger_entry(MANY, ("quiet",))])
        opened.settle([SettledDelivery(message_id=1200, destination="quiet", result=held())])
        opened.settle([SettledDelivery(message_id=2300, destination="quiet", result=retry())])
        opened.settle(
            SettledDelivery(message_id=number, destination="busy", result=RESULTS[number % 4])
            for number in range(1, MANY)
            if number % 4
        )


def steps(opened: Ledger, selection: Selection) -> tuple[Sequence[int], int]:
    """Message ids of a list, and hundreds of steps of SQLite's virtual machine that it took."""
    count = 0

    def one_more() -> int:
        nonlocal count
        count += 1
        return 0

    opened.database.connection.set_progress_handler(one_more, 100)
    try:
        rows = opened.queue.list_deliveries(selection)
    finally:
        opened.database.connection.set_progress_handler(None, 0)
    return [row.message_id for row in rows], count


@pytest.mark.parametrize(
    ("states", "found"),
    [
        ({DeliveryState.WAITING}, [2300, 4999, MANY]),
        ({DeliveryState.HELD}, [1200]),
        ({DeliveryState.IN_FLIGHT, DeliveryState.HELD}, [1200, 2300, 4999, MANY]),
    ],
)
def test_few_deliveries_among_many_messages_are_found_by_index(states: set[DeliveryState], found: list[int]) -> None:
    with ledger() as opened:
        filled(opened)
        ids, cost = steps(opened, Selection(destination="quiet", states=frozenset(states)))
        _, nobody = steps(opened, Selection(destination="nobody", states=frozenset(states)))
    assert ids == found
    assert cost < 20
    assert nobody < 10


@pytest.mark.parametrize("destination", ["quiet", "busy", "nobody"])
@pytest.mark.parametrize("state", DeliveryState)
def test_both_ways_of_looking_find_the_same(
    destination: str, state: DeliveryState, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ledger() as opened:
        filled(opened)
        lists = []
        for limit in (-1, MANY * 2):
            monkeypatch.setattr(queries, "_SPARSE", limit)
            reading = opened.queue
            selection = Selection(destination=destination, states=frozenset({state}))
            lists.append([reading.list_deliveries(selection, after) for after in (0, 2000, MANY)])
    assert lists[0] == lists[1]
