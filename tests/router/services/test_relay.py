"""The choice of what is relayed, and to whom, from the A-ASSOCIATE-RQ and the routes alone."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from pdu import ContextResult, PresentationContext
from router.config import ConfigError
from router.services import Relay, RelayPlan, Sender, parse_config
from tests.support.harness import CT, IMPLICIT, VERIFICATION, associate_rq

PRINT = "1.2.840.10008.5.1.1.9"
COLOR_PRINT = "1.2.840.10008.5.1.1.18"
FILM_SESSION = "1.2.840.10008.5.1.1.1"
PRINTER = "1.2.840.10008.5.1.1.16"
PRESENTATION_LUT = "1.2.840.10008.5.1.1.23"
STORED_PRINT = "1.2.840.10008.5.1.1.27"
UPS_PUSH = "1.2.840.10008.5.1.4.34.6.1"
PRIVATE = "1.2.826.0.1.3680043.9.3811.99"
SERVED = {VERIFICATION, CT, STORED_PRINT, PRESENTATION_LUT, PRIVATE}
"""What Verification and Storage accept."""

PEERS = """
[peers.printer]
ae_title = "PRINTER"
address = "127.0.0.1:104"
[peers.other]
ae_title = "OTHER"
address = "127.0.0.1:105"
"""


def route(to: str = '"printer"', *, name: str = "relay", **when: str) -> str:
    conditions = ", ".join(f"{key} = {value}" for key, value in when.items())
    return f'[[routes]]\nname = "{name}"\nservice = "relay"\nto = {to}\nwhen = {{ {conditions} }}\n'


def plan(
    routes: str, *abstract_syntaxes: str, served: Collection[str] = SERVED, sender: dict[str, Any] | None = None
) -> RelayPlan | None:
    relay: Relay = object.__new__(Relay)
    relay.prepare(parse_config(PEERS + routes, Path()))()
    requestor = Sender(**({"calling_ae": "WS1", "called_ae": "ROUTER", "peer": "10.1.2.3"} | (sender or {})))
    request = associate_rq(*((uid, (IMPLICIT,)) for uid in abstract_syntaxes))

    def is_served(context: PresentationContext) -> bool:
        return context.abstract_syntax in served

    return relay.plan(request, requestor, is_served) if relay.has_routes else None


def relayed(found: RelayPlan | None) -> list[str]:
    return [context.abstract_syntax for context in found.contexts] if found else []


def test_nothing_is_relayed_without_a_route() -> None:
    assert plan("", PRINT, VERIFICATION) is None
    assert plan(route(sop_class='"*Print*"'), UPS_PUSH, VERIFICATION, CT) is None


def test_the_contexts_of_other_services_are_not_relayed() -> None:
    found = plan(route(), VERIFICATION, PRINT, CT, UPS_PUSH)
    assert found is not None
    assert relayed(found) == [PRINT, UPS_PUSH]
    assert (found.peer, found.route, found.refused) == ("printer", "relay", {})
    assert [context.id for context in found.contexts] == [3, 7]


@pytest.mark.parametrize("pattern", ['"1.2.826.0.1.3680043.9.3811.99"', '"1.2.826.*"', '["*", "1.2.826.*"]'])
def test_a_route_that_names_a_private_class_by_uid_wins_over_storage(pattern: str) -> None:
    assert relayed(plan(route(sop_class=pattern), PRIVATE, CT)) == [PRIVATE]


@pytest.mark.parametrize("when", [{}, {"sop_class": '"*"'}])
def test_a_route_that_names_no_class_leaves_private_ones_to_storage(when: dict[str, str]) -> None:
    assert plan(route(**when), PRIVATE, CT) is None


def test_stored_prints_stay_with_storage_whatever_a_route_names() -> None:
    assert relayed(plan(route(sop_class='"1.2.840.10008.5.1.1.*"'), STORED_PRINT, PRINTER)) == [PRINTER]
    assert plan(route(sop_class='"*Print*"'), STORED_PRINT) is None


def test_the_other_classes_of_print_management_go_where_the_first_of_them_goes() -> None:
    found = plan(route(sop_class='"*Print*"'), VERIFICATION, PRESENTATION_LUT, PRINT, FILM_SESSION)
    assert relayed(found) == [PRESENTATION_LUT, PRINT, FILM_SESSION]
    assert plan(route(sop_class='"*Print*"'), PRESENTATION_LUT) is None


def test_of_two_destinations_the_one_of_the_first_context_is_asked() -> None:
    routes = route(sop_class='"*Print*"') + route('"other"', name="second", sop_class='"UnifiedProcedureStep*"')
    found = plan(routes, UPS_PUSH, VERIFICATION, PRINT, COLOR_PRINT)
    assert found is not None
    assert (found.peer, found.route, relayed(found)) == ("other", "second", [UPS_PUSH])
    refusal = ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED
    assert found.refused == {5: refusal, 7: refusal}


def test_the_first_route_that_matches_a_context_decides() -> None:
    routes = route('"other"', sop_class='"*Print*"', calling_ae='"CT*"') + route(name="second", sop_class='"*Print*"')
    for calling_ae, peer in (("CT1", "other"), ("WS1", "printer")):
        found = plan(routes, PRINT, sender={"calling_ae": calling_ae})
        assert found is not None
        assert found.peer == peer


@pytest.mark.parametrize(
    ("when", "matches"),
    [
        ({"peer": '"10.0.0.0/8"'}, True),
        ({"peer": '"192.168.0.0/16"'}, False),
        ({"called_ae": '"ROUTER"'}, True),
        ({"called_ae": '"PRINTER"'}, False),
    ],
)
def test_a_relay_is_chosen_by_who_asks_and_who_is_called(when: dict[str, str], matches: bool) -> None:
    assert (plan(route(**when), PRINT) is not None) == matches


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (route(Modality='"CT"'), "when.Modality"),
        (route(transfer_syntax='"JPEG*"'), "when.transfer_syntax"),
        (route('["printer", "other"]'), "to: must be exactly one peer"),
        (route("[]"), "to: is empty"),
    ],
)
def test_what_a_relay_cannot_have_is_a_fault_of_the_configuration(text: str, place: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_config(PEERS + text, Path())
    assert [str(fault) for fault in raised.value.faults if place in str(fault)]
    assert len(raised.value.faults) == 1
