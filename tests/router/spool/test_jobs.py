"""Jobs of the writer: each is listed, so that the writer's `match` is total."""

from typing import get_args

from router.spool import jobs
from router.spool.jobs import Question


def test_every_question_is_one_that_the_writer_answers() -> None:
    defined = {one.__name__ for one in Question.__subclasses__()}  # attrs makes each class twice
    assert {one.__name__ for one in get_args(jobs.Asked)} == defined
