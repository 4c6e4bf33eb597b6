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
"""More bands than needed are exact too; with fewer, a band of a 256-bit hash would not fit into one number."""


def distances(hashes: Hashes, one: Hashes) -> npt.NDArray[np.int64]:
    """The number of bits in which each of ``hashes`` differs from ``one`` (``[bytes]``)."""
    apart: npt.NDArray[np.int64] = np.bitwise_count(hashes ^ one).sum(axis=1, dtype=np.int64)
    return apart


class BandIndex:
    """Which of the hashes added so far lie within ``distance`` bits of another one.

    All hashes that may ever be added are known from the start, so a band is a flat array in which each group of equal
    bands has its place, filled from the front as hashes are added: ``12 * (distance + 1)`` bytes a hash, no objects.
    """

    def __init__(self, hashes: Hashes, distance: int) -> None:
        edges = _edges(hashes.shape[1] * 8, distance)
        self._hashes = hashes
        self._distance = distance
        self._bands = np.arange(len(edges))
        self._start = np.stack([_group_starts(_keys(hashes, low, high)) for low, high in edges])
        self._filled = np.zeros_like(self._start)
        self._members = np.zeros_like(self._start)

    def add(self, position: int) -> None:
        """Let hash ``position`` be found from now on; it must not be added twice."""
        start = self._start[:, position]
        filled = self._filled[self._bands, start]
        self._members[self._bands, start + filled] = position
        self._filled[self._bands, start] = filled + 1

    def near(self, position: int) -> list[tuple[int, int]]:
        """(distance, position) of the added hashes near hash ``position``, nearest first, then by position."""
        start = self._start[:, position]
        filled = self._filled[self._bands, start]
        shared = [self._members[b, start[b] : start[b] + filled[b]] for b in np.flatnonzero(filled)]
        if not shared:
            return []
        found = np.unique(np.concatenate(shared))
        apart = distances(self._hashes[found], self._hashes[position])
        close = apart <= self._distance
        return sorted(zip(apart[close].tolist(), found[close].tolist(), strict=True))


def _group_starts(keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint32]:
    """For each key, where the group of its equals begins when all keys are sorted."""
    _, group, counts = np.unique(keys, return_inverse=True, return_counts=True)
    starts: npt.NDArray[np.uint32] = (np.cumsum(counts) - counts)[group].astype(np.uint32)
    return starts


def _edges(bits: int, distance: int) -> list[tuple[int, int]]:
    bands = min(bits, max(distance + 1, LEAST_BANDS))
    return list(itertools.pairwise(bits * band // bands for band in range(bands + 1)))


def _keys(hashes: Hashes, low: int, high: int) -> npt.NDArray[np.uint64]:
    """Bits ``low`` to ``high`` (exclusive; at most 57) of each hash as one number."""
    first, last = low // 8, -(-high // 8)
    keys = np.zeros(len(hashes), np.uint64)
    for column in range(first, last):
        keys = (keys << np.uint64(8)) | hashes[:, column].astype(np.uint64)
    keys >>= np.uint64(last * 8 - high)
    return keys & np.uint64((1 << (high - low)) - 1)
