"""Send files to a peer, over as many associations as needed, with data sets unchanged.

A file that fails is reported, and the next is sent. An association that ends early is opened again for the remaining
files; they all fail if the peer rejects an association or ends several in a row.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Final

import trio
from attrs import define, frozen

from router.association import AssociationError, InOrder, RemoteAE, Requestor, plan_contexts
from router.config import Timeouts
from router.dimse import DATA_SET, Command, CommandField, Priority, StatusClass, describe, status_class
from router.tools.send.instance import Instance, batches

_MOST_FAILURES: Final = 3
"""Associations in a row that may end early without a success, before the peer is given up."""


class SendOutcome(Enum):
    """The outcome of sending a file."""

    STORED = "stored"
    WARNING = "stored with a warning"
    FAILED = "failed"


@frozen(kw_only=True)
class Sent:
    """The result of sending one file."""

    instance: Instance
    outcome: SendOutcome
    reason: str
    """The peer's status, or why there is none."""


Report = Callable[[Sent], None]


async def send(instances: Iterable[Instance], target: RemoteAE, timeouts: Timeouts, report: Report) -> int:
    """Send all instances, and call `report` with each result as soon as it is known. Return the associations opened."""
    sender = _Sender(target, timeouts, report)
    for batch in batches(instances):
        await sender.send_batch(deque(batch))
    return sender.associations


@define
class _Sender:
    """One call of `send`."""

    _target: RemoteAE
    _timeouts: Timeouts
    _report: Report
    associations: int = 0
    _failures: int = 0
    _given_up: str = ""

    async def send_batch(self, queue: deque[Instance]) -> None:
        """Send or fail every instance of the queue."""
        while queue and not self._given_up:
            self._failures += 1
            try:
                await self._associate(queue)
            except AssociationError as error:
                if self._failures >= _MOST_FAILURES:
                    self._given_up = str(error)
            except (OSError, EOFError):
                self._failures = 0  # the file's fault, which was reported, and not the peer's
        for instance in queue:
            self._report_failure(instance, self._given_up)

    async def _associate(self, queue: deque[Instance]) -> None:
        """Send from the queue over one association, until it is empty or the association ends."""
        contexts = plan_contexts([instance.syntaxes for instance in queue])
        try:
            association = await Requestor.open(self._target, contexts, self._timeouts)
        except AssociationError as error:
            self._given_up = str(error)
            raise
        self.associations += 1
        async with association:
            while queue:
                await self._store(association, queue.popleft())

    async def _store(self, association: Requestor, instance: Instance) -> None:
        context = association.contexts.get(instance.syntaxes)
        if context is None:
            self._report_failure(instance, association.refused[instance.syntaxes])
            return
        try:
            data = _Data(instance)
        except OSError as error:
            self._report_failure(instance, str(error))
            return
        try:
            response = await association.request(context, _request(instance), InOrder(data))
        except (AssociationError, OSError, EOFError) as error:  # part of the message may have been sent: abort
            self._report_failure(instance, str(error))
            raise
        finally:
            data.close()
        self._failures = 0
        reason = describe(response.status, "storage")
        if comment := response.command.error_comment:
            reason += f" ({comment})"
        self._report(Sent(instance=instance, outcome=_outcome(response.status), reason=reason))

    def _report_failure(self, instance: Instance, reason: str) -> None:
        self._report(Sent(instance=instance, outcome=SendOutcome.FAILED, reason=reason))


def _outcome(status: int) -> SendOutcome:
    match status_class(status):
        case StatusClass.SUCCESS:
            return SendOutcome.STORED
        case StatusClass.WARNING:
            return SendOutcome.WARNING
        case _:
            return SendOutcome.FAILED


def _request(instance: Instance) -> Command:
    return Command(
        field=CommandField.C_STORE_RQ,
        affected_sop_class_uid=instance.sop_class_uid,
        affected_sop_instance_uid=instance.sop_instance_uid,
        priority=Priority.MEDIUM,
        data_set_type=DATA_SET,
    )


class _Data:
    """The data set of a file, as a source for an association."""

    def __init__(self, instance: Instance) -> None:
        self.data_length = instance.length
        self._begin = instance.offset
        self._fd = os.open(instance.path, os.O_RDONLY | os.O_CLOEXEC)

    async def read_into(self, buffer: memoryview, offset: int) -> int:
        await trio.lowlevel.checkpoint()
        return os.preadv(self._fd, [buffer], self._begin + offset)

    def close(self) -> None:
        os.close(self._fd)
