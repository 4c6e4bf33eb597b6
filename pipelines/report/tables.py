"""Reading the manifest tables of a dataset a row group at a time, so that memory does not grow with the dataset."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from pipelines.storage import Store
from schemas.design import Record
from schemas.index import Member


class Place(NamedTuple):
    """A row group of a table's files: ``path`` relative to the store."""

    path: str
    group: int


class Entry(Record):
    """Where a design of the gallery lies: its index row as far as reading it needs."""

    key: str
    split: str
    shard: str
    members: tuple[Member, ...]


def row_groups(
    store: Store, paths: Sequence[str], columns: Sequence[str]
) -> Iterator[tuple[Place, dict[str, list[Any]]]]:
    """The named columns of every row group, as lists, in the order of ``paths``."""
    for path in paths:
        with store.open(path) as stream:
            parquet = pq.ParquetFile(stream)
            for group in range(parquet.num_row_groups):
                yield (
                    Place(path, group),
                    parquet.read_row_group(group, columns=list(columns), use_threads=False).to_pydict(),
                )


def entries(store: Store, places: dict[str, Place]) -> dict[str, Entry]:
    """The entries of the designs in ``places`` (id -> the row group that holds it); other row groups are not read."""
    found = {}
    for place in sorted(set(places.values())):
        with store.open(place.path) as stream:
            table = pq.ParquetFile(stream).read_row_group(
                place.group, columns=list(Entry.model_fields), use_threads=False
            )
        for position, key in enumerate(table.column("key").to_pylist()):
            if places.get(key) == place:
                found[key] = Entry.model_validate(table.slice(position, 1).to_pylist()[0])
    return found
