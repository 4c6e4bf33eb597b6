"""What planning needs of the index: for each sample of the split its shard, its draws and its tokens."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from training.errors import DamageError
from training.streaming.config import PlanConfig
from training.streaming.draws import UInt64, draw_partitions, draw_tasks, key64
from training.streaming.index import Index
from training.streaming.layout import count_tokens
from training.streaming.layouts import LAYOUT_COLUMNS, read_layouts

COLUMNS = ("key", "shard", "split", *LAYOUT_COLUMNS)
MAX_THREADS = 8
SUSPECTS, MAX_LOCATED = 16, 4096
"""Keys of equal first bits that are compared in full, and samples that have them: chance gives not even one."""
Progress = Callable[[int, int], None]
"""Called with the steps done and all steps, now and then, by any thread but never by two at once."""


@dataclass(frozen=True)
class Survey:
    """The samples [N] that an epoch goes through; ``paths`` of the shards, ``shards`` [N] places in them.

    ``ineligible`` and ``scaled_down`` count samples: those that no task with weight can use, which are left out, and
    those whose canvas is too large at the resolution.
    """

    rows: npt.NDArray[np.uint32]
    keys: UInt64
    shards: npt.NDArray[np.int32]
    tasks: npt.NDArray[np.int8]
    partitions: npt.NDArray[np.int16]
    tokens: npt.NDArray[np.uint32]
    paths: tuple[str, ...]
    ineligible: int
    scaled_down: int


class Steps:
    """Counts steps for a Progress."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._done, self._total, self._progress = 0, total, progress
        self._lock = threading.Lock()

    def add(self, steps: int) -> None:
        with self._lock:
            self._done += steps
            if self._progress is not None:
                self._progress(self._done, self._total)


def survey(index: Index, config: PlanConfig, seed: int, epoch: int, steps: Steps, threads: int | None = None) -> Survey:
    """Read the index, its parts at once by several threads, whose number changes nothing.

    Raises:
        DamageError: a part of the index is damaged; the message names its URL. ReadError.
    """
    counts = index.counts
    if sum(counts) > np.iinfo(np.uint32).max:
        raise DamageError(f"the index has {sum(counts):,} rows; at most {np.iinfo(np.uint32).max:,} are planned")
    first = np.cumsum([0, *counts])[:-1].tolist()

    def read(part: int) -> Survey:
        try:
            return _joined(list(_read_part(index, part, first[part], config, seed, epoch, steps)))
        except DamageError as error:
            url = index.source.url_of(index.parts[part])
            raise error if url in str(error) else DamageError(f"{url}: {error}", error.key) from None

    workers = threads or min(MAX_THREADS, len(os.sched_getaffinity(0)))
    with ThreadPoolExecutor(workers) as pool:
        return _joined(list(pool.map(read, range(len(counts)))))


def check_unique(index: Index, found: Survey) -> None:
    """Raises DamageError: the index has a key twice. Keys are compared in full where their first 64 bits are equal."""
    ascending = np.sort(found.keys)
    equal = np.unique(ascending[1:][ascending[1:] == ascending[:-1]])[:SUSPECTS]
    if not len(equal):
        return
    rows = found.rows[np.isin(found.keys, equal)][:MAX_LOCATED].tolist()
    key, times = Counter(located.key for located in index.locate(rows)).most_common(1)[0]
    if times > 1:
        raise DamageError(f"the index of {index.source.shown} has the design {key} {times} times", key)


def _read_part(
    index: Index, part: int, first: int, config: PlanConfig, seed: int, epoch: int, steps: Steps
) -> Iterator[Survey]:
    for table in index.scan(part, COLUMNS):
        rows = np.arange(first, first + len(table), dtype=np.uint32)
        first += len(table)
        wanted = pc.equal(table.column("split"), config.split)
        if not pc.all(wanted).as_py():
            chosen = wanted.to_numpy(zero_copy_only=False)
            table, rows = table.filter(wanted), rows[chosen]  # noqa: PLW2901
        if len(table):
            yield _read(table, rows, config, seed, epoch)
        steps.add(len(wanted))


def _read(table: pa.Table, rows: npt.NDArray[np.uint32], config: PlanConfig, seed: int, epoch: int) -> Survey:
    keys, layouts = key64(table.column("key")), read_layouts(table)
    tasks = draw_tasks(keys, seed, epoch, config, foregrounds=layouts.foregrounds, restyles=layouts.restyles)
    partitions = draw_partitions(keys, seed, epoch, config, tasks, layouts.partitions)
    tokens, scaled_down = count_tokens(layouts, tasks, partitions, config)
    shards = table.column("shard").combine_chunks().dictionary_encode()
    usable = tasks >= 0
    return Survey(
        rows[usable],
        keys[usable],
        shards.indices.to_numpy()[usable],
        tasks[usable],
        partitions[usable],
        tokens[usable],
        tuple(shards.dictionary.to_pylist()),
        int(np.count_nonzero(~usable)),
        int(np.count_nonzero(scaled_down & usable)),
    )


def _joined(pieces: list[Survey]) -> Survey:
    """Pieces one after another, with one table of shards."""
    places: dict[str, int] = {}
    shards = [np.empty(0, np.int32)]
    for piece in pieces:
        known = np.array([places.setdefault(path, len(places)) for path in piece.paths], np.int32)
        shards.append(known[piece.shards])

    def join(name: str, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        return np.concatenate([np.empty(0, dtype), *(getattr(piece, name) for piece in pieces)])

    return Survey(
        join("rows", np.uint32),
        join("keys", np.uint64),
        np.concatenate(shards),
        join("tasks", np.int8),
        join("partitions", np.int16),
        join("tokens", np.uint32),
        tuple(places),
        sum(piece.ineligible for piece in pieces),
        sum(piece.scaled_down for piece in pieces),
    )
