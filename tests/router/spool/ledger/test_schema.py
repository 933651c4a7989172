"""An upgrade keeps the ledger: each older schema becomes today's in place, and a newer one is refused."""

import sqlite3
from pathlib import Path

import pytest

from router.model import DeliveryState, Purpose
from router.spool import Spool, SpoolUnusable
from router.spool.disk.counters import Counters
from router.spool.disk.filesystem import REAL
from router.spool.ledger.ledger import Ledger
from router.spool.ledger.rows import SettledDelivery
from router.spool.ledger.schema import SCHEMA_VERSION
from router.spool.offline import ReadOnlySpool
from router.spool.values import Selection, Totals
from tests.router.spool.driver import PATH, SETTINGS, delivered, held
from tests.router.spool.power_cut import FragileFiles, PowerCut
from tests.support.spool import ledger_entry

SCHEMA_2 = """
CREATE TABLE facts (next_id INTEGER NOT NULL, synced INTEGER NOT NULL, clock REAL NOT NULL);
INSERT INTO facts VALUES (5, 0, 1234.5);
CREATE TABLE segments (
    number INTEGER PRIMARY KEY, nonce BLOB NOT NULL, known INTEGER NOT NULL, dropped INTEGER NOT NULL DEFAULT 0,
    gone REAL
);
CREATE TABLE messages (
    id INTEGER PRIMARY KEY, segment INTEGER NOT NULL, offset INTEGER NOT NULL, length INTEGER NOT NULL,
    data_length INTEGER NOT NULL, data_crc INTEGER NOT NULL, file TEXT NOT NULL, unfinished INTEGER NOT NULL,
    kind TEXT NOT NULL, service TEXT NOT NULL, abstract_syntax TEXT NOT NULL, transfer_syntax TEXT NOT NULL,
    sop_class_uid TEXT NOT NULL, sop_instance_uid TEXT NOT NULL,
    calling_ae TEXT NOT NULL, called_ae TEXT NOT NULL, peer TEXT NOT NULL, received REAL NOT NULL
);
CREATE INDEX messages_segment ON messages (segment);
CREATE INDEX messages_instance ON messages (sop_instance_uid);
CREATE INDEX messages_file ON messages (file) WHERE file <> '';
CREATE TABLE deliveries (
    message_id INTEGER NOT NULL, destination TEXT NOT NULL, lane TEXT NOT NULL,
    state INTEGER NOT NULL CHECK (state BETWEEN 0 AND 3), attempts INTEGER NOT NULL DEFAULT 0,
    born REAL NOT NULL DEFAULT 0, reason TEXT NOT NULL DEFAULT '', changed REAL NOT NULL,
    PRIMARY KEY (message_id, destination)
) WITHOUT ROWID;
CREATE INDEX deliveries_waiting ON deliveries (destination, message_id) WHERE state = 0;
CREATE INDEX deliveries_held ON deliveries (destination, lane, message_id) WHERE state = 2;
CREATE TABLE totals (
    destination TEXT NOT NULL, state INTEGER NOT NULL, count INTEGER NOT NULL,
    PRIMARY KEY (destination, state)
) WITHOUT ROWID;
INSERT INTO messages VALUES
    (1, 1, 64, 100, 10, 7, '', 3, 'C-STORE-RQ', 'storage', '1.2', '1.2.1', '1.2', '1.2.3', 'CT', 'R', '::1', 1e9),
    (2, 1, 164, 100, 10, 7, '', 1, 'C-STORE-RQ', 'storage', '1.2', '1.2.1', '1.2', '1.2.4', 'CT', 'R', '::1', 1e9),
    (3, 1, 264, 100, 10, 7, '', 0, 'C-STORE-RQ', 'storage', '1.2', '1.2.1', '1.2', '1.2.5', 'CT', 'R', '::1', 1e9);
INSERT INTO deliveries VALUES
    (1, 'pacs', '', 0, 4, 11.5, 'A700H', 1e9), (1, 'vna', '', 1, 1, 11.5, '0000H', 1e9),
    (1, 'pacs (commitment)', '', 0, 0, 11.5, '', 1e9), (1, 'vna (commitment)', '', 2, 5, 11.5, 'not committed', 1e9),
    (2, 'pacs', 'lane', 2, 1, 12.5, 'C000H', 1e9), (3, 'pacs', '', 3, 0, 13.5, 'discarded by hand', 1e9);
INSERT INTO totals VALUES ('pacs', 0, 1), ('vna', 1, 901), ('pacs', 2, 1), ('pacs', 3, 17),
    ('pacs (commitment)', 0, 1), ('vna (commitment)', 2, 1), ('vna (commitment)', 1, 900);
PRAGMA user_version = 2;
"""
"""As revision 6426320 made it, and what it may hold."""
TOTALS = {"pacs": Totals(waiting=1, held=1, discarded=17), "vna": Totals(delivered=901)}
RETAINED = {"pacs": Totals(waiting=1), "vna": Totals(held=1, delivered=900)}


