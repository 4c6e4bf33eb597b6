"""Publication: the shard artefacts of all units become index, ledger and shard tables, and ``dataset.json`` is
swapped last.

Tables are immutable and named by content, written through a local file so that memory does not grow with the dataset.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.artefacts import Sharded, load
from pipelines.errors import PublishError, StoreError
from pipelines.plan import Plan
from pipelines.scratch import working_directory
from pipelines.storage import Store
from schemas.dataset import DATASET_JSON, SHARD_SCHEMA, Counts, Dataset, content_fingerprint
from schemas.index import INDEX_SCHEMA
from schemas.ledger import LEDGER_SCHEMA, State

PART_ROWS = 1_000_000
GROUP_ROWS = 1024
"""A row group ends with the unit that brings it to so many rows, so it has more by at most a unit, and the last one of
a part may have fewer: the footer of a part stays small, and one shard's rows, which lie in one group, are a small read.
"""
UNIQUE = frozenset({"key", "uri", "phash", "members.list.element.offset", "members.list.element.sha256"})
"""Leaves of tables whose values do not repeat: a dictionary of them is larger than they are, and slower to read."""

_CLAIM = "manifest/claim-"


class Table:
    """A manifest table in parts of up to PART_ROWS rows, written in row groups of whole units with GROUP_ROWS rows."""

    def __init__(self, store: Store, kind: str, generation: int, schema: pa.Schema, folder: Path) -> None:
        self._store, self._schema = store, schema
        self._stem = f"manifest/{kind}-{generation:06d}"
        self._local = folder / f"{kind}.parquet"
        self._writer: pq.ParquetWriter | None = None
        self._gathered: list[dict[str, object]] = []
        self._rows_in_part = 0
        self.names: list[str] = []

    def add(self, rows: Sequence[dict[str, object]]) -> None:
        """Add the rows of one unit; they lie in one row group."""
        if self._rows_in_part + len(rows) > PART_ROWS:
            self._close_part()
        if self._writer is None:
            self._writer = table_writer(self._local, self._schema)
        self._gathered += rows
        self._rows_in_part += len(rows)
        if len(self._gathered) >= GROUP_ROWS:
            self._close_group()

    def close(self) -> tuple[str, ...]:
        """The names of the parts; a table without rows is one empty part."""
        if self._writer is None and not self.names:
            self.add([])
        self._close_part()
        return tuple(self.names)

    def _close_part(self) -> None:
        if self._writer is None:
            return
        self._close_group()
        self._writer.close()
        self._writer = None
        with self._local.open("rb") as written:
            sha = hashlib.file_digest(written, "sha256").hexdigest()
        name = f"{self._stem}-{len(self.names):03d}-{sha[:8]}.parquet"
        self._store.put(name, self._local)
        self.names.append(name)
        self._rows_in_part = 0

    def _close_group(self) -> None:
        if self._writer is not None and self._gathered:
            rows, self._gathered = self._gathered, []
            self._writer.write_table(pa.Table.from_pylist(rows, self._schema), row_group_size=len(rows))


def table_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """A parquet file of a manifest table."""
    leaves = [leaf for field in schema for leaf in _leaves(field.name, field.type)]
    return pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=[x for x in leaves if x not in UNIQUE])


def _leaves(path: str, kind: pa.DataType) -> Iterator[str]:
    """The columns of parquet that a column of Arrow becomes."""
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        yield from _leaves(f"{path}.list.element", kind.value_type)
    elif pa.types.is_struct(kind):
        for field in kind:
            yield from _leaves(f"{path}.{field.name}", field.type)
    else:
        yield path


def assemble(
    store: Store, artefacts: Sequence[str], plan: Plan, *, generation: int, build: str, settings: dict[str, str]
) -> Dataset:
    """Write the tables of a generation and give its ``dataset.json``, not yet swapped in. One artefact a unit.

    Raises:
        PublishError: the ledger of a unit does not have the plan's rows, each once: nothing wrong is ever published.
        StoreError: an artefact is gone or damaged, or there is no room.
    """
    states: Counter[State] = Counter()
    splits: Counter[str] = Counter()
    licences: Counter[str] = Counter()
    shas: list[tuple[str, str]] = []
    with working_directory() as folder:
        index = Table(store, "index", generation, INDEX_SCHEMA, folder)
        ledger = Table(store, "ledger", generation, LEDGER_SCHEMA, folder)
        shards = Table(store, "shards", generation, SHARD_SCHEMA, folder)
        for artefact, rows in zip(artefacts, plan.units, strict=True):
            sharded = load(store, artefact, Sharded)
            if [row.row for row in sharded.ledger] != [row.row for row in rows]:
                raise PublishError(f"{artefact} does not have the plan's rows; remove it and run the build again")
            if sharded.shard is not None:
                shas.append((sharded.shard.path, sharded.shard.sha256))
                shards.add([sharded.shard.model_dump()])
                splits[sharded.shard.split] += sharded.shard.samples
            index.add(sharded.index)
            ledger.add([row.to_arrow() for row in sharded.ledger])
            states.update(row.state for row in sharded.ledger)
            licences.update(str(row["licence"]) for row in sharded.index)
        return Dataset(
            generation=generation,
            fingerprint=content_fingerprint(shas),
            build=build,
            settings=settings,
            plan=plan.name,
            counts=Counts(
                inputs=states.total(),
                ok=states[State.OK],
                filtered=states[State.FILTERED],
                failed=states[State.FAILED],
            ),
            splits=dict(sorted(splits.items())),
            licences=dict(sorted(licences.items())),
            shards=shards.close(),
            index=index.close(),
            ledger=ledger.close(),
        )


def discard_damaged(store: Store, artefacts: Iterable[str]) -> int:
    """Remove the shard artefacts that are damaged or whose shard is gone or of another size. Returns how many."""
    there = store.sizes("shards")
    found = 0
    for name in artefacts:
        try:
            shard = load(store, name, Sharded).shard
        except StoreError:
            found += 1
            continue
        if shard is not None and there.get(shard.path) != shard.bytes:
            store.delete([name])
            found += 1
    return found


def intact(store: Store, dataset: Dataset) -> bool:
    """Whether all that a published dataset names is there, and every shard with its size: what listings can tell."""
    if not {dataset.plan, *dataset.shards, *dataset.index, *dataset.ledger} <= set(store.names("manifest")):
        return False
    there = store.sizes("shards")
    try:
        return all(
            there.get(row["path"]) == row["bytes"]
            for batch in batches(store, dataset.shards, ["path", "bytes"])
            for row in batch.to_pylist()
        )
    except StoreError:
        return False


def batches(store: Store, names: Iterable[str], columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """The row groups of manifest tables one after another, so that memory does not grow with them."""
    for name in names:
        try:
            with store.open(name) as source:
                parquet = pq.ParquetFile(source)
                for group in range(parquet.num_row_groups):
                    yield parquet.read_row_group(
                        group, columns=None if columns is None else list(columns), use_threads=False
                    )
        except pa.ArrowException as error:
            raise StoreError(f"{name} is damaged: {str(error).splitlines()[0]}") from None


def load_dataset(store: Store) -> Dataset | None:
    """The published state, None where nothing is published. Raises RecordError: of another schema or damaged."""
    try:
        return Dataset.from_json(store.read(DATASET_JSON))
    except FileNotFoundError:
        return None


def claim(store: Store, base: Dataset | None, make: Callable[[int], Dataset]) -> Dataset:
    """Make the next generation after ``base`` and claim its number by a conditional create.

    A claim that was never followed by a swap (its build died) is taken up when it holds the same state, else passed
    over.

    Raises:
        PublishError: another build claims the same number right now.
    """
    dataset = make(base.generation + 1 if base else 1)
    if _claimed(store, dataset):
        return dataset
    dataset = make(max(_claims(store)) + 1)
    if not _claimed(store, dataset):
        raise PublishError(f"another build is publishing generation {dataset.generation}; run the build again")
    return dataset


def swap(store: Store, base: Dataset | None, dataset: Dataset) -> None:
    """Make a claimed ``dataset`` the published state.

    Raises:
        PublishError: another build has published since ``base`` was read.
    """
    current = load_dataset(store)
    if current == dataset:
        return
    if current != base:
        there = current.generation if current else 0
        raise PublishError(f"another build published generation {there} in the meantime; run the build again")
    store.write(DATASET_JSON, dataset.to_json())


def _claimed(store: Store, dataset: Dataset) -> bool:
    name, data = f"{_CLAIM}{dataset.generation:06d}.json", dataset.to_json()
    return store.create(name, data) or store.read(name) == data


def _claims(store: Store) -> list[int]:
    """The generations that are claimed."""
    found = (re.fullmatch(rf"{_CLAIM}([0-9]{{6,}})\.json", name) for name in store.names("manifest"))
    return [int(match[1]) for match in found if match]
