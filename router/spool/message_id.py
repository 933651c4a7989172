"""Message ids: the node that accepted a message, and the sequence number that the node gave it.

An id is one integer of at most 52 bits, so that SQLite, JSON and the record header hold it as a plain number. A router
that stands alone is node 0: its ids are its sequence numbers.
"""

from typing import Final, TypeAlias

MessageId: TypeAlias = int

NODE: Final = 0
"""The node of this router."""
_SEQUENCE_BITS: Final = 40
"""A thousand messages a second use them up in 34 years."""
_MOST_NODES: Final = 1 << 12


def message_id(sequence: int, node: int = NODE) -> MessageId:
    """Build an id.

    Raises:
        ValueError: the node or the sequence number is out of range.
    """
    if not (0 <= node < _MOST_NODES and 0 < sequence < 1 << _SEQUENCE_BITS):
        raise ValueError(f"no message id has node {node} and sequence number {sequence}")
    return node << _SEQUENCE_BITS | sequence


def node_of(message: MessageId) -> int:
    """Return the node that accepted the message."""
    return message >> _SEQUENCE_BITS


def sequence_of(message: MessageId) -> int:
    """Return the sequence number that its node gave the message."""
    return message & ((1 << _SEQUENCE_BITS) - 1)
