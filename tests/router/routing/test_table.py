"""Destinations of a message, and explanations of the routes that do not match."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.config import Condition, Route
from router.routing import Facts, RouteExplanation, RoutingTable
from router.services import parse_config

CT = "1.2.840.10008.5.1.4.1.1.2"
JPEG_2000_LOSSLESS = "1.2.840.10008.1.2.4.90"
MODALITY, PATIENT_NAME, SERIES_NUMBER, PRIVATE = 0x00080060, 0x00100010, 0x00200011, 0x00091010


def facts(**changed: Any) -> Facts:
    """Return the facts about a CT image from 10.1.2.3."""
    usual: dict[str, Any] = {
        "service": "storage",
        "calling_ae": "CT1",
        "called_ae": "ROUTER",
        "peer": "10.1.2.3",
        "sop_class": CT,
        "transfer_syntax": JPEG_2000_LOSSLESS,
        "elements": {MODALITY: ("CT",)},
    }
    return Facts(**usual | changed)


def table(routes: str) -> RoutingTable:
    """Return the routing table of a configuration with peers a, b and c."""
    peers = "".join(f'[peers.{name}]\nae_title = "{name}"\naddress = "{name}:104"\n' for name in "abc")
    return RoutingTable(parse_config(peers + routes, Path()).routes)


def with_condition(when: str) -> RoutingTable:
    return table(f'[[routes]]\nname = "only"\nservice = "storage"\nto = "a"\nwhen = {{ {when} }}\n')


def route(name: str, to: str, rest: str = "") -> str:
    return f'[[routes]]\nname = "{name}"\nservice = "storage"\nto = {to}\n{rest}\n'


# --- routes ---


def test_every_matching_route_adds_its_destinations_once_and_in_order() -> None:
    match = table(route("one", '["b", "a"]') + route("two", '["a", "c", "b"]')).match(facts())
    assert match.destinations == ("b", "a", "c")
    assert match.routes == ("one", "two")


def test_routes_after_a_final_match_are_not_looked_at() -> None:
    final = route("first", '["a"]', 'final = true\nwhen = { Modality = "CT" }') + route("second", '["b"]')
    assert table(final).match(facts()).destinations == ("a",)
    assert table(final).match(facts(elements={MODALITY: ("MR",)})).destinations == ("b",)


def test_a_route_is_for_its_service_only() -> None:
    match = table(route("one", '["a"]')).match(facts(service="mpps"))
    assert match.destinations == ()
    assert match.trace == (
        RouteExplanation(route="one", matched=False, reasons=('it is for service "storage", not "mpps"',)),
    )


def test_all_conditions_of_a_route_must_be_met() -> None:
    routes = with_condition('calling_ae = "CT*", Modality = ["CT", "MR"]')
    assert routes.match(facts()).destinations == ("a",)
    assert routes.match(facts(calling_ae="US1")).destinations == ()
    assert routes.match(facts(elements={MODALITY: ("US",)})).destinations == ()


def test_an_empty_table_has_no_destinations() -> None:
    match = RoutingTable(()).match(facts())
    assert (match.destinations, match.trace) == ((), ())


def test_the_table_lists_the_elements_that_it_needs() -> None:
    assert with_condition('calling_ae = "X"').elements == frozenset()
    assert with_condition('Modality = "CT", "(0009,1010)" = "x"').elements == {MODALITY, PRIVATE}


# --- conditions about the association ---


@pytest.mark.parametrize(
    ("when", "changed", "met"),
    [
        ('calling_ae = "CT*"', {}, True),
        ('calling_ae = "CT*"', {"calling_ae": " CT1 "}, True),
        ('calling_ae = "ct*"', {}, False),
        ('calling_ae = "CT?"', {"calling_ae": "CT12"}, False),
        ('calling_ae = ["MR[1-3]", "CT[!2]"]', {}, True),
        ('called_ae = "ROUTER"', {}, True),
        ('called_ae = "ROUT"', {}, False),
        ('peer = "10.1.0.0/16"', {}, True),
        ('peer = "10.1.2.3"', {"peer": "::ffff:10.1.2.3"}, True),
        ('peer = "fe80::/10"', {"peer": "fe80::1%eth0"}, True),
        ('peer = ["10.2.0.0/16", "::/0"]', {}, False),
        ('peer = "0.0.0.0/0"', {"peer": "no address"}, False),
        ('sop_class = "1.2.840.10008.5.1.4.1.1.2"', {}, True),
        ('sop_class = "1.2.840.10008.5.1.4.1.1.2"', {"sop_class": CT + ".1"}, False),
        ('sop_class = "1.2.840.10008.5.1.4.1.1.2.*"', {"sop_class": CT + ".1"}, True),
        ('sop_class = "CTImageStorage"', {}, True),
        ('sop_class = "ct image storage"', {}, True),
        ('sop_class = "*ImageStorage"', {}, True),
        ('sop_class = "MR*Storage"', {}, False),
        ('sop_class = "*"', {"sop_class": "1.2.3.4"}, True),
        ('transfer_syntax = "JPEG2000Lossless"', {}, True),
        ('transfer_syntax = "JPEG*"', {}, True),
        ('transfer_syntax = "Implicit*"', {}, False),
    ],
)
def test_conditions_about_the_association(when: str, changed: dict[str, Any], met: bool) -> None:
    assert bool(with_condition(when).match(facts(**changed)).destinations) is met


# --- conditions about elements ---


@pytest.mark.parametrize(
    ("when", "values", "met"),
    [
        ('Modality = "CT"', ("CT",), True),
        ('Modality = "C*"', ("CT",), True),
        ('Modality = "C"', ("CT",), False),
        ('Modality = "ct"', ("CT",), False),
        ('Modality = ["MR", "CT"]', ("CT",), True),
        ('Modality = "AXIAL"', ("ORIGINAL", "AXIAL"), True),
        ('Modality = "CT"', None, False),
        ('Modality = "*"', None, False),
        ('Modality = "*"', (), False),
        ('Modality = "*"', ("",), False),
        ('Modality = ""', None, True),
        ('Modality = ""', (), True),
        ('Modality = ""', ("", ""), True),
        ('Modality = ""', ("CT",), False),
        ('Modality = ["", "CT"]', ("CT",), True),
        ("Modality = 3", ("3",), True),
        ("Modality = 3", ("+03",), True),
        ("Modality = 3", ("3.0",), True),
        ("Modality = 3", ("30",), False),
        ("Modality = 3", ("three",), False),
        ("Modality = 11", ("1_1",), False),
        ("Modality = 0.1", ("1e-1",), True),
        ("Modality = 9007199254740993", ("9007199254740992",), False),
        ('Modality = "3"', ("3.0",), False),
        ('Modality = ["x", 3]', ("x",), True),
        ('"(0008,0060)" = "CT"', ("CT",), True),
        ('"(0008, 0060)" = "CT"', ("CT",), True),
    ],
)
def test_conditions_about_elements(when: str, values: tuple[str, ...] | None, met: bool) -> None:
    elements = {} if values is None else {MODALITY: values}
    assert bool(with_condition(when).match(facts(elements=elements)).destinations) is met


# --- why not ---


@pytest.mark.parametrize(
    ("when", "elements", "reason"),
    [
        ('Modality = ["MR", "US"]', {MODALITY: ("CT",)}, 'Modality is "CT", not "MR" or "US"'),
        ('Modality = "MR"', {}, 'Modality is missing, not "MR"'),
        ('Modality = "MR"', {MODALITY: ()}, 'Modality is empty, not "MR"'),
        ('Modality = "MR"', {MODALITY: ("A", "B")}, 'Modality is "A" and "B", not "MR"'),
        (
            'Modality = "MR"',
            {MODALITY: tuple("ABCDEF")},
            'Modality is "A" and "B" and "C" and "D" and 2 more, not "MR"',
        ),
        ("SeriesNumber = 3", {SERIES_NUMBER: ("4",)}, 'SeriesNumber is "4", not 3'),
        ('"(0008,0060)" = "MR"', {}, '(0008,0060) Modality is missing, not "MR"'),
        ('"(0009,1010)" = "x"', {PRIVATE: ("y\n",)}, '(0009,1010) is "y\\n", not "x"'),
        ('PatientName = ""', {PATIENT_NAME: ("x" * 100,)}, f'PatientName is "{"x" * 80}...", not ""'),
        ('calling_ae = "MR*"', {}, 'calling_ae is "CT1", not "MR*"'),
        ('sop_class = "MR*"', {}, f'sop_class is "{CT}" (CT Image Storage), not "MR*"'),
    ],
)
def test_the_trace_shows_the_value_and_the_condition(
    when: str, elements: dict[int, tuple[str, ...]], reason: str
) -> None:
    (verdict,) = with_condition(when).match(facts(elements=elements)).trace
    assert verdict == RouteExplanation(route="only", matched=False, reasons=(reason,))


def test_the_trace_has_every_route_and_every_reason() -> None:
    routes = table(
        route("no", '["a"]', 'when = { calling_ae = "MR", Modality = "MR" }')
        + route("yes", '["a"]', "final = true")
        + route("late", '["b"]')
    )
    assert routes.match(facts()).trace == (
        RouteExplanation(
            route="no",
            matched=False,
            reasons=('calling_ae is "CT1", not "MR"', 'Modality is "CT", not "MR"'),
        ),
        RouteExplanation(route="yes", matched=True),
        RouteExplanation(route="late", matched=False, reasons=('it is not looked at: "yes" before it is final',)),
    )


# --- whatever the facts ---

WORDS = st.sampled_from(["CT1", "MR*", "*", "[", "[!", "a\\", "?", "", "x" * 300]) | st.text(max_size=8)


@given(
    patterns=st.lists(WORDS | st.integers() | st.floats(), min_size=1, max_size=3),
    values=st.lists(WORDS, max_size=3).map(tuple),
    peer=WORDS,
)
def test_matching_never_fails_and_agrees_with_its_trace(
    patterns: list[str | int | float], values: tuple[str, ...], peer: str
) -> None:
    when = (
        Condition(key="Modality", tag=MODALITY, values=tuple(patterns)),
        Condition(key="peer", tag=None, values=("10.0.0.0/8",)),
    )
    routes = RoutingTable([Route(name="one", service="storage", when=when, to=("a",))])
    match = routes.match(facts(elements={MODALITY: values}, peer=peer))
    (verdict,) = match.trace
    assert verdict.matched == (match.destinations == ("a",))
    assert bool(verdict.reasons) != verdict.matched
