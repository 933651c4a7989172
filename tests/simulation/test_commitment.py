"""Storage commitment against every mishap at once: whatever crashes, is lost and hangs up, each transaction is told to
the modality, never with two contents, and nothing is promised that both archives have not promised.

`COMMITMENT_EXAMPLES` says how many histories to try; with `-s` the numbers of transactions and crashes are printed.
"""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from router.services.commitment.transaction import Reference
from tests.simulation.commitments_world import CommitmentsWorld
from tests.simulation.histories import play
from tests.simulation.world import COUNTS, CRASHES
from tests.support.harness import CT

EXAMPLES = int(os.environ.get("COMMITMENT_EXAMPLES", "10"))

crashes = st.sampled_from(["", "", *CRASHES])
archive = st.sampled_from([0, 1])


class Histories(RuleBasedStateMachine):
    """One history of a hospital's evening."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.world = CommitmentsWorld.begin(Path(self._folder.name))
        self.made = 0
        self.asked = 0

    def teardown(self) -> None:
        try:
            self.world.do(self.world.come_to_rest)
            self.world.do(self.world.judge)
        finally:
            self.world.end()
            self._folder.cleanup()

    @rule(count=st.integers(1, 3), crash_at=crashes)
    def images_are_sent(self, count: int, crash_at: str) -> None:
        self.world.do(self.world.store, tuple(self._make() for _ in range(count)), crash_at)

    def _make(self) -> Reference:
        self.made += 1
        return Reference(CT, f"1.2.3.{self.made}")

    @precondition(lambda self: self.world.stored)
    @rule(data=st.data(), crash_at=crashes, with_a_stranger=st.booleans())
    def commitment_is_asked_for(self, data: st.DataObject, crash_at: str, with_a_stranger: bool) -> None:
        references = data.draw(st.lists(st.sampled_from(self.world.stored), min_size=1, max_size=4, unique=True))
        self.asked += 1
        stranger = (Reference(CT, f"1.2.4.{self.asked}"),) if with_a_stranger else ()
        self.world.do(self.world.ask, f"2.25.{self.asked}", (*references, *stranger), crash_at)

    @rule(loses_ledger=st.sampled_from([False, False, True]))
    def the_router_crashes(self, loses_ledger: bool) -> None:
        self.world.do(self.world.crash_now, loses_ledger)

    @rule(moment=st.sampled_from(CRASHES))
    def the_router_will_crash(self, moment: str) -> None:
        self.world.do(self.world.crash_soon, moment)

    @precondition(lambda self: self.world.stored)
    @rule(number=archive, data=st.data())
    def an_archive_loses_an_image(self, number: int, data: st.DataObject) -> None:
        self.world.do(self.world.lose, number, data.draw(st.sampled_from(self.world.stored)))

    @rule(number=st.sampled_from([0, 1, 2]))
    def somebody_hangs_up(self, number: int) -> None:
        self.world.do(self.world.hang_up, number)

    @rule(number=archive)
    def an_archive_goes_down(self, number: int) -> None:
        self.world.do(self.world.close_door, number)

    @rule(number=archive)
    def an_archive_is_up_again(self, number: int) -> None:
        self.world.do(self.world.open_door, number)


@pytest.mark.timeout(600)
def test_every_transaction_is_told_once_and_truly() -> None:
    play(Histories, EXAMPLES)
    print(f"\ncommitment histories: {dict(COUNTS)}")
