"""Seeded choices: one stream of random numbers per key, so that a design depends on its key alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


class Dice:
    """Random choices from the integers of ``key``: the same key gives the same choices on every run."""

    def __init__(self, *key: int) -> None:
        self.numpy = np.random.Generator(np.random.PCG64(np.random.SeedSequence([part % 2**63 for part in key])))

    def uniform(self, low: float, high: float) -> float:
        return float(self.numpy.uniform(low, high))

    def integer(self, low: int, high: int) -> int:
        """A whole number in ``low..high``, both included."""
        return int(self.numpy.integers(low, high + 1))

    def chance(self, share: float) -> bool:
        return bool(self.numpy.random() < share)

    def pick(self, options: Sequence[T], weights: Sequence[float] | None = None) -> T:
        """One of ``options``, all alike or by ``weights``."""
        if weights is None:
            return options[int(self.numpy.integers(len(options)))]
        bounds = np.cumsum(weights)
        return options[int(np.searchsorted(bounds, self.numpy.random() * bounds[-1], side="right"))]

    def some(self, options: Sequence[T], count: int) -> list[T]:
        """``count`` different ones of ``options`` (all of them, and again from the start, where there are fewer)."""
        out: list[T] = []
        while len(out) < count:
            order = self.numpy.permutation(len(options))
            out.extend(options[int(i)] for i in order[: count - len(out)])
        return out

    def child(self) -> Dice:
        """An own stream, so that what one part draws never shifts another part."""
        return Dice(self.integer(0, 2**62))
