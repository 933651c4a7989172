"""Pass the progress of instances and of N-ACTIONs on to the transaction actors that wait for it.

Not here: what an actor does with it (transaction_actor.py).
"""

from collections.abc import Collection
from typing import Final, Protocol

import trio

from router.model import AttemptResult

_TURN: Final = 5000
"""Instances that are subscribed to in one turn of the event loop: some 5 ms."""


class Subscriber(Protocol):
    """An actor that waits for instances and for responses to its N-ACTIONs. All methods return at once."""

    def instance_arrived(self, uid: str) -> None:
        """Note that an instance was committed to the spool."""

    def instance_settled(self, archive: str, uid: str) -> None:
        """Note that the delivery of an instance to an archive is delivered or held."""

    def request_settled(self, archive: str, result: AttemptResult) -> None:
        """Note that the N-ACTION to an archive is delivered or held."""


class Subscriptions:
    """The instances and N-ACTIONs that each actor waits for."""

    def __init__(self) -> None:
        self._subscribers: dict[str, set[Subscriber]] = {}
        """By SOP Instance UID."""
        self._instances: dict[Subscriber, set[str]] = {}
        self._requests: dict[str, tuple[Subscriber, str]] = {}
        """The actor and the archive, by the Transaction UID of the N-ACTION."""

    async def add(self, actor: Subscriber, uids: Collection[str]) -> None:
        """Subscribe an actor to further instances."""
        known = self._instances.setdefault(actor, set())
        for number, uid in enumerate(uids):
            known.add(uid)
            self._subscribers.setdefault(uid, set()).add(actor)
            await _yield_after_turn(number)

    async def limit(self, actor: Subscriber, uids: Collection[str]) -> None:
        """End the subscriptions of an actor to all instances but these."""
        for number, uid in enumerate(self._instances.get(actor, set()).difference(uids)):
            self._unsubscribe(actor, uid)
            self._instances[actor].discard(uid)
            await _yield_after_turn(number)

    def add_request(self, actor: Subscriber, archive: str, uid: str) -> None:
        """Subscribe an actor to the end of its N-ACTION with this Transaction UID."""
        self._requests[uid] = actor, archive

    def remove(self, actor: Subscriber) -> None:
        """End all subscriptions of an actor."""
        for uid in self._instances.pop(actor, ()):
            self._unsubscribe(actor, uid)
        for uid in [uid for uid, (requesting, _) in self._requests.items() if requesting is actor]:
            del self._requests[uid]

    def _unsubscribe(self, actor: Subscriber, uid: str) -> None:
        self._subscribers[uid].discard(actor)
        if not self._subscribers[uid]:
            del self._subscribers[uid]

    # Called when something has happened

    def instance_arrived(self, uid: str) -> None:
        """Tell the actors that wait for an instance that it was committed to the spool."""
        for actor in self._subscribers.get(uid, ()):
            actor.instance_arrived(uid)

    def instance_settled(self, archive: str, uid: str) -> None:
        """Tell the actors that wait for an instance that its delivery to an archive is delivered or held."""
        for actor in self._subscribers.get(uid, ()):
            actor.instance_settled(archive, uid)

    def request_settled(self, uid: str, result: AttemptResult) -> None:
        """Tell the actor of an N-ACTION that it is delivered or held. `uid` is its Transaction UID."""
        if uid in self._requests:
            actor, archive = self._requests[uid]
            actor.request_settled(archive, result)


async def _yield_after_turn(number: int) -> None:
    if number % _TURN == _TURN - 1:
        await trio.lowlevel.checkpoint()
