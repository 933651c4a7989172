"""Gather what a start finds."""

from collections.abc import Iterable
from pathlib import Path

from attrs import define, field

from router.spool.disk.counters import Counters
from router.spool.ledger.ledger import Ledger
from router.spool.message_id import MessageId, sequence_of
from router.spool.values import Damage, Decision


@define(eq=False)
class RecoveryFindings:
    ledger: Ledger
    counters: Counters
    recovered: int = 0
    """Messages."""
    removed: int = 0
    """Files."""
    damaged: list[Damage] = field(factory=list)
    lost: list[Damage] = field(factory=list)
    is_changed: bool = False
    """The ledger was changed."""
    decisions: dict[tuple[int, str, int], tuple[Decision, int]] = field(factory=dict)
    """By message id, destination and purpose: the last decision of an operator, and the segment that has it."""
    with_decisions: set[int] = field(factory=set)
    """Segments in which decisions were found."""
    in_doubt: bool = False
    """Something that was acknowledged cannot be read: a file that no record names may belong to it."""

    def use_id(self, message_id: MessageId) -> None:
        self.counters.advance(next_id=sequence_of(message_id) + 1)

    def decided(self, decisions: Iterable[Decision], segment: int) -> None:
        """Note decisions that the ledger may not have, in the order in which they were made."""
        self.with_decisions.add(segment)
        for one in decisions:
            self.decisions[one.message_id, one.destination, one.purpose] = one, segment

    def report(
        self,
        where: str,
        reason: str,
        *,
        offset: int = 0,
        length: int = 0,
        set_aside: Path | None = None,
        message_id: int | None = None,
    ) -> None:
        """Report something that is damaged, or not a part of a spool."""
        self.damaged.append(
            Damage(
                where=where,
                offset=offset,
                length=length,
                reason=reason,
                set_aside=set_aside,
                message_id=message_id,
            )
        )

    def lose(self, messages: list[tuple[int, str, int]]) -> None:
        """Hold the deliveries of messages whose files are gone: (message id, file, length)."""
        if not messages:
            return
        self.is_changed = self.in_doubt = True
        with self.ledger.transaction():
            for message_id, where, length in messages:
                self.ledger.maintenance.lose(message_id, f"{where} is gone from the spool")
                self.lost.append(Damage(where=where, offset=0, length=length, reason="gone", message_id=message_id))
