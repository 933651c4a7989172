"""How slowly a message may come in: `timeouts.message`, and what its bytes so far take at `limits.slowest`.

One byte now and then keeps no association for ever, and 4 GB over a slow line are not cut. Only the time counts in
which the router waited for the peer, so that a slow disk of ours is not held against it. Not here: how long nothing
at all may come (`timeouts.idle`).
"""

from router.association.transport import Transport
from router.config import Limits, Timeouts


class MessagePace:
    """Of one connection. It tells nothing by itself: who reads asks for `left` before each read."""

    def __init__(self, transport: Transport, timeouts: Timeouts, limits: Limits) -> None:
        self._transport = transport
        self._allowed = timeouts.message
        self._slowest = limits.slowest
        self._waited = 0.0
        self._received = 0

    def begin(self) -> None:
        """The first byte of a message has come."""
        self._waited, self._received = self._transport.waited, self._transport.bytes_received

    @property
    def left(self) -> float:
        """Seconds that the message may still be waited for; 0 where there are none."""
        grown = (self._transport.bytes_received - self._received) / self._slowest
        return max(0.0, self._allowed + grown - (self._transport.waited - self._waited))

    @property
    def reason(self) -> str:
        received = self._transport.bytes_received - self._received
        waited = self._transport.waited - self._waited
        return (
            f"too slow: the router waited {waited:.0f} s for a message of which {received} bytes came, "
            "more than timeouts.message and limits.slowest allow"
        )
