"""Files to a peer, over as many associations as it takes. Data sets leave as they stand in their files.

A file that fails is told and left behind; the next goes on. An association that ends early is opened again for what
is left, but not for ever: a peer that does not let one in, or ends several in a row, fails all that is left.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Final

import trio
from attrs import define, frozen

from router.association import AssociationError, RemoteAE, Requestor, plan_contexts
from router.config import Timeouts
from router.dimse import DATA_SET, Command, CommandField, Priority, StatusClass, describe, status_class
from router.tools.send.instance import Instance, batches

_PATIENCE: Final = 3
"""Associations that may end early, one after another without a success, before the peer is given up."""


class SendOutcome(Enum):
    """How a file fared."""

    STORED = "stored"
    WARNING = "stored with a warning"
    FAILED = "failed"


@frozen(kw_only=True)
class Sent:
    """What became of one file."""

    instance: Instance
    verdict: SendOutcome
    words: str
    """The peer's status, or why there is none."""


Tell = Callable[[Sent], None]


async def send(instances: Iterable[Instance], target: RemoteAE, timeouts: Timeouts, tell: Tell) -> int:
    """Send all of them, and `tell` of each as soon as its fate is known. Returns how many associations it took."""
    carrier = _Carrier(target, timeouts, tell)
    for batch in batches(instances):
        await carrier.carry(deque(batch))
    return carrier.associations


@define
class _Carrier:
    """One call of `send`."""

    _target: RemoteAE
    _timeouts: Timeouts
    _tell: Tell
    associations: int = 0
    _strikes: int = 0
    _given_up: str = ""

    async def carry(self, queue: deque[Instance]) -> None:
        """One batch, to its end."""
        while queue and not self._given_up:
            self._strikes += 1
            try:
                await self._associate(queue)
            except AssociationError as error:
                if self._strikes >= _PATIENCE:
                    self._given_up = str(error)
            except (OSError, EOFError):
                self._strikes = 0  # the file's fault, which has been told; the peer could not help it
        for instance in queue:
            self._failed(instance, self._given_up)

    async def _associate(self, queue: deque[Instance]) -> None:
        """One association, for as much of the queue as it lives for."""
        contexts = plan_contexts([instance.pair for instance in queue])
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
        context = association.contexts.get(instance.pair)
        if context is None:
            self._failed(instance, association.refused[instance.pair])
            return
        try:
            data = _Data(instance)
        except OSError as error:
            self._failed(instance, str(error))
            return
        try:
            response = await association.request(context, _request(instance), data)
        except (AssociationError, OSError, EOFError) as error:  # half a message may have left: abort
            self._failed(instance, str(error))
            raise
        finally:
            data.close()
        self._strikes = 0
        words = describe(response.status, "storage")
        if comment := response.command.error_comment:
            words += f" ({comment})"
        self._tell(Sent(instance=instance, verdict=_verdict(response.status), words=words))

    def _failed(self, instance: Instance, words: str) -> None:
        self._tell(Sent(instance=instance, verdict=SendOutcome.FAILED, words=words))


def _verdict(status: int) -> SendOutcome:
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
    """The data set of a file, as an association reads it."""

    def __init__(self, instance: Instance) -> None:
        self.data_length = instance.length
        self._begin = instance.offset
        self._fd = os.open(instance.path, os.O_RDONLY | os.O_CLOEXEC)

    async def read_into(self, buffer: memoryview, offset: int) -> int:
        await trio.lowlevel.checkpoint()
        return os.preadv(self._fd, [buffer], self._begin + offset)

    def close(self) -> None:
        os.close(self._fd)
