"""Several templates, and which of them is sent as object number n."""

import random
from collections.abc import Callable
from typing import Final

from attrs import field, frozen

from router.tools.bench.errors import BenchError
from router.tools.bench.objects import Template

_ROUND: Final = 1000
"""Objects after which the same order comes again."""


@frozen
class Mixture:
    """Templates with their weights, in an order that looks random and is the same in every run; without weights one
    after the other."""

    templates: tuple[Template, ...]
    weights: tuple[float, ...] = ()
    _order: tuple[int, ...] = field(init=False, repr=False)

    @_order.default
    def _drawn(self) -> tuple[int, ...]:
        if not self.weights:
            return tuple(range(len(self.templates)))
        return tuple(random.Random(1).choices(range(len(self.templates)), self.weights, k=_ROUND))

    def index(self, number: int) -> int:
        """Which template object `number` is made of."""
        return self._order[number % len(self._order)]


def read_mixture(text: str, size: Callable[[str], int]) -> list[tuple[float, int]]:
    """(weight, bytes) of each line of a mix file: "70 12KB"; what follows a # is a remark. `size` reads a size.

    Raises:
        BenchError: a line says something else.
    """
    parts = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            weight, of = words
            parts.append((float(weight), size(of)))
        except ValueError as error:
            raise BenchError(f'line {number}: {error}; a line is a weight and a size, like "70 12KB"') from None
        if not 0 < parts[-1][0] < float("inf"):
            raise BenchError(f"line {number}: a weight must be more than nothing")
    if not parts:
        raise BenchError("there is no line in it with a weight and a size")
    return parts
