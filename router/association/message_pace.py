"""The longest time that a message may take: `timeouts.message`, plus its bytes so far at `limits.slowest`.

A peer that sends one byte now and then cannot hold an association open, and 4 GB over a slow line are not cut off. Only
the time counts in which the router waits for the peer: a slow disk of the router is not held against the peer. Not
here: the longest silence (`timeouts.idle`).
"""

from router.association.transport import Transport
from router.config import Limits, Timeouts


class MessagePace:
    """The pace of one message after the other on a connection. The reader asks for `left` before each read."""

    def __init__(self, transport: Transport, timeouts: Timeouts, limits: Limits) -> None:
        self._transport = transport
        self._allowed = timeouts.message
        self._slowest = limits.slowest
        self._waited = 0.0
        self._received = 0

    def begin(self) -> None:
        """Note that the first byte of a message has come."""
        self._waited, self._received = self._transport.waited, self._transport.bytes_received

    @property
    def left(self) -> float:
        """Seconds that the router may still wait for the message; 0 if it is too slow."""
        grown = (self._transport.bytes_received - self._received) / self._slowest
        return max(0.0, self._allowed + grown - (self._transport.waited - self._waited))

    @property
    def reason(self) -> str:
        """Why the association of a message that is too slow is aborted."""
        received = self._transport.bytes_received - self._received
        waited = self._transport.waited - self._waited
        return (
            f"too slow: the router waited {waited:.0f} s for a message of which {received} bytes came, "
            "more than timeouts.message and limits.slowest allow"
        )
