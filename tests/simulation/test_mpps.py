"""Procedure steps against every mishap at once: whatever crashes and fails, each RIS ends with the same steps as the
modality, never hears an N-SET before its N-CREATE, and misses nothing that was acknowledged.

`MPPS_EXAMPLES` says how many histories to try; with `-s` the numbers of steps and crashes are printed.
"""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from tests.simulation.histories import play
from tests.simulation.steps_world import StepsWorld
from tests.simulation.world import COUNTS, CRASHES
from tests.support.mpps_messages import completed, in_progress, progress

EXAMPLES = int(os.environ.get("MPPS_EXAMPLES", "15"))

crashes = st.sampled_from(["", "", *CRASHES])
ris = st.sampled_from([0, 1])


class Histories(RuleBasedStateMachine):
    """One history of a hospital's morning."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.world = StepsWorld.begin(Path(self._folder.name))
        self.begun = 0
        self.said = 0

    def teardown(self) -> None:
        try:
            for uid in self.world.open_steps:
                self.world.do(self.world.report, uid, completed([f"{uid}.1"]), "COMPLETED", "")
            self.world.do(self.world.come_to_rest)
            self.world.do(self.world.judge)
        finally:
            self.world.end()
            self._folder.cleanup()

    @rule(crash_at=crashes, has_uid=st.booleans())
    def a_step_begins(self, crash_at: str, has_uid: bool) -> None:
        self.begun += 1
        COUNTS["steps"] += 1
        uid = f"1.2.3.{self.begun}" if has_uid else None
        self.world.do(self.world.report, uid, in_progress(str(self.begun)), "IN PROGRESS", crash_at)

    @precondition(lambda self: self.world.open_steps)
    @rule(data=st.data(), crash_at=crashes)
    def a_step_goes_on(self, data: st.DataObject, crash_at: str) -> None:
        self.said += 1
        uid = data.draw(st.sampled_from(self.world.open_steps))
        self.world.do(self.world.report, uid, progress(f"so far {self.said}"), "IN PROGRESS", crash_at)

    @precondition(lambda self: self.world.open_steps)
    @rule(data=st.data(), crash_at=crashes, state=st.sampled_from(["COMPLETED", "DISCONTINUED"]))
    def a_step_ends(self, data: st.DataObject, crash_at: str, state: str) -> None:
        uid = data.draw(st.sampled_from(self.world.open_steps))
        self.world.do(self.world.report, uid, completed([f"{uid}.1"], status=state), state, crash_at)

    @rule(loses_ledger=st.sampled_from([False, False, True]))
    def the_router_crashes(self, loses_ledger: bool) -> None:
        self.world.do(self.world.crash_now, loses_ledger)

    @rule(number=ris)
    def the_router_crashes_in_the_middle_of_a_delivery(self, number: int) -> None:
        self.world.do(self.world.crash_when_heard, number)

    @rule(number=ris, fault=st.sampled_from(["abort", "abort after", "close", 0x0213]))
    def a_ris_fails(self, number: int, fault: int | str) -> None:
        self.world.do(self.world.fail_next, number, fault)

    @rule(number=ris)
    def a_ris_goes_down(self, number: int) -> None:
        self.world.do(self.world.close_door, number)

    @rule(number=ris)
    def a_ris_is_up_again(self, number: int) -> None:
        self.world.do(self.world.open_door, number)

    @precondition(lambda self: self.world.open_steps)
    @rule(number=ris, data=st.data())
    def a_ris_forgets_a_step(self, number: int, data: st.DataObject) -> None:
        self.world.do(self.world.forget, number, data.draw(st.sampled_from(self.world.open_steps)))


@pytest.mark.timeout(600)
def test_every_ris_ends_with_the_steps_of_the_modality() -> None:
    play(Histories, EXAMPLES)
    print(f"\nMPPS histories: {dict(COUNTS)}")
