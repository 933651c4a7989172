"""Tables of the command line: nothing is lost, and nothing is wider than the console, however narrow that is."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.cli.output import fit, print_table

COLUMNS = st.lists(st.tuples(st.integers(1, 80), st.integers(0, 80)), min_size=1, max_size=12)
"""What each column wants, and how much of that is a word that should stay whole."""


@given(columns=COLUMNS, room=st.integers(1, 300))
def test_columns_share_the_width_and_break_words_only_as_a_last_resort(
    columns: list[tuple[int, int]], room: int
) -> None:
    wanted, least = [one for one, _ in columns], [min(each) for each in columns]
    widths = fit(wanted, least, room)
    assert all(1 <= width <= most for width, most in zip(widths, wanted, strict=True))
    assert sum(widths) == min(sum(wanted), max(room, len(columns)))
    if sum(max(1, word) for word in least) <= room:
        assert all(width >= word for width, word in zip(widths, least, strict=True))


@pytest.mark.parametrize("columns", [0, 20, 40, 100, 1000])
def test_every_word_of_every_cell_is_shown_within_the_columns(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    uid, reason = "1.2." + "9" * 60, "A700H: out of resources, try again later"
    print_table(("id", "why"), [(7, reason), (12345, "held")], title="Queue", below=(uid, ""))
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= max(20, columns)
    letters = re.sub(r"[\s─]", "", shown)
    assert letters.startswith("Queueidwhy7")
    assert uid in letters
    assert sorted(letters) == sorted("".join(["Queueidwhy712345held", uid, reason]).replace(" ", ""))


def test_a_uid_stays_whole_beside_short_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    uid = "1.2." + "9" * 60
    print_table(("SOP instance", "told", "reason"), [(uid, "committed", "word " * 40)])
    assert uid in capsys.readouterr().out
