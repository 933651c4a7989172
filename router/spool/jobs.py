"""Jobs for the writer's thread, by name, and how a task waits for the reply.

A job is put in the event loop's thread and done in the writer's; a small commit may be done in the event loop's
thread instead. The writer gives its `Reply` a value or an error, and wakes the task in the event loop's thread. A
task that is cancelled stops waiting; its job is done all the same. A `trio.Event` would not do: it may be set in the
event loop's thread only, and the writer wakes many tasks at once.
"""

from collections.abc import Collection, Mapping
from typing import Generic, TypeAlias, TypeVar

import trio
from attrs import define, field, frozen

from router.model import Envelope, Purpose
from router.spool.incoming import Incoming
from router.spool.ledger.queries import Cursor
from router.spool.ledger.rows import LedgerEntry
from router.spool.ledger.waiting_rows import DuePart, Earlier, Part, Position
from router.spool.message_id import MessageId
from router.spool.values import LocatedDelivery, Place, QueueAction, Receipt, Selection, Totals

T = TypeVar("T")


@define(eq=False)
class Reply(Generic[T]):
    """The wait of one task for one job."""

    error: BaseException | None = None
    abandoned: bool = False
    """The task was cancelled and no longer waits."""
    _value: list[T] = field(factory=list)
    _task: trio.lowlevel.Task | None = None

    @property
    def given(self) -> bool:
        return self.error is not None or bool(self._value)

    @property
    def value(self) -> T:
        """The value that was given.

        Raises:
            BaseException: what `refuse` was given.
        """
        if self.error is not None:
            raise self.error
        return self._value[0]

    def give(self, value: T) -> None:
        """Give a value, unless something was given before. By the writer only."""
        if not self.given:
            self._value.append(value)

    def refuse(self, error: BaseException) -> None:
        """Give an error for `wait` to raise, unless something was given before. By the writer only."""
        if not self.given:
            self.error = error

    async def wait(self) -> T:
        """Wait for the value, after the job was put. Event loop only."""
        if not self.given:
            self._task = trio.lowlevel.current_task()

            def stop_waiting(_: object) -> trio.lowlevel.Abort:
                self._task = None
                self.abandoned = True
                return trio.lowlevel.Abort.SUCCEEDED

            await trio.lowlevel.wait_task_rescheduled(stop_waiting)
        return self.value

    def wake(self) -> None:
        """Wake the task, after something was given. Event loop only."""
        if self._task is not None:
            task, self._task = self._task, None
            trio.lowlevel.reschedule(task)


@define(eq=False)
class Unsure:
    """The reply to a commit that may be a duplicate of large ones: its own task must compare, not the writer."""

    candidates: list[MessageId]
    """In the ledger by the time the reply is given."""


@define(eq=False)
class Commit:
    """Make a message durable."""

    incoming: Incoming
    envelope: Envelope
    reply: "Reply[Receipt | Unsure]" = field(factory=Reply)
    compared: Mapping[MessageId, bool] = field(factory=dict)
    """Whether the bytes of these messages, which were compared already, are the same."""
    unsure: bool = False
    """The reply is `Unsure`: the data set goes back to its task."""
    entry: LedgerEntry | None = None
    """The message that was made durable."""


@frozen(eq=False)
class WriteSoon:
    """Wake up: something waits for the ledger that the writer's thread has not heard of."""


@frozen(eq=False)
class Fail:
    """End: a thread outside the writer's met a disk that fails."""

    error: Exception


@frozen(eq=False)
class Stop:
    """Do what was put before, and end."""


@frozen(eq=False)
class Question(Generic[T]):
    """A job that is done when the ledger is up to date, and whose reply is a `T`."""

    reply: Reply[T] = field(factory=Reply, init=False)


@frozen(eq=False)
class BringUpToDate(Question[None]):
    """Write everything that is known to the ledger, for a reader with a connection of its own."""


@frozen(eq=False)
class ReadFresh(Question[Part]):
    """Read what waits and has not failed, of message ids above `after`."""

    destination: str
    after: MessageId
    limit: int


@frozen(eq=False)
class ReadNewest(Question[list[LocatedDelivery]]):
    """Read what waits and has not failed, from the highest message ids."""

    destination: str
    limit: int


@frozen(eq=False)
class ReadDue(Question[DuePart]):
    """Read what has failed and is due again."""

    destination: str
    after: Position
    limit: int


@frozen(eq=False)
class ReadFirstOfLanes(Question[list[LocatedDelivery]]):
    """Read the first delivery of each lane, if it may begin now."""

    destination: str
    lanes: Collection[str]


@frozen(eq=False)
class LookUpEarlier(Question[Earlier]):
    """Look up earlier deliveries of the message's instance to the same destination."""

    message_id: MessageId
    destination: str


@frozen(eq=False)
class LookUpPlace(Question[Place | None]):
    """Look up where a message lies."""

    message_id: MessageId


@frozen(eq=False)
class LookUpUnfinished(Question[set[tuple[str, int]]]):
    """Look up (destination, purpose) of the deliveries of a message that are not finished."""

    message_id: MessageId


@frozen(eq=False)
class CountDeliveries(Question[dict[str, Totals]]):
    """Count the deliveries of one purpose by destination and state."""

    purpose: Purpose


@frozen(kw_only=True)
class Changed:
    """The result of one step of a change."""

    count: int
    """Deliveries."""
    cursor: Cursor | None
    """The next step goes on after it; None at the end."""


@frozen(eq=False)
class ChangeDeliveries(Question[Changed]):
    """Do one step of what an operator asks for."""

    selection: Selection
    action: QueueAction
    target: str | None
    """The destination for messages that no route wanted."""
    after: Cursor
    limit: int
    """Deliveries in this step."""


@frozen(eq=False)
class SendAgain(Question[bool]):
    """Set a delivery that was made back to waiting, while its message is retained for the destination."""

    message_id: MessageId
    destination: str
    reason: str


@frozen(eq=False)
class SetAside(Question[None]):
    """Move the damaged bytes of a message out of the way, and hold its deliveries."""

    message_id: MessageId
    reason: str


@frozen(eq=False)
class GiveUpSpare(Question[None]):
    """Delete the segment files that are kept to be used again."""


@frozen(eq=False)
class RemoveFile(Question[None]):
    """Delete the file of a data set whose task is gone."""

    incoming: Incoming


Asked: TypeAlias = (
    BringUpToDate
    | ReadFresh
    | ReadNewest
    | ReadDue
    | ReadFirstOfLanes
    | LookUpEarlier
    | LookUpPlace
    | LookUpUnfinished
    | CountDeliveries
    | ChangeDeliveries
    | SendAgain
    | SetAside
    | GiveUpSpare
    | RemoveFile
)
"""Every class of `Question`."""
Answered: TypeAlias = Commit | Asked
"""Jobs with a reply."""
Job: TypeAlias = Answered | WriteSoon | Fail | Stop
