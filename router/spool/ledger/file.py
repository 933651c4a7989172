"""Open the ledger's file at a start, or set it aside and create a new one.

A ledger that cannot be trusted is kept, but nothing of it is used.
"""

from router.spool.disk.directories import Directories
from router.spool.errors import SpoolUnusable
from router.spool.ledger.database import LedgerUnusable
from router.spool.ledger.ledger import Ledger

NAME = "ledger.sqlite"
"""Names of further files that SQLite puts beside it begin with it."""


def open_ledger(store: Directories) -> tuple[Ledger, str]:
    """Open the ledger, or replace it; return it with "intact", "new", or why it must be rebuilt.

    Raises:
        SpoolUnusable: a later version of the router wrote it, or none can be created.
    """
    names = [name for name in store.files.names(store.root) if name.startswith(NAME)]
    if not all(store.files.is_regular(store.root, name) for name in names):
        why = "it was a symbolic link or no file"
    elif NAME not in names:
        why = "it was missing" if store.files.names(store.segments) else "new"
    else:
        try:
            return Ledger.open(store.files, store.ledger, store.counters), "intact"
        except LedgerUnusable as error:
            why = str(error)
    return replace_ledger(store), why


def replace_ledger(store: Directories) -> Ledger:
    """Move the ledger's files to `damaged/`, and create a new ledger.

    Raises:
        SpoolUnusable: it cannot be created.
    """
    taken = store.files.names(store.damaged)
    turn = next(turn for turn in range(1, 1 << 32) if f"ledger-{turn}.sqlite" not in taken)
    for name in store.files.names(store.root):
        if name.startswith(NAME):
            store.files.move(store.root, name, store.damaged, name.replace("ledger", f"ledger-{turn}"))
    try:
        ledger = Ledger.open(store.files, store.ledger, store.counters)
    except LedgerUnusable as error:
        raise SpoolUnusable(f"{store.ledger} cannot be made: {error}") from error
    store.files.sync_directory(store.root)
    return ledger
