"""What the event loop asks of the writer's thread, and how it waits for the answer.

A job is put in one thread and taken in the other. Its `Reply` is given a value or an error by the writer, and wakes
its task in the event loop's thread. A task that is cancelled stops waiting; the job is done all the same.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import trio
from attrs import define, field

from router.model import Envelope
from router.spool.incoming import Incoming
from router.spool.ledger.ledger import SettledDelivery
from router.spool.values import Receipt

if TYPE_CHECKING:
    from router.spool.writer import Writer

T = TypeVar("T")


@define(eq=False)
class Reply(Generic[T]):
    """One task's wait for one job."""

    error: BaseException | None = None
    abandoned: bool = False
    """The task was cancelled and takes no answer."""
    _value: list[T] = field(factory=list)
    _task: trio.lowlevel.Task | None = None

    @property
    def given(self) -> bool:
        return self.error is not None or bool(self._value)

    @property
    def value(self) -> T:
        """Raises what `refuse` was given."""
        if self.error is not None:
            raise self.error
        return self._value[0]

    def give(self, value: T) -> None:
        """In the writer's thread. What was given first counts."""
        if not self.given:
            self._value.append(value)

    def refuse(self, error: BaseException) -> None:
        """As `give`, with what `wait` is to raise."""
        if not self.given:
            self.error = error

    async def wait(self) -> T:
        """In the event loop's thread, after the job was put."""
        if not self.given:
            self._task = trio.lowlevel.current_task()

            def stop_waiting(_: object) -> trio.lowlevel.Abort:
                self._task = None
                self.abandoned = True
                return trio.lowlevel.Abort.SUCCEEDED

            await trio.lowlevel.wait_task_rescheduled(stop_waiting)
        return self.value

    def wake(self) -> None:
        """In the event loop's thread, when the result is there."""
        if self._task is not None:
            task, self._task = self._task, None
            trio.lowlevel.reschedule(task)


@define(eq=False)
class Unsure:
    """The answer to a commit that may be a duplicate of large ones: somebody must compare, and not the writer."""

    candidates: list[int]
    """Message ids, in the ledger by the time the answer is given."""


@define(eq=False)
class Commit:
    """Make this message durable."""

    incoming: Incoming
    envelope: Envelope
    answer: "Reply[Receipt | Unsure]" = field(factory=Reply)
    compared: Mapping[int, bool] = field(factory=dict)
    """Message ids with which the bytes were compared already, and whether they are the same."""
    unsure: bool = False
    """The answer is `Unsure`: the data set goes back to its task."""


@define(eq=False)
class Settle:
    """Write down what became of an attempt."""

    outcome: SettledDelivery


@define(eq=False)
class Ask(Generic[T]):
    """Run something between two turns, in the writer's thread: a query, or a change by hand."""

    question: "Callable[[Writer], T]"
    answer: Reply[T] = field(factory=Reply)


@define(eq=False)
class Fail:
    """Somebody else met a disk that does not keep its word: end."""

    error: Exception


@define(eq=False)
class Stop:
    """Do what was put before, and end."""


Job = Commit | Settle | Ask[Any] | Fail | Stop
