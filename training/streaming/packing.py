"""Samples of a window become micro-batches under the token budget, in an order that keeps ranks even."""

from __future__ import annotations

from bisect import bisect_right
from itertools import chain

import numpy as np
import numpy.typing as npt

from training.streaming.config import PlanConfig
from training.streaming.draws import UInt64, hashed

Int64 = npt.NDArray[np.int64]

PIECE = 4096
"""Samples that are packed together, at most: more pack no better, and slower."""
ROOM = 2
"""A micro-batch with room for so many of the largest sample takes a middling one, so that all cost about the same."""
TOLERANCE = 0.4
"""Of the smallest sample: room that may be left without a search for two samples that leave less."""
TRIES = 4
"""Samples from which a second is looked for."""


def pack_window(tokens: Int64, keys: UInt64, config: PlanConfig, salt: int, last: int) -> tuple[Int64, Int64, int]:
    """Pack samples of ``tokens`` [n] and ``keys`` [n] (each sample's own, drawn anew each epoch).

    Returns the samples [n], as places in ``tokens``, one micro-batch after another; the sizes of these [m]; and the
    attention cost of the last one. ``last`` is that of the micro-batch before, which this window begins alike.
    """
    shuffled = np.argsort(keys, kind="stable")
    bins: list[list[int]] = []
    for piece in np.array_split(shuffled, -(-len(shuffled) // PIECE)):
        ascending = piece[np.argsort(tokens[piece], kind="stable")]
        bins += fill(tokens[ascending].tolist(), ascending.tolist(), config.token_budget)
    sizes = np.fromiter(map(len, bins), np.int64, len(bins))
    samples = np.fromiter(chain.from_iterable(bins), np.int64, len(tokens))
    starts = np.cumsum(sizes) - sizes
    cost = np.add.reduceat(np.square(tokens[samples].astype(np.uint64)), starts)
    order = arrange(cost, config.balance, salt, last)
    return (
        np.concatenate([samples[starts[i] : starts[i] + sizes[i]] for i in order]),
        sizes[order],
        int(cost[order[-1]]),
    )


def fill(sizes: list[int], ids: list[int], budget: int) -> list[list[int]]:
    """Bins of samples with at most ``budget`` tokens each; a sample over it is alone. Uses up its lists.

    ``sizes`` ascend and belong to ``ids``. A bin begins with the largest sample that is left. While it has ample room
    it takes middling ones, so that large and small samples spread over the bins and the bins cost alike; then always
    the largest that fits. The one that would end it is exchanged for two where these leave less room.
    """
    bins = []
    while sizes:
        room, taken = budget - sizes.pop(), [ids.pop()]
        while sizes and sizes[0] <= room:
            for place in (len(sizes) // 2,) if room >= ROOM * sizes[-1] else _ending(sizes, room):
                room -= sizes.pop(place)
                taken.append(ids.pop(place))
        bins.append(taken)
    return bins


def _ending(sizes: list[int], room: int) -> tuple[int, ...]:
    """Which samples to take next, as places in ``sizes``, the largest place first."""
    one = bisect_right(sizes, room) - 1
    left = room - sizes[one]
    if left >= sizes[0] or left <= TOLERANCE * sizes[0] or one == 0:
        return (one,)
    best: tuple[int, ...] = (one,)
    half = bisect_right(sizes, room // 2) - 1
    for first in range(half, max(half - TRIES, 0), -1):
        second = bisect_right(sizes, room - sizes[first]) - 1
        second -= second == first
        if second >= 0 and room - sizes[first] - sizes[second] < left:
            left = room - sizes[first] - sizes[second]
            best = (max(first, second), min(first, second))
    return best


def arrange(cost: UInt64, balance: int, salt: int, last: int) -> Int64:
    """An order of micro-batches in which any few consecutive ones cost about the same.

    Sorted by ``cost`` they are cut into runs of about ``balance``, which are shuffled; each run ascends or descends,
    whichever begins nearer to the cost before it.
    """
    ascending = np.argsort(cost, kind="stable")
    runs = np.array_split(ascending, max(1, round(len(cost) / balance)))
    shuffled = np.argsort(hashed(np.arange(len(runs), dtype=np.uint64), salt), kind="stable")
    out = []
    for run in (runs[number] for number in shuffled):
        low, high = int(cost[run[0]]), int(cost[run[-1]])
        descends = abs(high - last) < abs(low - last)
        out.append(run[::-1] if descends else run)
        last = low if descends else high
    return np.concatenate(out)
