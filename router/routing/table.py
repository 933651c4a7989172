"""The routing table: from the facts about a message to the destinations it goes to.

Every route that matches adds its destinations, in the order of the file; a destination is never taken twice; a route
that matches and is final is the last one looked at. A route matches if it is for the message's service and all its
conditions are met. The same facts always give the same answer: the caller freezes it into the message's record.
Not here: the conditions themselves (`rules`) and reading a data set (`scanner`).
"""

from collections.abc import Iterable
from functools import cached_property

from attrs import define, frozen

from router.config import Route
from router.routing.facts import Facts
from router.routing.rules import CompiledCondition, rule


@frozen(kw_only=True)
class RouteVerdict:
    """What the table says of one route."""

    route: str
    matched: bool
    reasons: tuple[str, ...] = ()
    """In words, why it does not match: one for each condition that is not met."""


@frozen
class _Line:
    """A route, ready to be asked."""

    route: Route
    rules: tuple[CompiledCondition, ...]

    def matches(self, facts: Facts) -> bool:
        return all(rule.met(facts) for rule in self.rules)

    def passed_over(self, final: str) -> RouteVerdict:
        reason = f'it is not looked at: "{final}" before it is final'
        return RouteVerdict(route=self.route.name, matched=False, reasons=(reason,))

    def verdict(self, facts: Facts) -> RouteVerdict:
        reasons = tuple(rule.why_not(facts) for rule in self.rules if not rule.met(facts))
        if self.route.service != facts.service:
            reasons = (f'it is for service "{self.route.service}", not "{facts.service}"',)
        return RouteVerdict(route=self.route.name, matched=not reasons, reasons=reasons)


@define(frozen=True, kw_only=True, slots=False)
class Match:
    """Where a message goes."""

    destinations: tuple[str, ...]
    """Peer names, in order, none twice; empty where no route matches."""
    routes: tuple[str, ...]
    """The names of the routes that matched, in order."""
    _lines: tuple[_Line, ...]
    _facts: Facts

    @cached_property
    def trace(self) -> tuple[RouteVerdict, ...]:
        """One verdict for each route of the table, in its order. For people: made when it is asked for."""
        verdicts: list[RouteVerdict] = []
        final = ""
        for line in self._lines:
            verdict = line.passed_over(final) if final else line.verdict(self._facts)
            if verdict.matched and line.route.final:
                final = line.route.name
            verdicts.append(verdict)
        return tuple(verdicts)


class RoutingTable:
    """The routes of a configuration."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._lines = tuple(_Line(route, tuple(map(rule, route.when))) for route in routes)
        self.elements: frozenset[int] = frozenset(
            condition.tag for line in self._lines for condition in line.route.when if condition.tag is not None
        )
        """The tags of all elements that conditions are about: what `Facts.elements` must tell of a data set."""

    def match(self, facts: Facts) -> Match:
        """Where the message goes, decided by nothing but the facts."""
        destinations: dict[str, None] = {}
        routes: list[str] = []
        for line in self._lines:
            if line.route.service == facts.service and line.matches(facts):
                destinations |= dict.fromkeys(line.route.to)
                routes.append(line.route.name)
                if line.route.final:
                    break
        return Match(destinations=tuple(destinations), routes=tuple(routes), lines=self._lines, facts=facts)
