"""One parquet file of the index, read piece by piece: its rows in order, or where the samples of a shard lie."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.index import INDEX_SCHEMA
from training.errors import DamageError
from training.streaming.hostfile import alone, written_whole
from training.streaming.members import LOCATED, ShardRows
from training.streaming.source import MissingError, Source

BATCH_ROWS = 65_536
"""Of a scan."""
LARGE_GROUP = 16_384
"""Rows: to read one shard's members from row groups over this is too slow, so such a part is cut anew."""
CUT_ROWS = 1024
MAX_VALUES = 1024
"""Of a column a row, on average: a row group that claims more is damaged or a bomb."""


class Part:
    """One parquet file of the index. ``rows``: how many a plan says it has."""

    def __init__(self, source: Source, name: str) -> None:
        self._source, self._name = source, name
        self._lock = threading.Lock()
        self.rows: int | None = None
        self.folder: Path | None = None

    def open(self) -> pq.ParquetFile:
        """Raises DamageError: it is no parquet file, or of another number of rows than it was; ReadError."""
        with self._damaged():
            # By its path Arrow reads a local file without a position, which a forked process would share.
            local = self._source.local
            stream: Any = str(local / self._name) if local is not None else self._source.open(self._name)
            file = pq.ParquetFile(stream, pre_buffer=local is None)
        if self.rows not in (None, file.metadata.num_rows):
            raise DamageError(f"{self.url} has {file.metadata.num_rows:,} rows, not {self.rows:,} as the plan says")
        return file

    @property
    def url(self) -> str:
        return self._source.url_of(self._name)

    def scan(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        with self._damaged(), self.open() as file:
            for groups in _runs(file.metadata):
                _check(file.metadata, groups, columns)
                for batch in file.iter_batches(BATCH_ROWS, row_groups=groups, columns=list(columns), use_threads=False):
                    yield _as_index(pa.Table.from_batches([batch]), columns)

    def shards(self, rows: Sequence[int]) -> dict[tuple[int, int], tuple[list[int], ShardRows]]:
        """The shards of ``rows``, sorted, by the row group and their first row in it, with the rows of each."""
        out = {}
        with self._lock, self._damaged():
            for group in dict.fromkeys(bisect_right(self._starts, row) - 1 for row in rows):
                start, end = self._starts[group : group + 2]
                _check(self._file.metadata, [group], LOCATED)
                table = _as_index(self._file.read_row_group(group, columns=list(LOCATED), use_threads=False), LOCATED)
                shard = (
                    table.column("shard").combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
                )
                for code in {shard[row - start] for row in rows if start <= row < end}:
                    at = np.flatnonzero(shard == code)
                    out[group, int(at[0])] = ((start + at).tolist(), ShardRows.of(_pick(table, at)))
        return out

    @cached_property
    def _file(self) -> pq.ParquetFile:
        """What samples are located in: the part, or the local file it was cut into."""
        file = self.open()
        if self.folder is None or max(_group_rows(file.metadata), default=0) <= LARGE_GROUP:
            return file
        path = self.folder / f"members-{hashlib.sha256(self._name.encode()).hexdigest()[:24]}.parquet"
        with alone(self.folder, "members.lock"):
            cut = _cut(path, file.metadata.num_rows)
            if cut is None:
                with written_whole(path) as temporary, pq.ParquetWriter(temporary, _schema(LOCATED)) as writer:
                    for table in self.scan(LOCATED):
                        writer.write_table(table, row_group_size=CUT_ROWS)
                cut = pq.ParquetFile(path)
        return cut

    @cached_property
    def _starts(self) -> list[int]:
        return list(accumulate(_group_rows(self._file.metadata), initial=0))

    @contextlib.contextmanager
    def _damaged(self) -> Iterator[None]:
        """What Arrow raises as a DamageError that names the part."""
        try:
            yield
        except DamageError as error:
            raise error if self.url in str(error) else DamageError(f"{self.url}: {error}", error.key) from None
        except FileNotFoundError:
            raise MissingError(f"{self.url} is missing") from None
        except (pa.ArrowException, OSError) as error:
            raise DamageError(f"{self.url} is damaged: {str(error).splitlines()[0]}") from None


def _cut(path: Path, rows: int) -> pq.ParquetFile | None:
    """The file of ``rows`` rows that a part was cut into, where it is there whole."""
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError):
        return None
    return file if file.metadata.num_rows == rows else None


def _group_rows(metadata: Any) -> list[int]:
    return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]


def _runs(metadata: Any) -> Iterator[list[int]]:
    """Consecutive row groups of about BATCH_ROWS rows."""
    run: list[int] = []
    rows = 0
    for group, count in enumerate(_group_rows(metadata)):
        if run and rows + count > BATCH_ROWS:
            yield run
            run, rows = [], 0
        run.append(group)
        rows += count
    if run:
        yield run


def _schema(columns: Sequence[str]) -> pa.Schema:
    return pa.schema([INDEX_SCHEMA.field(name) for name in columns])


def _as_index(table: pa.Table, columns: Sequence[str]) -> pa.Table:
    """The columns in this order, of the types of the index. Raises DamageError: one is missing or of another type."""
    schema = _schema(columns)
    missing = set(columns) - set(table.column_names)
    if missing:
        raise DamageError(f"no column {min(missing)!r}: this is no index")
    try:
        return table.select(list(columns)).cast(schema)
    except (pa.ArrowException, ValueError) as error:
        raise DamageError(f"the columns are not those of an index: {str(error).splitlines()[0]}") from None


def _check(metadata: Any, groups: Sequence[int], columns: Sequence[str]) -> None:
    """Refuse row groups that claim more values than an index has, before memory is given for them."""
    wanted = [
        leaf for leaf in range(metadata.num_columns) if metadata.schema.column(leaf).path.split(".")[0] in columns
    ]
    for group in map(metadata.row_group, groups):
        for leaf in wanted:
            values = group.column(leaf).num_values
            if not 0 <= values <= MAX_VALUES * (group.num_rows + 1):
                raise DamageError(f"a row group of {group.num_rows:,} rows claims {values:,} values")


def _pick(table: pa.Table, rows: Any) -> pa.Table:
    """The rows, sorted; where they are consecutive nothing is copied."""
    first, last = int(rows[0]), int(rows[-1])
    return table.slice(first, len(rows)) if last - first + 1 == len(rows) else table.take(pa.array(rows))
