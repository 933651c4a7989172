"""Say which SOP Instance UIDs may be those of unfinished messages, without asking the ledger.

Promises: `may_have` is true for the instance of every unfinished C-STORE, in the ledger or not yet, and false for
nearly all others; it takes 2 MiB of memory (4 MiB while it is built again), however many messages there are. It is a
Bloom filter: what was added cannot be removed, so it is built again from the ledger from time to time, a bounded part
in each step. Until it is built the first time, it answers true. The writer only (writer.py).
"""

from router.spool.ledger.ledger import Ledger

_MASK = (1 << 24) - 1
"""Bits, less one. A million instances, and a million that were added since, answer true for 1 other in 30."""
_MOST_ADDED = 1 << 20
"""Instances that are added before the filter is built again."""
_READ = 5000
"""Messages read in one step: some 5 ms."""


class InstanceFilter:
    def __init__(self, ledger: Ledger) -> None:
        """Begin with an empty filter, before the first message is added. The ledger must be up to date."""
        self._ledger = ledger
        self._built: bytearray | None = None
        self._growing: bytearray | None = None
        """The one that is being built, or None."""
        self._read = 0
        """Message id up to which the ledger was read for it."""
        self._added = 0
        """Instances added since it was begun."""
        self._start_over()

    def may_have(self, uid: str) -> bool:
        """Return whether there may be an unfinished C-STORE of this SOP Instance UID."""
        bits = self._built
        if bits is None:
            return True
        key = hash(uid)
        first, second, third = key & _MASK, key >> 20 & _MASK, key >> 40 & _MASK
        return bool(
            bits[first >> 3] >> (first & 7) & bits[second >> 3] >> (second & 7) & bits[third >> 3] >> (third & 7) & 1
        )

    def include(self, uid: str) -> None:
        """Add the instance of a C-STORE that is durable."""
        self._added += 1
        for bits in (self._built, self._growing):
            if bits is not None:
                _mark(bits, uid)

    @property
    def has_work(self) -> bool:
        """Whether to call `read_more`."""
        return self._growing is not None or self._added >= _MOST_ADDED

    @property
    def is_building(self) -> bool:
        """Whether the next step goes on with what an earlier one began."""
        return self._growing is not None

    def read_more(self) -> None:
        """Read a part of the ledger, which must be up to date unless `is_building`."""
        if self._growing is None:
            self._start_over()
        assert self._growing is not None
        uids, last = self._ledger.maintenance.unfinished_instances(self._read, _READ)
        for uid in uids:
            _mark(self._growing, uid)
        if last is None:
            self._built, self._growing = self._growing, None
        else:
            self._read = last

    def _start_over(self) -> None:
        self._growing, self._read, self._added = bytearray((_MASK + 1) // 8), 0, 0


def _mark(bits: bytearray, uid: str) -> None:
    key = hash(uid)
    for at in (key & _MASK, key >> 20 & _MASK, key >> 40 & _MASK):
        bits[at >> 3] |= 1 << (at & 7)
