"""Compiled conditions of routes.

A `CompiledCondition` is made once from a `Condition` of the configuration, and evaluated for every message. It is met
if any value of the message matches any value of the condition. Texts are globs, compared without outer spaces; a number
in the configuration is compared as a number. A missing or empty element matches the pattern "" and no other, not even
"*". Not here: routes (`table`).
"""

from collections.abc import Callable
from ipaddress import ip_network
from operator import attrgetter

from attrs import frozen

from router.config import Condition, Globs, Networks, UIDs
from router.config.patterns import sop_classes, transfer_syntaxes
from router.dicom.tags import tag_name
from router.dicom.uids import name_of
from router.routing.facts import Facts

LONGEST_SHOWN = 80
"""Characters of a value in an explanation."""
MOST_VALUES_SHOWN = 4
"""Values of an element in an explanation."""


@frozen(kw_only=True)
class CompiledCondition:
    """One condition, ready to be evaluated."""

    is_met: Callable[[Facts], bool]
    describe_value: Callable[[Facts], str]
    """Return a text for the value that the message has."""
    key: str
    wanted: str
    """A text for the values of the condition."""
    is_of_association: bool = False
    """Whether it is decided when a presentation context is proposed, before there is a message."""

    def explain_mismatch(self, facts: Facts) -> str:
        """Return why a message does not meet the condition: `Modality is "US", not "CT" or "MR"`."""
        return f"{self.key} is {self.describe_value(facts)}, not {self.wanted}"


def compile_condition(condition: Condition) -> CompiledCondition:
    """Compile a condition of the configuration."""
    wanted = " or ".join(map(_shown, condition.values))
    if condition.tag is None:
        return _compile_association_key(condition.key, tuple(map(str, condition.values)), wanted)
    return _compile_element(condition.key, condition.tag, condition.values, wanted)


def _compile_association_key(key: str, patterns: tuple[str, ...], wanted: str) -> CompiledCondition:
    pattern: Globs | Networks | UIDs
    match key:
        case "peer":
            pattern = Networks(tuple(ip_network(network, strict=False) for network in patterns))
        case "sop_class":
            pattern = sop_classes(patterns)
        case "transfer_syntax":
            pattern = transfer_syntaxes(patterns)
        case _:
            pattern = Globs(patterns)
    value: Callable[[Facts], str] = attrgetter(key)
    return CompiledCondition(
        key=key,
        wanted=wanted,
        is_of_association=key not in ("level", "transfer_syntax"),
        is_met=lambda facts: pattern.matches(value(facts)),
        describe_value=lambda facts: _named(value(facts)),
    )


def _compile_element(key: str, tag: int, values: tuple[str | int | float, ...], wanted: str) -> CompiledCondition:
    globs = Globs(tuple(value for value in values if isinstance(value, str) and value))
    numbers = frozenset(value for value in values if not isinstance(value, str))
    matches_empty = "" in values

    def met(facts: Facts) -> bool:
        found = facts.elements.get(tag, ())
        if not any(found):
            return matches_empty
        return any(globs.matches(value) or (numbers and _number(value) in numbers) for value in found if value)

    def seen(facts: Facts) -> str:
        if tag not in facts.elements:
            return "missing"
        found = facts.elements[tag]
        more = f" and {len(found) - MOST_VALUES_SHOWN} more" if len(found) > MOST_VALUES_SHOWN else ""
        return " and ".join(map(_shown, found[:MOST_VALUES_SHOWN])) + more if any(found) else "empty"

    name = tag_name(tag)
    return CompiledCondition(
        key=key if name in (key, key.upper()) else f"{key} {name}", wanted=wanted, is_met=met, describe_value=seen
    )


def _number(value: str) -> int | float | None:
    """Return the number of a DS, IS or binary value; None if it is not a number (PS3.5 6.2)."""
    for read in (int, float):
        try:
            return None if "_" in value else read(value)
        except ValueError:
            continue
    return None


def _named(value: str) -> str:
    """Return a value in quotation marks, with its name in PS3.6 if it is a UID."""
    name = name_of(value)
    return _shown(value) if name == value else f"{_shown(value)} ({name})"


def _shown(value: str | int | float) -> str:
    """Return a value of a peer in quotation marks, escaped and at most `LONGEST_SHOWN` characters long."""
    if not isinstance(value, str):
        return str(value)
    shown = "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in value[: LONGEST_SHOWN + 1])
    return f'"{shown}"' if len(shown) <= LONGEST_SHOWN else f'"{shown[:LONGEST_SHOWN]}..."'
