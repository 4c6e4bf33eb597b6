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
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas.design import canonical_json
from schemas.index import INDEX_SCHEMA
from training.errors import DamageError
from training.streaming.hostfile import alone, keep_newest, used, written_whole
from training.streaming.members import LOCATED, ShardRows
from training.streaming.source import MissingError, Source

BATCH_ROWS = 65_536
"""Of a scan."""
LARGE_GROUP = 16_384
"""Rows: to read one shard's members from row groups over this is too slow, so such a part is cut anew."""
CUT_ROWS = 1024
MAX_VALUES = 1024
"""Of a column a row, on average: a row group that claims more is damaged or a bomb."""
MAX_TEXT = 4096
"""Bytes of a value; a column that claims more on average, or has a larger one, is no index either."""
_REPEATED = ("key", "shard", "split", "expires")
"""Read as dictionaries where they may have a value over MAX_TEXT, which is seen before it is repeated a million times.
Arrow cannot do so with what lies in lists."""
_KEPT = "an index's members"


class Part:
    """One parquet file of the index of the dataset ``fingerprint``, which has ``parts`` of them.

    ``rows``: how many a plan says it has. ``folder``: for the file it is cut into, where its row groups are large.
    """

    def __init__(self, source: Source, name: str, fingerprint: str, parts: int) -> None:
        self._source, self._name, self._fingerprint = source, name, fingerprint
        self._cuts_kept = 2 * parts
        self._lock = threading.Lock()
        self.rows: int | None = None
        self.folder: Path | None = None

    def open(self, dictionaries: Sequence[str] = _REPEATED) -> pq.ParquetFile:
        """The file; ``dictionaries`` are columns to be read as such.

        Raises:
            DamageError: it is no parquet file, or of another number of rows than it was. ReadError.
        """
        with self._damaged():
            # By its path Arrow reads a local file without a position, which a forked process would share.
            local = self._source.local
            stream: Any = str(local / self._name) if local is not None else self._source.open(self._name)
            try:
                file = pq.ParquetFile(stream, pre_buffer=local is None, read_dictionary=list(dictionaries))
            except KeyError as error:
                raise DamageError(f"no column {error.args[0]!r}: this is no index") from None
            _as_many(sum(_group_rows(file.metadata)), file.metadata.num_rows)
        if self.rows not in (None, file.metadata.num_rows):
            raise DamageError(f"{self.url} has {file.metadata.num_rows:,} rows, not {self.rows:,} as the plan says")
        return file

    @property
    def url(self) -> str:
        return self._source.url_of(self._name)

    def scan(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        rows = 0
        with self._damaged(), self.open(()) as unread:
            doubtful = _doubtful(unread.metadata, columns)
        with self._damaged(), self.open(doubtful) as file:
            for groups in _runs(file.metadata):
                _check(file.metadata, groups, columns)
                for batch in file.iter_batches(BATCH_ROWS, row_groups=groups, columns=list(columns), use_threads=False):
                    rows += len(batch)
                    yield _as_index(pa.Table.from_batches([batch]), columns)
            _as_many(rows, file.metadata.num_rows)

    def shards(self, rows: Sequence[int]) -> dict[tuple[int, int], tuple[list[int], ShardRows]]:
        """The shards of ``rows``, sorted, by the row group and their first row in it, with the rows of each."""
        out = {}
        with self._lock, self._damaged():
            for group in dict.fromkeys(bisect_right(self._starts, row) - 1 for row in rows):
                start, end = self._starts[group : group + 2]
                _check(self._file.metadata, [group], LOCATED)
                table = _as_index(self._file.read_row_group(group, columns=list(LOCATED), use_threads=False), LOCATED)
                _as_many(len(table), end - start)
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
        made_from = canonical_json([self._fingerprint, self._name, str(file.metadata.to_dict())])
        path = self.folder / f"members-{hashlib.sha256(made_from).hexdigest()[:32]}.parquet"
        with alone(self.folder, "members.lock", _KEPT):
            cut = _cut(path, file.metadata.num_rows)
            if cut is None:
                keep_newest(self.folder, "members-*.parquet", self._cuts_kept - 1)
                with written_whole(path, _KEPT) as out, pq.ParquetWriter(out, _schema(LOCATED)) as writer:
                    for table in self.scan(LOCATED):
                        writer.write_table(table, row_group_size=CUT_ROWS)
                cut = pq.ParquetFile(path)
            used(path)
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
    for name in columns:
        times = table.column_names.count(name)
        if times != 1:
            raise DamageError(f"{times or 'no'} column{'s' * (times > 1)} {name!r}: this is no index")
    for column in table.columns:
        for values in column.chunks if pa.types.is_dictionary(column.type) else ():
            if (pc.max(pc.binary_length(values.dictionary)).as_py() or 0) > MAX_TEXT:
                raise DamageError(f"the index has a text of more than {MAX_TEXT:,} bytes")
    try:
        return table.select(list(columns)).cast(schema)
    except (pa.ArrowException, ValueError) as error:
        raise DamageError(f"the columns are not those of an index: {str(error).splitlines()[0]}") from None


def _check(metadata: Any, groups: Sequence[int], columns: Sequence[str]) -> None:
    """Refuse row groups that claim more or larger values than an index has, before memory is given for them."""
    wanted = [
        leaf for leaf in range(metadata.num_columns) if metadata.schema.column(leaf).path.split(".")[0] in columns
    ]
    for group in map(metadata.row_group, groups):
        for leaf in wanted:
            values = group.column(leaf).num_values
            if not 0 <= values <= MAX_VALUES * (group.num_rows + 1):
                raise DamageError(f"a row group of {group.num_rows:,} rows claims {values:,} values")
            size = group.column(leaf).total_uncompressed_size
            if not 0 <= size <= MAX_TEXT * (values + 1):
                raise DamageError(f"a row group of {group.num_rows:,} rows claims {size:,} bytes")


def _doubtful(metadata: Any, columns: Sequence[str]) -> list[str]:
    """Of the columns those with a dictionary so large that a value, which may be repeated, may be over MAX_TEXT."""
    leaves = {metadata.schema.column(leaf).path: leaf for leaf in range(metadata.num_columns)}
    groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
    wanted = [name for name in _REPEATED if name in columns and name in leaves]
    return [name for name in wanted if any(_may_repeat(group.column(leaves[name])) for group in groups)]


def _may_repeat(chunk: Any) -> bool:
    return bool(chunk.total_uncompressed_size > MAX_TEXT and chunk.has_dictionary_page)


def _as_many(rows: int, promised: int) -> None:
    if rows != promised:
        raise DamageError(f"{rows:,} rows in its row groups, not {promised:,} as its footer says")


def _pick(table: pa.Table, rows: Any) -> pa.Table:
    """The rows, sorted; where they are consecutive nothing is copied."""
    first, last = int(rows[0]), int(rows[-1])
    return table.slice(first, len(rows)) if last - first + 1 == len(rows) else table.take(pa.array(rows))
