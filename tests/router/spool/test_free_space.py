"""Free space above the floor: what streams share, however many they are."""

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from router.spool.free_space import FreeSpace

FLOOR = 100 << 20
MIB = 1 << 20


class Disk:
    """So many bytes are free; `spare` more can be."""

    def __init__(self, free: int, spare: int = 0) -> None:
        self.free = free
        self.spare = spare
        self.looks = 0
        self.space = FreeSpace(
            look=self._look, floor=FLOOR, spare=lambda: self.spare, give_up_spare=self._give_up_spare
        )

    def _look(self) -> int:
        self.looks += 1
        return self.free

    async def _give_up_spare(self) -> None:
        self.free, self.spare = self.free + self.spare, 0


@given(
    room=st.integers(0, 80 * MIB),
    steps=st.lists(st.tuples(st.sampled_from(["begin", "write", "end"]), st.integers(0, 4 * MIB)), max_size=80),
)
def test_what_all_streams_write_never_brings_the_free_space_below_the_floor(
    room: int, steps: list[tuple[str, int]]
) -> None:
    disk = Disk(FLOOR + room)
    announced: list[int] = []
    written: list[int] = []
    for what, count in steps:
        if what == "begin" and disk.space.begin(count):
            announced.append(count)
        elif what == "write" and announced:  # at any time after it was announced, and before it is ended
            written.append(announced.pop(0))
            disk.free -= written[-1]
        elif what == "end" and written:
            disk.space.end(written.pop(0))
        assert disk.free - sum(announced) >= FLOOR


def test_the_file_system_is_asked_for_every_16_mib_and_not_for_every_piece() -> None:
    disk = Disk(FLOOR + (1 << 40))
    for _ in range(512):
        assert disk.space.begin(2 * MIB)
        disk.free -= 2 * MIB
        disk.space.end(2 * MIB)
    assert disk.looks <= 1 + 512 * 2 / 16


def test_a_refusal_is_never_given_on_what_was_known_before() -> None:
    disk = Disk(FLOOR)
    assert not disk.space.begin(MIB)
    disk.free += MIB
    assert disk.space.begin(MIB)


def test_what_is_spare_counts_for_who_comes_in_and_is_given_up_before_a_stream_is_refused() -> None:
    disk = Disk(FLOOR - MIB, spare=10 * MIB)
    assert disk.space.is_above_floor
    assert not disk.space.begin(2 * MIB)
    trio.run(disk.space.make_room)
    assert disk.spare == 0
    assert disk.space.begin(2 * MIB)
    assert not disk.space.begin(8 * MIB)


@pytest.mark.parametrize("free", [0, FLOOR - 1])
def test_what_the_reserve_is_for_is_announced_below_the_floor_too(free: int) -> None:
    disk = Disk(free)
    assert not disk.space.is_above_floor
    assert disk.space.begin(MIB, below_floor=True)
    assert not disk.space.begin(0)