def rows_of(ledger: Ledger) -> list[tuple[object, ...]]:
    return [
        (row.message_id, row.destination, row.purpose, row.key, row.state, row.attempts, row.reason)
        for row in ledger.queue.list_deliveries(Selection(), 0, 100)
    ]


ROWS = [
    (1, "pacs", Purpose.SEND, "", DeliveryState.WAITING, 4, "A700H"),
    (1, "pacs", Purpose.RETAIN, "", DeliveryState.WAITING, 0, ""),
    (1, "vna", Purpose.SEND, "", DeliveryState.DELIVERED, 1, "0000H"),
    (1, "vna", Purpose.RETAIN, "", DeliveryState.HELD, 5, "not committed"),
    (2, "pacs", Purpose.SEND, "lane", DeliveryState.HELD, 1, "C000H"),
    (3, "pacs", Purpose.SEND, "", DeliveryState.DISCARDED, 0, "discarded by hand"),
]


def old(path: Path) -> Path:
    ledger = path / "ledger.sqlite"
    with sqlite3.connect(ledger) as connection:
        connection.executescript(SCHEMA_2)
    connection.close()
    return ledger


def test_a_ledger_of_schema_2_keeps_every_row_total_and_its_clock(tmp_path: Path) -> None:
    ledger = Ledger.open(REAL, old(tmp_path), Counters())
    assert ledger.database.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
    assert rows_of(ledger) == ROWS
    assert ledger.queue.totals() == TOTALS
    assert ledger.queue.totals(Purpose.RETAIN) == RETAINED
    assert ledger.clock() >= 1234.5
    assert [row.waiting.born for row in ledger.backlog.fresh("pacs", 0, 10).rows] == [11.5]
    added = ledger.database.execute("SELECT DISTINCT due, status, cause, crashes, unanswered FROM deliveries")
    assert added.fetchall() == [(0.0, None, "", 0, 0)]
    ledger.close()


def test_a_ledger_that_was_brought_up_to_date_works_on_and_opens_again(tmp_path: Path) -> None:
    path = old(tmp_path)
    ledger = Ledger.open(REAL, path, Counters())
    with ledger.transaction():
        ledger.enter([ledger_entry(5, ("pacs", "vna"))])
        ledger.settle(
            [
                SettledDelivery(message_id=1, destination="pacs", result=delivered()),
                SettledDelivery(message_id=5, destination="vna", result=held()),
            ]
        )
    ledger.close()
    ledger = Ledger.open(REAL, path, Counters())
    assert ledger.queue.totals() == {
        "pacs": Totals(waiting=1, delivered=1, held=1, discarded=17),
        "vna": Totals(delivered=901, held=1),
    }
    ledger.close()


def test_a_ledger_brought_up_to_date_has_the_schema_of_a_new_one(tmp_path: Path) -> None:
    def described(ledger: Ledger) -> list[object]:
        tables = ledger.database.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").fetchall()
        indexes = ledger.database.execute(
            "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL ORDER BY name"
        ).fetchall()
        return [
            [ledger.database.execute(f"PRAGMA table_xinfo({name})").fetchall() for (name,) in tables],
            tables,
            indexes,
        ]

    migrated, new = Ledger.open(REAL, old(tmp_path), Counters()), Ledger.open(REAL, tmp_path / "new.sqlite", Counters())
    assert described(migrated) == described(new)
    migrated.close()
    new.close()


def test_a_power_cut_while_it_is_brought_up_to_date_leaves_it_whole() -> None:
    schema_2 = sqlite3.connect(":memory:")
    schema_2.executescript(SCHEMA_2)
    image = schema_2.serialize()
    schema_2.close()
    cuts = 0
    for cut in range(100):
        files = FragileFiles()
        files.ledger_states = [image]
        files.cut_after = cut
        try:
            Ledger.open(files, PATH, Counters()).close()
        except PowerCut:
            cuts += 1
        files.power_on(cut)
        ledger = Ledger.open(files, PATH, Counters())
        assert rows_of(ledger) == ROWS
        ledger.close()
    assert cuts == 3  # opening it, and both sides of the one commit


def test_a_newer_schema_is_refused_and_nothing_is_changed(tmp_path: Path) -> None:
    ledger = old(tmp_path)
    with sqlite3.connect(ledger) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = ledger.read_bytes()
    for opened in (
        lambda: Ledger.open(REAL, ledger, Counters()),
        lambda: ReadOnlySpool(tmp_path),
        lambda: Spool.open(tmp_path, SETTINGS),
    ):
        with pytest.raises(SpoolUnusable, match="later version of the router: its schema is number 99"):
            opened()
        assert ledger.read_bytes() == before


def test_a_stopped_spool_of_an_older_schema_says_what_to_do(tmp_path: Path) -> None:
    old(tmp_path)
    with pytest.raises(SpoolUnusable, match=r"earlier version .* start the router"):
        ReadOnlySpool(tmp_path)
