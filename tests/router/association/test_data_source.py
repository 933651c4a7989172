"""A data set as a stream: only its end, said explicitly, sets the last-fragment bit (PS3.8 E.2)."""

import random
from collections.abc import Sequence

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from router.association import DataSource, InMemory, InOrder, Requestor, plan_contexts
from router.association.data_source import Chunk, fill, read_whole
from router.association.requestor import CHUNK
from router.config import Timeouts
from tests.support.harness import PATIENCE, Archive, eventually, store_rq
from tests.support.requestor import PAIR, remote_at


class InChunks:
    """A data set of unknown length, in chunks of given sizes; the end may come in a chunk of its own, without bytes."""

    def __init__(self, content: bytes, sizes: Sequence[int] = (), *, says_end_late: bool = False) -> None:
        self.length: int | None = None
        self._rest = memoryview(content)
        self._sizes = list(sizes)
        self._says_end_late = says_end_late

    async def read(self, buffer: memoryview) -> Chunk:
        await trio.lowlevel.checkpoint()
        was_empty = not self._rest
        size = min(len(buffer), len(self._rest), self._sizes.pop(0) if self._sizes else len(buffer))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size, was_empty if self._says_end_late else not self._rest


class FailsAfter(InChunks):
    """Fails when half of it is read."""

    def __init__(self, content: bytes, error: Exception | None) -> None:
        super().__init__(content[: len(content) // 2], says_end_late=True)
        self._error = error

    async def read(self, buffer: memoryview) -> Chunk:
        size, is_last = await super().read(buffer)
        if is_last and self._error is not None:
            raise self._error
        return size, False


class FromFile:
    """A stored data set that gives at most `most` bytes at a time."""

    def __init__(self, content: bytes, most: int) -> None:
        self.data_length = len(content)
        self._content, self._most = content, most

    async def read_into(self, buffer: memoryview, offset: int) -> int:
        piece = self._content[offset : offset + min(len(buffer), self._most)]
        buffer[: len(piece)] = piece
        return len(piece)


@given(
    content=st.binary(max_size=200),
    sizes=st.lists(st.integers(1, 50), max_size=20),
    late=st.booleans(),
    buffer_size=st.integers(1, 64),
)
def test_any_chunking_gives_the_same_bytes_and_one_end(
    content: bytes, sizes: list[int], late: bool, buffer_size: int
) -> None:
    async def chunks(source: DataSource) -> list[tuple[bytes, bool]]:
        buffer = memoryview(bytearray(buffer_size))
        found: list[tuple[bytes, bool]] = []
        while not found or not found[-1][1]:
            size, is_last = await fill(source, buffer)
            found.append((bytes(buffer[:size]), is_last))
        return found

    most = max(sizes, default=7)
    for source in (
        InChunks(content, sizes, says_end_late=late),
        InMemory(content),
        InOrder(FromFile(content, most)),
    ):
        found = trio.run(chunks, source)
        assert b"".join(piece for piece, _ in found) == content
        assert all(len(piece) == buffer_size for piece, _ in found[:-1])  # only the end is shorter
    assert trio.run(read_whole, InChunks(content, sizes, says_end_late=late)) == content
    assert trio.run(read_whole, InOrder(FromFile(content, most))) == content


@pytest.mark.parametrize("size", [0, 1000, CHUNK, 2 * CHUNK, 2 * CHUNK + 2])
@pytest.mark.parametrize("late", [False, True])
async def test_a_data_set_of_unknown_length_arrives_whole(size: int, late: bool) -> None:
    content = random.Random(size).randbytes(size)
    async with Archive().serving() as archive:
        opening = Requestor.open(remote_at(archive.port), plan_contexts([PAIR]), Timeouts())
        async with await opening as association:
            source = InChunks(content, [1, 3, CHUNK - 1, 100], says_end_late=late)
            response = await association.request(association.contexts[PAIR], store_rq("1.2.3"), source)
    assert response.status == 0
    assert [stored.data for stored in archive.stored] == [content]


@pytest.mark.parametrize("size", [1000, 3 * CHUNK])
@pytest.mark.parametrize("error", [ValueError("the source fails"), None], ids=["it raises", "it stops without an end"])
async def test_a_source_that_fails_half_way_aborts_and_never_looks_complete(size: int, error: Exception | None) -> None:
    async with Archive().serving() as archive:
        opening = Requestor.open(remote_at(archive.port), plan_contexts([PAIR]), Timeouts())
        async with await opening as association:
            source = FailsAfter(bytes(size), error)
            with trio.fail_after(PATIENCE), pytest.raises((ValueError, EOFError)):
                await association.request(association.contexts[PAIR], store_rq("1.2.3"), source)
            assert not association.is_alive

        async def has_ended() -> bool:
            return archive._open == 0

        await eventually(has_ended)
    assert archive.stored == []
