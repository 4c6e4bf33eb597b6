"""The index of a published dataset: one row a sample, in parquet files that are read piece by piece."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from pathlib import Path

import pyarrow as pa

from schemas.dataset import DATASET_JSON, Dataset
from schemas.errors import RecordError
from training.errors import DamageError, UsageError
from training.streaming.members import Located, ShardRows
from training.streaming.part import Part
from training.streaming.source import MissingError, Source

KEPT_ROWS = 32_768
"""Located samples that are remembered, at least; about 1.5 KB each."""
MAX_DATASET_BYTES = 2**26
_THREADS = 8
Place = tuple[int, int, int]
"""Part, row group, first row of the shard in it."""


class Index:
    """The index of the dataset as it was when it was opened. Rows are counted over all parts. Threads may share it.

    ``fingerprint`` is the dataset's; ``parts`` are the names of the index's files.
    """

    def __init__(self, source: Source, dataset: Dataset) -> None:
        self.source, self.dataset = source, dataset
        self.fingerprint, self.parts = dataset.fingerprint, dataset.index
        self._parts = [Part(source, name, self.fingerprint, len(self.parts)) for name in self.parts]
        self._starts: list[int] | None = None
        self._lock = threading.Lock()
        self._limit = KEPT_ROWS
        self._kept: OrderedDict[Place, tuple[list[int], ShardRows]] = OrderedDict()
        self._at: dict[int, tuple[Place, int]] = {}

    @classmethod
    def open(cls, source: Source) -> Index:
        """Raises UsageError: there is no dataset, or of another schema; ReadError."""
        url = source.url_of(DATASET_JSON)
        try:
            return cls(source, Dataset.from_json(source.read(DATASET_JSON, MAX_DATASET_BYTES)))
        except MissingError:
            raise UsageError(f"{source.shown} is no dataset: it has no {DATASET_JSON}") from None
        except RecordError as error:
            raise UsageError(f"{url} cannot be used: {error}") from None

    def __reduce__(self) -> tuple[type[Index], tuple[Source, Dataset]]:
        return Index, (self.source, self.dataset)

    @property
    def counts(self) -> list[int]:
        """Rows of each part. Opens all of them where no plan has told."""
        if self._starts is None:
            with ThreadPoolExecutor(_THREADS) as pool:
                self.remember(list(pool.map(lambda part: int(part.open().metadata.num_rows), self._parts)))
        assert self._starts is not None
        return [b - a for a, b in zip(self._starts, self._starts[1:], strict=False)]

    def remember(self, counts: Sequence[int], folder: Path | None = None, window: int = 0) -> None:
        """Take the rows of each part from a plan, a directory for parts that are cut anew, and how many samples are
        located in turn: those of two windows are remembered.
        """
        self._limit = max(KEPT_ROWS, 2 * window)
        self._starts = list(accumulate(counts, initial=0))
        for part, rows in zip(self._parts, counts, strict=True):
            part.rows, part.folder = rows, folder or part.folder

    def scan(self, part: int, columns: Sequence[str]) -> Iterator[pa.Table]:
        """The rows of one part in pieces of bounded size, in order.

        Raises:
            DamageError: it is no index part; the message names its URL.
        """
        return self._parts[part].scan(columns)

    def locate(self, rows: Sequence[int]) -> list[Located]:
        """Samples by row. Reads the row groups that hold them, and remembers their shards' rows in these.

        Raises:
            DamageError: the index says what cannot be.
        """
        with self._lock:
            missing = sorted(set(rows) - self._at.keys())
            if missing:
                self._load(missing)
            out = []
            for row in rows:
                place, sample = self._at[row]
                self._kept.move_to_end(place)
                out.append(self._kept[place][1][sample])
            self._forget()
            return out

    def _load(self, rows: Sequence[int]) -> None:
        """Remember the shards of ``rows``, sorted."""
        starts = self._starts or list(accumulate(self.counts, initial=0))
        if rows[0] < 0 or rows[-1] >= starts[-1]:
            raise DamageError(f"the index has {starts[-1]:,} rows, none is {rows[0] if rows[0] < 0 else rows[-1]:,}")
        wanted: dict[int, list[int]] = {}
        for row in rows:
            part = bisect_right(starts, row) - 1
            wanted.setdefault(part, []).append(row - starts[part])
        with ThreadPoolExecutor(min(_THREADS, len(wanted))) as pool:
            found = pool.map(lambda item: self._parts[item[0]].shards(item[1]), wanted.items())
            for part, shards in zip(wanted, found, strict=True):
                for at, (numbers, located) in shards.items():
                    place, held = (part, *at), [starts[part] + number for number in numbers]
                    self._kept[place] = held, located
                    self._at.update({row: (place, sample) for sample, row in enumerate(held)})

    def _forget(self) -> None:
        """Let go of the shards that were used longest ago."""
        while len(self._at) > self._limit and len(self._kept) > 1:
            _, (held, _) = self._kept.popitem(last=False)
            for row in held:
                del self._at[row]
