"""Command sets of the standard, for property tests."""

from typing import Any

from hypothesis import strategies as st

from router.dimse import DATA_SET, NO_DATA_SET, Command
from router.dimse.command import ELEMENTS, MESSAGES

_GRAPHIC = st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="\\")
"""Without the backslash, which parts the values of an element."""

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "US": st.integers(0, 0xFFFF),
    "UI": st.from_regex(r"[1-9][0-9]{0,7}(\.[1-9][0-9]{0,7}){0,6}", fullmatch=True),
    "AE": st.text(_GRAPHIC, min_size=1, max_size=16),
    "LO": st.text(_GRAPHIC, min_size=1, max_size=64),
    "AT": st.lists(st.integers(0, 0xFFFFFFFF), min_size=1, max_size=4).map(tuple),
}


@st.composite
def commands(draw: st.DrawFn) -> Command:
    """Any message of the standard with its mandatory attributes, and some of its optional ones."""
    field = draw(st.sampled_from(sorted(MESSAGES)))
    rule = MESSAGES[field]
    optional = draw(st.sets(st.sampled_from(rule.optional))) if rule.optional else set()
    chosen = set(rule.mandatory) | optional
    vrs = {name: vr for _, name, vr in ELEMENTS}
    values = {name: draw(VALUES[vrs[name]]) for name in chosen}
    with_data = rule.data_set == "always" or (rule.data_set == "optional" and draw(st.booleans()))
    return Command(field=field, data_set_type=DATA_SET if with_data else NO_DATA_SET, **values)
