"""The load: what to send and on which schedule (pure). `generator` sends it.

With a rate the load is an open loop: an object is due at its time whether or not those before it are answered, and its
latency counts from that time. So a peer that stalls is charged for all objects that had to wait meanwhile, which a
sender that waits for responses would leave out (coordinated omission).
"""

import random
from collections.abc import Callable
from typing import Final

from attrs import field, frozen

from router.tools.bench.errors import BenchError
from router.tools.bench.objects import Template

_ORDER_LENGTH: Final = 1000
"""Objects after which the order of a mixture repeats."""


@frozen
class Mixture:
    """Templates with their weights, in an order that looks random and is the same in every run.

    Without weights, the templates follow one another.
    """

    templates: tuple[Template, ...]
    weights: tuple[float, ...] = ()
    _order: tuple[int, ...] = field(init=False, repr=False)

    @_order.default
    def _draw_order(self) -> tuple[int, ...]:
        if not self.weights:
            return tuple(range(len(self.templates)))
        return tuple(random.Random(1).choices(range(len(self.templates)), self.weights, k=_ORDER_LENGTH))

    def index(self, number: int) -> int:
        """Return the index of the template that object `number` is made of."""
        return self._order[number % len(self._order)]


def read_mixture(text: str, size: Callable[[str], int]) -> list[tuple[float, int]]:
    """Return weight and bytes of each line of a mix file: "70 12KB". A # begins a comment; `size` parses a size.

    Raises:
        BenchError: a line has another form.
    """
    parts = []
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.partition("#")[0].split()
        if not fields:
            continue
        try:
            weight, of = fields
            parts.append((float(weight), size(of)))
        except ValueError as error:
            raise BenchError(f'line {number}: {error}; expected a weight and a size, like "70 12KB"') from None
        if not 0 < parts[-1][0] < float("inf"):
            raise BenchError(f"line {number}: a weight must be greater than zero")
    if not parts:
        raise BenchError("no line with a weight and a size")
    return parts


@frozen(kw_only=True)
class Schedule:
    """When each object is due, and when there are no more (pure). `objects`, `seconds` or both set the end."""

    start: float
    """Seconds of the monotonic clock."""
    rate: float | None = None
    """Objects/s; None sends as fast as the peer answers."""
    objects: int | None = None
    seconds: float | None = None

    def due(self, number: int) -> float | None:
        """Return when object `number`, counted from 0, is due; None is as soon as possible."""
        return None if self.rate is None else self.start + number / self.rate

    def is_over(self, number: int, now: float) -> bool:
        """Return whether object `number` is beyond the end of the load."""
        if self.objects is not None and number >= self.objects:
            return True
        if self.seconds is None:
            return False
        due = self.due(number)
        return (now if due is None else due) >= self.start + self.seconds


@frozen(kw_only=True)
class Load:
    """What to send, how much of it, how fast and how."""

    mixture: Mixture
    objects: int | None = None
    seconds: float | None = None
    rate: float | None = None
    """Objects/s; None sends as fast as the peer answers."""
    associations: int = 1
    nagle: bool = False
