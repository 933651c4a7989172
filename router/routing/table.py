"""The routing table: from facts about a message to its destinations.

A route matches if it is for the message's service and all of its conditions are met. Every route that matches adds its
destinations, in the order of the file; each destination is added once; routes after a final one that matches are not
looked at. The same facts always give the same result, which the caller freezes into the envelope. Not here: conditions
(`rules`) and reading a data set (`router.dicom.scanner`).
"""

from collections.abc import Iterable
from functools import cached_property

from attrs import define, frozen

from router.config import Route
from router.routing.facts import Facts
from router.routing.rules import CompiledCondition, compile_condition


@frozen(kw_only=True)
class RouteExplanation:
    """Whether one route matches, and why not."""

    route: str
    matched: bool
    reasons: tuple[str, ...] = ()
    """Texts that say why it does not match: one for each condition that is not met."""


@frozen
class _CompiledRoute:
    """A route with its compiled conditions."""

    route: Route
    conditions: tuple[CompiledCondition, ...]

    def matches(self, facts: Facts) -> bool:
        return all(condition.is_met(facts) for condition in self.conditions)

    def may_match(self, facts: Facts) -> bool:
        """Whether a message of the association with these facts may match."""
        return all(condition.is_met(facts) for condition in self.conditions if condition.is_of_association)

    @property
    def is_decided_by_association(self) -> bool:
        return all(condition.is_of_association for condition in self.conditions)

    def explain_skip(self, final: str) -> RouteExplanation:
        reason = f'it is not looked at: "{final}" before it is final'
        return RouteExplanation(route=self.route.name, matched=False, reasons=(reason,))

    def explain(self, facts: Facts) -> RouteExplanation:
        reasons = tuple(
            condition.explain_mismatch(facts) for condition in self.conditions if not condition.is_met(facts)
        )
        if self.route.service != facts.service:
            reasons = (f'it is for service "{self.route.service}", not "{facts.service}"',)
        return RouteExplanation(route=self.route.name, matched=not reasons, reasons=reasons)


@define(frozen=True, kw_only=True, slots=False)
class Match:
    """The destinations of a message."""

    destinations: tuple[str, ...]
    """Peer names, in order, none twice; empty where no route matches."""
    routes: tuple[str, ...]
    """The names of the routes that matched, in order."""
    _entries: tuple[_CompiledRoute, ...]
    _facts: Facts

    @cached_property
    def trace(self) -> tuple[RouteExplanation, ...]:
        """One explanation for each route of the table, in its order; made when first asked for."""
        explanations: list[RouteExplanation] = []
        final = ""
        for entry in self._entries:
            explanation = entry.explain_skip(final) if final else entry.explain(self._facts)
            if explanation.matched and entry.route.final:
                final = entry.route.name
            explanations.append(explanation)
        return tuple(explanations)


class RoutingTable:
    """The routes of a configuration."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._entries = tuple(_CompiledRoute(route, tuple(map(compile_condition, route.when))) for route in routes)
        self.elements: frozenset[int] = frozenset(
            condition.tag for entry in self._entries for condition in entry.route.when if condition.tag is not None
        )
        """Tags of all elements in conditions: `Facts.elements` must hold those that the data set has."""

    def match(self, facts: Facts) -> Match:
        """Return the destinations of the message with these facts."""
        destinations: dict[str, None] = {}
        routes: list[str] = []
        for entry in self._entries:
            if entry.route.service == facts.service and entry.matches(facts):
                destinations |= dict.fromkeys(entry.route.to)
                routes.append(entry.route.name)
                if entry.route.final:
                    break
        return Match(destinations=tuple(destinations), routes=tuple(routes), entries=self._entries, facts=facts)

    def reachable(self, facts: Facts) -> tuple[str, ...]:
        """Return the destinations that a message of the association with these facts may have, whatever it contains."""
        destinations: dict[str, None] = {}
        for entry in self._entries:
            if entry.route.service == facts.service and entry.may_match(facts):
                destinations |= dict.fromkeys(entry.route.to)
                if entry.route.final and entry.is_decided_by_association:
                    break
        return tuple(destinations)
