"""The promise of docs/spool.md over a file system that loses power at any of its calls."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.router.spool.power_cut import FragileFiles
from tests.router.spool.power_cut_world import World


@settings(deadline=None)
@given(st.integers(0, 2**32), st.lists(st.integers(0, 150), max_size=5))
def test_what_was_acknowledged_survives_a_power_cut_at_any_call(seed: int, cuts: list[int]) -> None:
    files = FragileFiles()
    world = World(files, random.Random(seed))
    for cut in cuts:
        files.cut_after = cut
        world.live(turns=8)
        files.power_on(seed + cut)
    world.live(turns=8)
    files.power_on(seed)
    world.finish()


@settings(deadline=None)
@given(st.integers(0, 2**32), st.lists(st.tuples(st.integers(0, 250), st.booleans()), max_size=6))
def test_decisions_of_operators_survive_the_loss_of_the_ledger(seed: int, cuts: list[tuple[int, bool]]) -> None:
    files = FragileFiles()
    world = World(files, random.Random(seed))
    for cut, loses_ledger in cuts:
        files.cut_after = cut
        world.live(turns=12)
        files.power_on(seed + cut)
        if loses_ledger:
            files.ledger_states, world.lost_ledger = [None], True
    world.live(turns=8)
    files.power_on(seed)
    files.ledger_states, world.lost_ledger = [None], True
    world.finish()


@settings(deadline=None)
@given(st.integers(0, 2**32), st.lists(st.tuples(st.integers(100, 400), st.booleans()), max_size=4))
def test_nothing_of_what_a_file_held_before_comes_back_when_it_is_used_again(
    seed: int, cuts: list[tuple[int, bool]]
) -> None:
    files = FragileFiles()
    world = World(files, random.Random(seed), keen=True)
    for cut, loses_ledger in cuts:
        files.cut_after = cut
        world.live(turns=30)
        files.power_on(seed + cut)
        if loses_ledger:
            files.ledger_states, world.lost_ledger = [None], True
    world.live(turns=30)
    files.power_on(seed)
    world.finish()


def test_files_are_used_again_and_the_event_loop_commits_in_these_lives() -> None:
    files = FragileFiles()
    world = World(files, random.Random(1), keen=True)
    world.live(turns=120)
    assert files.calls.count("move") > 8
    assert world.committed_here > 8
    assert len(files.files_in("/spare")) <= 2


@pytest.mark.parametrize("seed", range(3))
def test_every_call_of_one_life_is_a_place_to_lose_power(seed: int) -> None:
    whole = FragileFiles()
    World(whole, random.Random(seed)).live(turns=6)
    for cut in range(whole.steps):
        files = FragileFiles()
        world = World(files, random.Random(seed))
        files.cut_after = cut
        world.live(turns=6)
        files.power_on(cut)
        world.finish()
