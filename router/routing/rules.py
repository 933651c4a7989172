"""One condition of a route, met or not.

A `CompiledCondition` is made once from a `Condition` of the configuration and asked about every message. Any value
that the message has and any that the condition lists will do. Texts are globs and are compared without outer spaces;
a number in the configuration is compared as a number. An element that is missing or empty meets the pattern "" and no
other, not even "*". Not here: which rules make a route (`table`).
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

LONGEST_WORDS = 80
MOST_SHOWN = 4


@frozen(kw_only=True)
class CompiledCondition:
    """A condition, ready to be asked."""

    met: Callable[[Facts], bool]
    seen: Callable[[Facts], str]
    """What the message has there, in words."""
    key: str
    wanted: str
    """What the condition asks for, in words."""

    def why_not(self, facts: Facts) -> str:
        """In words, for a message that does not meet it: `Modality is "US", not "CT" or "MR"`."""
        return f"{self.key} is {self.seen(facts)}, not {self.wanted}"


def rule(condition: Condition) -> CompiledCondition:
    """The rule that a condition means."""
    wanted = " or ".join(map(_shown, condition.values))
    if condition.tag is None:
        return _about_message(condition.key, tuple(map(str, condition.values)), wanted)
    return _about_element(condition.key, condition.tag, condition.values, wanted)


def _about_message(key: str, patterns: tuple[str, ...], wanted: str) -> CompiledCondition:
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
        met=lambda facts: pattern.matches(value(facts)),
        seen=lambda facts: _named(value(facts)),
    )


def _about_element(key: str, tag: int, values: tuple[str | int | float, ...], wanted: str) -> CompiledCondition:
    globs = Globs(tuple(value for value in values if isinstance(value, str) and value))
    numbers = frozenset(value for value in values if not isinstance(value, str))
    empty_will_do = "" in values

    def met(facts: Facts) -> bool:
        found = facts.elements.get(tag, ())
        if not any(found):
            return empty_will_do
        return any(globs.matches(value) or (numbers and _number(value) in numbers) for value in found if value)

    def seen(facts: Facts) -> str:
        if tag not in facts.elements:
            return "missing"
        found = facts.elements[tag]
        more = f" and {len(found) - MOST_SHOWN} more" if len(found) > MOST_SHOWN else ""
        return " and ".join(map(_shown, found[:MOST_SHOWN])) + more if any(found) else "empty"

    name = tag_name(tag)
    return CompiledCondition(
        key=key if name in (key, key.upper()) else f"{key} {name}", wanted=wanted, met=met, seen=seen
    )


def _number(value: str) -> int | float | None:
    """What a DS, IS or binary value says (PS3.5 6.2); None if it is no number."""
    for read in (int, float):
        try:
            return None if "_" in value else read(value)
        except ValueError:
            continue
    return None


def _named(value: str) -> str:
    """A value, with the name that PS3.6 gives it where it is a UID."""
    name = name_of(value)
    return _shown(value) if name == value else f"{_shown(value)} ({name})"


def _shown(value: str | int | float) -> str:
    """A value in quotation marks, whatever a peer put into it, and not longer than a line."""
    if not isinstance(value, str):
        return str(value)
    shown = "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in value[: LONGEST_WORDS + 1])
    return f'"{shown}"' if len(shown) <= LONGEST_WORDS else f'"{shown[:LONGEST_WORDS]}..."'
