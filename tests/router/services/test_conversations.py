"""The registry of conversations: numbers, limits, times, and the one line at the end."""

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from router.services.conversations import Conversation, Conversations


def begin(conversations: Conversations, calling_ae: str = "WORKSTATION", called_ae: str = "ROUTER") -> Conversation:
    return conversations.begin(
        service="query",
        calling_ae=calling_ae,
        called_ae=called_ae,
        peer="10.0.0.7",
        association=3,
        what="C-FIND STUDY (Study Root)",
    )


async def test_one_line_at_the_end_says_what_each_archive_did(autojump_clock: trio.abc.Clock) -> None:
    conversations = Conversations()
    with capture_logs() as lines:
        with begin(conversations) as conversation:
            pacs, silent = conversation.archive("pacs"), conversation.archive("silent")
            pacs.asked = silent.asked = 1
            await trio.sleep(0.5)
            pacs.matched()
            pacs.matched()
            await trio.sleep(1)
            pacs.answered("0000H Success")
            silent.answered("", cause="no response within 1.5 s")
            conversation.finish("C001H: silent did not answer")
            assert lines == []
    (line,) = lines
    assert (line["event"], line["number"], line["status"]) == ("conversation", 1, "C001H: silent did not answer")
    assert line["seconds"] == 1.5
    assert line["archives"]["pacs"] == {
        "asked": 1,
        "first_answer_after": 0.5,
        "matches": 2,
        "duplicates": 0,
        "failed": 0,
        "seconds": 1.5,
        "status": "0000H Success",
        "cause": "",
    }
    assert line["archives"]["silent"]["first_answer_after"] is None
    assert line["archives"]["silent"]["cause"] == "no response within 1.5 s"


async def test_a_conversation_is_live_until_its_block_ends_whatever_ends_it(autojump_clock: trio.abc.Clock) -> None:
    conversations = Conversations()
    with pytest.raises(RuntimeError), begin(conversations) as conversation:
        conversation.counts(remaining=3, completed=1)
        assert [one["number"] for one in conversations.live()] == [1]
        assert conversations.recent() == []
        raise RuntimeError
    assert conversations.live() == []
    (finished,) = conversations.recent()
    assert finished == conversations.find(1)
    assert finished["counts"] == {"remaining": 3, "completed": 1, "failed": 0, "warning": 0}
    assert finished["status"] == "ended before its final response"
    assert not finished["live"]


async def test_titles_of_the_client_are_escaped() -> None:
    conversations = Conversations()
    with begin(conversations, calling_ae="\x1b[31mEVIL", called_ae="Ü"):
        (one,) = conversations.live()
    assert (one["calling_ae"], one["called_ae"]) == ("\\x1b[31mEVIL", "\\xdc")


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 5))
def test_all_live_and_the_last_finished_are_kept_and_no_more(steps: list[bool], kept: int) -> None:
    async def check() -> None:
        conversations = Conversations(kept)
        live: list[Conversation] = []
        ended: list[int] = []
        for begins in steps:
            if begins or not live:
                live.append(begin(conversations).__enter__())
            else:
                one = live.pop(0)
                one.__exit__(None, None, None)
                ended.append(one.number)
        assert [one["number"] for one in conversations.live()] == [one.number for one in live]
        assert [one["number"] for one in conversations.recent()] == ended[::-1][:kept]
        assert all(conversations.find(number) is None for number in ended[:-kept])

    trio.run(check)
