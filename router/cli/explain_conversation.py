"""`explain` for what is not stored: to which peers a query, worklist, retrieve or relayed association would go."""

from typing import Any, Final

import attrs
import click
from attrs import frozen

from router.cli.find import level_of
from router.cli.output import print_line
from router.config import Config
from router.dicom.information_models import MODELS, STUDY_ROOT, WORKLIST
from router.dicom.uids import name_of
from router.routing import Facts, Match, RoutingTable
from router.services.query.options import FindSettings, QuerySettings, WorklistSettings
from router.services.retrieve.options import RetrieveSettings
from router.tools.query.keys import InvalidKey, parse_keys

CONVERSATIONS: Final = ("query", "worklist", "retrieve", "relay")
"""Services whose routes are asked without a file."""


@frozen(kw_only=True)
class Asked:
    """A request of a client, as the command line describes it."""

    model: str | None
    level: str | None
    keys: tuple[str, ...]
    destination: str
    sop_class: str


def explain_conversation(association: Facts, asked: Asked, table: RoutingTable, config: Config) -> dict[str, Any]:
    """Return the routes of a request with the reasons of those that do not match.

    Raises:
        UsageError: the request is none of its service.
    """
    facts = _facts_of(association, asked)
    match = table.match(facts)
    return {
        "service": facts.service,
        "sop_class_uid": facts.sop_class,
        "information_model": facts.information_model,
        "level": facts.level,
        "routes": routes_of(match),
        "destinations": list(match.destinations),
        "refused": _reasons_against(facts, bool(match.destinations), config),
    }


def _facts_of(association: Facts, asked: Asked) -> Facts:
    service = association.service
    if service == "relay":
        if asked.keys or asked.model or asked.level or asked.destination:
            raise click.UsageError("a relayed association has no keys: give --sop-class")
        return attrs.evolve(association, sop_class=asked.sop_class)
    model = MODELS[asked.model or (WORKLIST.name if service == WORKLIST.name else STUDY_ROOT.name)]
    if (model is WORKLIST) != (service == WORKLIST.name):
        raise click.UsageError(f"service {service} does not know the model {model.name}")
    level = level_of(model, asked.level)
    try:
        keys = parse_keys(asked.keys)
    except InvalidKey as error:
        raise click.UsageError(str(error)) from None
    sop_class = model.find
    if service == "retrieve":
        sop_class = model.move if asked.destination else model.get
    return attrs.evolve(
        association,
        sop_class=asked.sop_class or sop_class,
        elements={path[-1]: tuple(value.split("\\")) if value else () for path, value in keys.items()},
        destination=asked.destination,
        information_model="" if model is WORKLIST else model.name,
        level=level,
    )


def _reasons_against(facts: Facts, routed: bool, config: Config) -> list[str]:
    """Return the reasons why the router would refuse the request; none if it would accept it."""
    tables: dict[str, type[FindSettings | RetrieveSettings]] = {
        "query": QuerySettings,
        "worklist": WorklistSettings,
        "retrieve": RetrieveSettings,
    }
    settings = config.options[tables[facts.service]] if facts.service in tables else None
    may_ask = settings is None or settings.calling_ae.matches(facts.calling_ae)
    checks = (
        *access_checks(facts, config),
        (may_ask, f'[{facts.service}] lets "{facts.calling_ae}" ask nothing'),
        (routed, "no route matches it"),
    )
    return [reason for is_met, reason in checks if not is_met]


def access_checks(facts: Facts, config: Config) -> list[tuple[bool, str]]:
    """Return each check of [access], with the reason for which it would refuse."""
    access = config.access
    return [
        (access.peer.matches(facts.peer), f"[access] lets {facts.peer} open no association"),
        (access.calling_ae.matches(facts.calling_ae), f'[access] does not know calling AE "{facts.calling_ae}"'),
        (access.called_ae.matches(facts.called_ae), f'[access] does not know called AE "{facts.called_ae}"'),
    ]


def routes_of(match: Match) -> list[dict[str, Any]]:
    """Return every route with whether it matches, and why not."""
    return [
        {"route": verdict.route, "matched": verdict.matched, "reasons": list(verdict.reasons)}
        for verdict in match.trace
    ]


def show_routes(answer: dict[str, Any]) -> None:
    """Print the routes of an answer."""
    for route in answer["routes"]:
        print_line(f'  route "{route["route"]}": ' + ("matches" if route["matched"] else "; ".join(route["reasons"])))


def show_conversation(answer: dict[str, Any]) -> None:
    """Print what `explain_conversation` returned."""
    level = f", {answer['level']}" if answer["level"] else ""
    print_line(f"{answer['service']}: {name_of(answer['sop_class_uid'])}{level}")
    show_routes(answer)
    if answer["refused"]:
        print_line(f"  => refused: {'; '.join(answer['refused'])}")
    else:
        print_line(f"  => {', '.join(answer['destinations'])}")
