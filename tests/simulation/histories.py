"""Histories are played to their end, without a stopwatch and without a log."""

import structlog
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test


def play(machine: type[RuleBasedStateMachine], examples: int) -> None:
    """So many of them."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))  # crashes by the hundred are loud
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
