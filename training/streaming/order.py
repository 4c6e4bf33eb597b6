"""The order in which an epoch goes through the shards: permuted, and cut into windows that are shuffled as one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from training.streaming.draws import salt

Int64 = npt.NDArray[np.int64]


def windows(paths: Sequence[str], shards: npt.NDArray[np.int32], window: int, seed: int, epoch: int) -> list[Int64]:
    """The samples [N] of each window, as places in ``shards``, which says whose path each sample's is.

    The shards are permuted by a hash of their paths. Consecutive ones make a window as soon as they have ``window``
    samples; a last one of less than half of that is part of the one before.
    """
    if len(shards) == 0:
        return []
    ranks = np.empty(len(paths), np.int32)
    permuted = np.array(permutation(paths, seed, epoch), np.int64)
    ranks[permuted] = np.arange(len(paths), dtype=np.int32)
    order = np.argsort(ranks[shards], kind="stable")
    counts = np.bincount(shards, minlength=len(paths))[permuted]
    return np.split(order, _cuts(counts.tolist(), window))


def permutation(paths: Sequence[str], seed: int, epoch: int) -> list[int]:
    """The shards of an epoch in order, as places in ``paths``."""
    drawn = salt(seed, epoch, "shards").to_bytes(8, "little")
    digests = [hashlib.blake2b(path.encode(), digest_size=8, key=drawn).digest() for path in paths]
    return sorted(range(len(paths)), key=lambda shard: (digests[shard], paths[shard]))


def _cuts(counts: Sequence[int], window: int) -> list[int]:
    """Where a window ends and the next begins, in samples."""
    cuts, at, start = [], 0, 0
    for count in counts:
        if at - start >= window:
            cuts.append(at)
            start = at
        at += count
    if cuts and (at - start) * 2 < window:
        cuts.pop()
    return cuts
