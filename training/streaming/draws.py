"""Keyed randomness: what is drawn for a sample depends on seed, epoch, purpose and its key, never on order or rank."""

from __future__ import annotations

import binascii
import hashlib
from collections.abc import Sequence
from itertools import product

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from schemas.design import Design
from training.errors import DamageError
from training.streaming.config import TASKS, PlanConfig, Task
from training.streaming.layout import foregrounds, restyled

UInt64 = npt.NDArray[np.uint64]
KEY_DIGITS = 32
MAX_PARTITIONS = np.iinfo(np.int16).max


def key64(keys: pa.Array | pa.ChunkedArray | Sequence[str]) -> UInt64:
    """The first 16 of the 32 hex digits of each key, as u64 [N].

    Raises:
        DamageError: a key is null or not 32 hex digits.
    """
    array = keys if isinstance(keys, pa.Array | pa.ChunkedArray) else pa.array(keys, pa.string())
    array = array.cast(pa.string())
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if len(array) == 0:
        return np.empty(0, np.uint64)
    if not pc.all(pc.equal(pc.binary_length(array).fill_null(0), KEY_DIGITS)).as_py():
        raise DamageError(f"the index has a key that is not {KEY_DIGITS} hex digits")
    _, offsets, data = array.buffers()
    start = int(np.frombuffer(offsets, np.int32)[array.offset])
    try:
        raw = binascii.unhexlify(memoryview(data)[start : start + KEY_DIGITS * len(array)])
    except binascii.Error:
        raise DamageError(f"the index has a key that is not {KEY_DIGITS} hex digits") from None
    return np.frombuffer(raw, ">u8")[::2].astype(np.uint64)


def salt(seed: int, epoch: int, purpose: str) -> int:
    """64 bits that tell the draws of one seed, epoch and purpose from all others."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{epoch}/{purpose}".encode()).digest()[:8], "little")


def hashed(keys: UInt64, salt: int) -> UInt64:
    """u64 [N]: the finaliser of splitmix64 (Steele et al., 2014) over keys and salt."""
    z = keys + np.uint64(salt)
    z ^= z >> np.uint64(30)
    z *= np.uint64(0xBF58476D1CE4E5B9)
    z ^= z >> np.uint64(27)
    z *= np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return z


def uniform(bits: UInt64) -> npt.NDArray[np.float64]:
    """f64 [N] in [0, 1) from the upper 53 bits."""
    out: npt.NDArray[np.float64] = (bits >> np.uint64(11)) * np.float64(2.0**-53)
    return out


def generator(key: str, seed: int, epoch: int, purpose: str) -> np.random.Generator:
    """A generator for all further draws of one sample and purpose; any string is a key."""
    digest = hashlib.sha256(f"{seed}/{epoch}/{purpose}/{key}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))


def draw_tasks(
    keys: UInt64,
    seed: int,
    epoch: int,
    config: PlanConfig,
    *,
    foregrounds: npt.NDArray[np.int64],
    restyles: npt.NDArray[np.int64],
) -> npt.NDArray[np.int8]:
    """i8 [N]: a place in TASKS for each sample, by weight among the tasks it can serve; -1 where there is none.

    add-layer needs a foreground layer and restyle a pair. Restyle's share of the samples without a pair is add-layer's,
    where that has a weight, so that layers-to-layers keeps its share.
    """
    draw = uniform(hashed(keys, salt(seed, epoch, "task")))
    out = np.full(len(keys), -1, np.int8)
    for addable, pairs in product((False, True), repeat=2):
        bounds = np.cumsum(_weights(config, addable, pairs))
        if bounds[-1] > 0:
            chosen = ((foregrounds > 0) == addable) & ((restyles > 0) == pairs)
            out[chosen] = np.searchsorted(bounds / bounds[-1], draw[chosen], side="right")
    return out


def draw_partitions(
    keys: UInt64,
    seed: int,
    epoch: int,
    config: PlanConfig,
    tasks: npt.NDArray[np.int8],
    partitions: npt.NDArray[np.int64],
) -> npt.NDArray[np.int16]:
    """i16 [N]: which of its ``partitions`` [N] a sample is merged by, with probability ``config.grouping``; else -1.

    Only image-to-layers is merged.
    """
    merged = (tasks == TASKS.index(Task.IMAGE_TO_LAYERS)) & (partitions > 0)
    merged &= uniform(hashed(keys, salt(seed, epoch, "grouping"))) < config.grouping
    which = uniform(hashed(keys, salt(seed, epoch, "partition"))) * np.minimum(partitions, MAX_PARTITIONS)
    return np.where(merged, which, -1).astype(np.int16)


def draw_subset(design: Design, task: Task, seed: int, epoch: int) -> frozenset[int]:
    """The layers a task is about, as indices of the record.

    add-layer: uniformly many of the foreground layers, a uniform subset of that size; restyle: all with a pair; else
    none.
    """
    if task is Task.RESTYLE:
        return restyled(design)
    layers = foregrounds(design)
    if task is not Task.ADD_LAYER or not layers:
        return frozenset()
    rng = generator(design.design_id, seed, epoch, "subset")
    size = rng.integers(1, len(layers), endpoint=True)
    return frozenset(rng.choice(layers, size, replace=False).tolist())


def _weights(config: PlanConfig, addable: bool, pairs: bool) -> list[float]:
    weights = {task: config.tasks.get(task, 0.0) for task in TASKS}
    if not pairs:
        moved, weights[Task.RESTYLE] = weights[Task.RESTYLE], 0.0
        weights[Task.ADD_LAYER] += moved if weights[Task.ADD_LAYER] else 0.0
    if not addable:
        weights[Task.ADD_LAYER] = 0.0
    return [weights[task] for task in TASKS]
