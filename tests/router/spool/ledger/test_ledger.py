"""The ledger's statements, which are for many rows at a time, against a model that takes one after the other."""

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st

from router.model import AttemptResult, DeliveryState, Result
from router.spool.disk.counters import Counters
from router.spool.ledger.ledger import Ledger
from router.spool.ledger.rows import Finished, LedgerEntry, SettledDelivery
from router.spool.ledger.schema import HELD, STATES, WAITING
from tests.router.spool.driver import PATH
from tests.router.spool.power_cut import FragileFiles
from tests.support.spool import ledger_entry

DESTINATIONS = ("pacs", "vna")
UNFINISHED = (WAITING, HELD)
STATE = {Result.DELIVERED: 1, Result.HELD: HELD}

messages = st.lists(st.tuples(st.sampled_from([("pacs",), ("vna",), DESTINATIONS]), st.booleans()), max_size=80)
outcomes = st.builds(
    SettledDelivery,
    message_id=st.integers(1, 80),
    destination=st.sampled_from([*DESTINATIONS, "nobody"]),
    result=st.builds(
        AttemptResult, result=st.sampled_from(Result), reason=st.sampled_from(["0000H success", "C000H", "A700H"])
    ),
)


@contextmanager
def ledger() -> Iterator[Ledger]:
    opened = Ledger.open(FragileFiles(), PATH, Counters())
    try:
        yield opened
    finally:
        opened.close()


@define
class Model:
    """One outcome after the other."""

    entries: list[LedgerEntry]
    state: dict[tuple[int, str], int] = field(factory=dict)
    attempts: Counter[tuple[int, str]] = field(factory=Counter)
    reason: dict[tuple[int, str], str] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.state = {(e.message_id, a.destination): WAITING for e in self.entries for a in e.envelope.deliveries}

    def settle(self, outcome: SettledDelivery) -> None:
        pair = outcome.message_id, outcome.destination
        if self.state.get(pair) in UNFINISHED:
            self.state[pair] = STATE.get(outcome.result.result, self.state[pair])
            self.attempts[pair] += 1
            self.reason[pair] = outcome.result.reason

    def finished(self) -> list[LedgerEntry]:
        return [
            e
            for e in self.entries
            if not any(self.state[e.message_id, address.destination] in UNFINISHED for address in e.envelope.deliveries)
        ]


@given(messages=messages, turns=st.lists(st.lists(outcomes, max_size=150), max_size=4))
def test_many_at_once_come_to_the_same_as_one_after_the_other(
    messages: list[tuple[tuple[str, ...], bool]], turns: list[list[SettledDelivery]]
) -> None:
    entries = [
        ledger_entry(number, destinations, "lane" if laned else "")
        for number, (destinations, laned) in enumerate(messages, start=1)
    ]
    model = Model(entries)
    finished: list[Finished] = []
    freed: set[tuple[str, str]] = set()
    with ledger() as real:
        with real.transaction():
            real.enter(entries)
        for turn in turns:
            with real.transaction():
                done, lanes = real.settle(turn)
            finished += done
            freed.update(lanes)
            for outcome in turn:
                model.settle(outcome)
        rows = real.database.execute(
            "SELECT message_id, destination, state, attempts, reason FROM deliveries"
        ).fetchall()
        assert {(row[0], row[1]): row[2] for row in rows} == model.state
        assert {(row[0], row[1]): row[3] for row in rows if row[3]} == dict(model.attempts)
        assert {(row[0], row[1]): row[4] for row in rows if row[4]} == model.reason
        for destination, counted in real.queue.totals().items():
            for state in STATES:
                if state is not DeliveryState.DISCARDED:
                    of_model = sum(
                        1 for (_, name), one in model.state.items() if name == destination and STATES[one] is state
                    )
                    assert getattr(counted, state.value) == of_model
    gone = model.finished()
    by_segment = Counter(one.place.segment for one in gone)
    assert sum((Counter({one.segment: one.count}) for one in finished), Counter()) == by_segment
    assert sum(one.length for one in finished) == 100 * len(gone)
    files = sorted(one.place.file for one in gone if one.place.file)
    assert sorted(file for one in finished for file in one.files) == files
    assert {name for name, _ in freed} <= set(DESTINATIONS)


def test_a_held_delivery_that_is_delivered_after_all_frees_its_lane() -> None:
    with ledger() as real:
        with real.transaction():
            real.enter(
                [ledger_entry(number, DESTINATIONS, key) for number, key in enumerate(["a", "b", "", "c"], start=1)]
            )
            real.settle([told(number, Result.HELD) for number in (1, 2, 3)])
        with real.transaction():
            _, freed = real.settle([told(number, Result.DELIVERED) for number in (1, 2, 3, 4)])
    assert sorted(freed) == [("pacs", "a"), ("pacs", "b")]


def told(message_id: int, result: Result) -> SettledDelivery:
    return SettledDelivery(
        message_id=message_id, destination="pacs", result=AttemptResult(result=result, reason="told")
    )


def test_an_instance_is_found_however_many_others_there_are_and_however_often_it_came() -> None:
    uids = [f"1.2.{number}" for number in range(150)]
    with ledger() as real:
        with real.transaction():
            real.enter([ledger_entry(number, uid=uid) for number, uid in enumerate(uids, start=1)])
            real.enter([ledger_entry(number, uid="1.2.0") for number in range(151, 351)])
            real.settle([told(2, Result.DELIVERED)])
        found = real.unfinished_of(["9.9", *uids], "C-STORE-RQ")
        assert real.unfinished_of(uids, "N-SET-RQ") == real.unfinished_of([], "C-STORE-RQ") == {}
    assert found.keys() == {*uids} - {"1.2.1"}
    assert [one.message_id for one in found["1.2.0"]] == list(range(350, 286, -1))
    assert [(one.message_id, one.place.data_crc) for one in found["1.2.149"]] == [(150, 150)]


def test_every_statement_is_one_that_sqlite_has_compiled_before() -> None:
    """Whatever the number of rows, there are no more texts than its cache has room for."""
    with ledger() as real:
        seen: set[str] = set()
        plain = real.database.execute

        def noted(sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
            seen.add(sql)
            return plain(sql, parameters)

        real.database.execute = noted
        next_id = 1
        for count in range(1, 130):
            entries = [
                ledger_entry(next_id + number, DESTINATIONS, uid=f"1.{next_id + number}") for number in range(count)
            ]
            next_id += count
            with real.transaction():
                real.unfinished_of([one.envelope.sop_instance_uid for one in entries], "C-STORE-RQ")
                real.enter(entries)
                real.settle([told(one.message_id, Result.DELIVERED) for one in entries])
    assert len(seen) < 32
