"""The contract between a destination and the protocol by which its peer is reached.

A `Connector` opens channels to one peer. A `Channel` brings deliveries to the peer, up to `window` at a time, and is
used by one task; it knows nothing of queues, retries and other channels (router/delivery). A new protocol is one module
beside `dimse`, and one line in `connectors`.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from router.model import AttemptResult, Cause, PendingDelivery
from router.spool import StoredMessage

Answer = tuple[PendingDelivery, AttemptResult | None]
"""A delivery that the peer has answered, and the result of the attempt; without one, `Channel.deliver` goes on."""


class NoChannel(Exception):
    """No channel could be opened. The site is at fault."""

    def __init__(self, result: AttemptResult) -> None:
        super().__init__(result.reason)
        self.result = result
        """The result of an attempt that cannot be made for this reason."""


class ChannelLost(Exception):
    """The channel cannot be used any more. The peer may or may not have accepted what was under way."""

    def __init__(self, reason: str, cause: Cause = Cause.ABORTED) -> None:
        """`cause` is TIMED_OUT if a response did not come in time."""
        super().__init__(reason)
        self.cause = cause


class Channel(Protocol):
    """An open way to a peer."""

    @property
    def window(self) -> int:
        """Deliveries that may be under way at a time."""

    @property
    def is_alive(self) -> bool:
        """False if the peer is known to have ended it."""

    def carries(self, delivery: PendingDelivery) -> bool:
        """Return whether the delivery can be made on this channel. Cheap: called several times for each delivery."""

    def refusal(self, delivery: PendingDelivery) -> AttemptResult | None:
        """Return the result for a delivery that the peer has refused to have on any channel."""

    async def deliver(self, delivery: PendingDelivery, message: StoredMessage) -> AttemptResult | None:
        """Send a delivery. Return its result if there is one already; else it is under way, and `receive` tells more.

        Called once more after an answer without a result: then do what the delivery needs next, which may be another
        request before it. The caller closes the message when this returns.

        Raises:
            ChannelLost: the channel cannot be used any more.
            SpoolError: the message cannot be read. The channel has to be closed.
        """

    async def receive(self) -> Answer:
        """Wait for the next answer. May be cancelled and called again: nothing is lost.

        Raises:
            ChannelLost: the channel cannot be used any more; also if an answer did not come in time.
        """

    async def wait_closed(self) -> None:
        """Wait until the peer ends the channel, and do meanwhile what the protocol asks for. May be cancelled.

        Raises:
            ChannelLost: the channel cannot be used any more.
        """


class Connector(Protocol):
    """The way to open channels to one peer."""

    def open(self, plan: Sequence[PendingDelivery]) -> AbstractAsyncContextManager[Channel]:
        """Open a channel for deliveries like those of the plan: one of each kind, the most urgent one first.

        At its end the channel is closed in order, or broken off after an exception. The channel need not carry all
        kinds.

        Raises:
            NoChannel: there is none.
        """


class PeerConnector(Connector, Protocol):
    """The way to a peer that can be called.

    The peer's limit of connections holds for deliveries and for operations that services invoke at once together.
    """

    def begin(self, on_shortage: Callable[[], None]) -> None:
        """Use the limits of the peer from now on. `on_shortage` is called when `must_yield` may have become true."""

    def slot(self) -> AbstractAsyncContextManager[None]:
        """Hold the right to one channel while the block lasts. Wait for it, in turn."""

    @property
    def must_yield(self) -> bool:
        """Whether deliveries have to give up a slot, because an operation waits for one."""


class ReverseConnector(Connector, Protocol):
    """A connection that the peer has opened, on which deliveries to the peer may leave while it lasts."""

    @property
    def is_alive(self) -> bool: ...

    async def wait_closed(self) -> None:
        """Wait until the connection has ended."""
