"""What all tests share: Hypothesis without a stopwatch, and longer runs where `make fuzz` asks for them."""

import logging
import os
import sys
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import HealthCheck, settings

# No deadline: other work on the machine must not fail a property. The examples are the same in every run of CI.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("default"), derandomize=True)
settings.register_profile("fuzz", settings.get_profile("default"), max_examples=20_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "default"))


@pytest.fixture(autouse=True)
def logs_as_they_were() -> Iterator[None]:
    """What a test says about the logs is not true of the next one."""
    before, hook = structlog.get_config(), sys.unraisablehook
    yield
    structlog.configure(**before)
    logging.captureWarnings(False)
    sys.unraisablehook = hook
