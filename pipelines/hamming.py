"""Finding all near hashes exactly: banded hashing by the pigeonhole principle.

Two hashes that differ in at most d bits agree wholly in at least one of d + 1 disjoint bands of bits, so comparing the
hashes that share a band finds every pair (Norouzi et al., Fast Exact Search in Hamming Space, 2014, at its simplest).
"""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint8]
"""``[n, bytes]``, one packed hash a row."""

LEAST_BANDS = 8
"""More bands than needed are exact too; below this many a band would not fit into 32 bits of a 256-bit hash."""


def distances(hashes: Hashes, one: Hashes) -> npt.NDArray[np.int64]:
    """The number of bits in which each of ``hashes`` differs from ``one`` (``[bytes]``)."""
    apart: npt.NDArray[np.int64] = np.bitwise_count(hashes ^ one).sum(axis=1, dtype=np.int64)
    return apart


class BandIndex:
    """For each of n hashes, the earlier ones within ``distance`` bits. About ``12 * (distance + 1)`` bytes a hash."""

    def __init__(self, hashes: Hashes, distance: int) -> None:
        self._hashes = hashes
        self._distance = distance
        self._bands = [_Band(_keys(hashes, low, high)) for low, high in _edges(hashes.shape[1] * 8, distance)]

    def crowded(self) -> npt.NDArray[np.intp]:
        """The positions, ascending, that share a band with an earlier hash: only these can have one near them."""
        some = np.zeros(len(self._hashes), bool)
        for band in self._bands:
            some |= band.position > band.start
        return np.flatnonzero(some)

    def earlier(self, position: int, alive: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
        """(distance, position) of the ``alive`` hashes before ``position`` that are near it, nearest first."""
        shared = [band.order[band.start[position] : band.position[position]] for band in self._bands]
        found = np.concatenate(shared)
        found = np.unique(found[alive[found]])
        apart = distances(self._hashes[found], self._hashes[position])
        near = apart <= self._distance
        return sorted(zip(apart[near].tolist(), found[near].tolist(), strict=True))


class _Band:
    """Hashes grouped by one band: ``order`` lists them group by group, ascending in each; hash i lies in it at
    ``position[i]``, its group begins at ``start[i]``."""

    def __init__(self, keys: npt.NDArray[np.uint64]) -> None:
        count = len(keys)
        order = np.argsort(keys, kind="stable")
        first = np.ones(count, bool)
        first[1:] = keys[order[1:]] != keys[order[:-1]]
        begin = np.maximum.accumulate(np.where(first, np.arange(count), 0))
        self.order = order.astype(np.uint32)
        self.position = np.empty(count, np.uint32)
        self.position[order] = np.arange(count)
        self.start = np.empty(count, np.uint32)
        self.start[order] = begin


def _edges(bits: int, distance: int) -> list[tuple[int, int]]:
    bands = min(bits, max(distance + 1, LEAST_BANDS))
    edges = [bits * band // bands for band in range(bands + 1)]
    return list(itertools.pairwise(edges))


def _keys(hashes: Hashes, low: int, high: int) -> npt.NDArray[np.uint64]:
    """Bits ``low`` to ``high`` (exclusive; at most 57) of each hash as one number."""
    first, last = low // 8, -(-high // 8)
    keys = np.zeros(len(hashes), np.uint64)
    for column in range(first, last):
        keys = (keys << np.uint64(8)) | hashes[:, column].astype(np.uint64)
    keys >>= np.uint64(last * 8 - high)
    return keys & np.uint64((1 << (high - low)) - 1)
