"""The keys of routes about procedure steps: faults of the configuration, and the plan that a table makes of a step."""

from pathlib import Path

import pytest

from router.config import Config, ConfigError
from router.routing import Facts
from router.services.mpps.policy import StepRoutes
from tests.support.mpps_peers import hub


def config(*routes: str, extra: str = "") -> Config:
    return hub(Path(), *routes, extra=extra, ris=1104, other=1105)


@pytest.mark.parametrize(
    ("route", "path", "words"),
    [
        ('service = "storage"\nto = ["ris"]\nanswer = "ris"', "answer", "routes for mpps only"),
        ('service = "storage"\nto = ["ris"]\nvalidation = "strict"', "validation", "routes for mpps only"),
        ('service = "mpps"\nto = ["ris"]\npatience = "1h"', "patience", "routes for instance-availability only"),
        ('service = "mpps"\nto = ["ris"]\nmissing = "omit"', "missing", "routes for instance-availability only"),
        ('service = "mpps"\nto = ["ris"]\nanswer = "other"', "answer", "one of the peers in `to`"),
        ('service = "mpps"\nto = ["ris"]\nvalidation = "stern"', "validation", "stern"),
        ('service = "instance-availability"\nto = ["ris"]\npatience = "2d"', "patience", "spool.history"),
    ],
)
def test_a_key_that_has_no_meaning_there_is_a_fault(route: str, path: str, words: str) -> None:
    with pytest.raises(ConfigError) as raised:
        config(route)
    (fault,) = raised.value.faults
    assert fault.path.endswith(f".{path}")
    assert words in fault.message


def facts(**changes: str) -> Facts:
    known = {
        "service": "",
        "calling_ae": "CT1",
        "called_ae": "ROUTER",
        "peer": "10.0.0.1",
        "sop_class": "1.2.840.10008.3.1.2.3.3",
        "transfer_syntax": "1.2.840.10008.1.2",
    }
    return Facts(**(known | changes))  # type: ignore[arg-type]


def test_all_routes_of_a_step_make_its_plan() -> None:
    planner = StepRoutes(
        config(
            'service = "mpps"\nto = ["ris"]',
            'service = "mpps"\nto = ["other", "ris"]\nanswer = "other"\nwhen = { calling_ae = "CT*" }',
            'service = "mpps"\nto = ["ris"]\nvalidation = "strict"\nwhen = { calling_ae = "MR*" }',
            'service = "mpps-notification"\nto = ["other"]',
            'service = "instance-availability"\nto = ["ris"]\nwhen = { calling_ae = "CT*" }',
        ).routes
    )
    of_ct, of_mr = planner.policy_for(facts()), planner.policy_for(facts(calling_ae="MR1"))
    assert (of_ct.relay, of_ct.notify, of_ct.inform) == (("ris", "other"), ("other",), ("ris",))
    assert (of_ct.answer, of_ct.strict) == ("other", False)
    assert (of_mr.relay, of_mr.notify, of_mr.inform) == (("ris",), ("other",), ())
    assert (of_mr.answer, of_mr.strict) == ("", True)


def test_a_step_that_no_route_takes_has_an_empty_plan() -> None:
    planner = StepRoutes(config('service = "mpps"\nto = ["ris"]\nwhen = { calling_ae = "MR*" }').routes)
    assert planner.policy_for(facts()).is_empty
