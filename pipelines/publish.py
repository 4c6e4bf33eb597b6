"""Publication: the shard artefacts of all units become index, ledger and shard tables, and ``dataset.json`` is
swapped last.

Tables are immutable and named by content, written through a local file so that memory does not grow with the dataset.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.artefacts import Sharded, load
from pipelines.errors import PublishError, StoreError
from pipelines.storage import Store
from schemas.dataset import DATASET_JSON, SHARD_SCHEMA, Counts, Dataset, content_fingerprint
from schemas.index import INDEX_SCHEMA
from schemas.ledger import LEDGER_SCHEMA, State

PART_ROWS = 1_000_000
_CLAIM = "manifest/claim-"


class Table:
    """A manifest table written row group by row group, in parts of up to PART_ROWS rows."""

    def __init__(self, store: Store, kind: str, generation: int, schema: pa.Schema, folder: Path) -> None:
        self._store, self._schema = store, schema
        self._stem = f"manifest/{kind}-{generation:06d}"
        self._local = folder / f"{kind}.parquet"
        self._writer: pq.ParquetWriter | None = None
        self._rows_in_part = 0
        self.names: list[str] = []

    def add(self, rows: Sequence[dict[str, object]]) -> None:
        """Add the rows of one unit as one row group."""
        if self._rows_in_part + len(rows) > PART_ROWS:
            self._close_part()
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._local, self._schema, compression="zstd")
        if rows:
            self._writer.write_table(pa.Table.from_pylist(list(rows), self._schema), row_group_size=len(rows))
        self._rows_in_part += len(rows)

    def close(self) -> tuple[str, ...]:
        """The names of the parts; a table without rows is one empty part."""
        if self._writer is None and not self.names:
            self.add([])
        self._close_part()
        return tuple(self.names)

    def _close_part(self) -> None:
        if self._writer is None:
            return
        self._writer.close()
        self._writer = None
        with self._local.open("rb") as written:
            sha = hashlib.file_digest(written, "sha256").hexdigest()
        name = f"{self._stem}-{len(self.names):03d}-{sha[:8]}.parquet"
        self._store.put(name, self._local)
        self.names.append(name)
        self._rows_in_part = 0


def assemble(store: Store, artefacts: Iterable[str], *, generation: int, build: str, plan: str) -> Dataset:
    """Write the tables of a generation and give its ``dataset.json``, not yet swapped in.

    Raises:
        StoreError: an artefact or a shard it names is gone; it is removed so that the next run makes it again.
    """
    there = set(store.names("shards"))
    states: Counter[State] = Counter()
    splits: Counter[str] = Counter()
    licences: Counter[str] = Counter()
    shas: list[tuple[str, str]] = []
    with tempfile.TemporaryDirectory(prefix="acetate-") as name:
        folder = Path(name)
        index = Table(store, "index", generation, INDEX_SCHEMA, folder)
        ledger = Table(store, "ledger", generation, LEDGER_SCHEMA, folder)
        shards = Table(store, "shards", generation, SHARD_SCHEMA, folder)
        for artefact, sharded in _artefacts(store, artefacts):
            if sharded.shard is not None:
                if sharded.shard.path not in there:
                    store.delete([artefact])
                    raise StoreError(f"{sharded.shard.path} is gone; run the build again to make it anew")
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
            plan=plan,
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


def batches(store: Store, names: Iterable[str], columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """The row groups of manifest tables one after another, so that memory does not grow with them."""
    for name in names:
        with store.open(name) as source:
            parquet = pq.ParquetFile(source)
            for group in range(parquet.num_row_groups):
                yield parquet.read_row_group(group, columns=None if columns is None else list(columns))


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
    highest = max(int(name.rpartition("-")[2].removesuffix(".json")) for name in _claims(store))
    dataset = make(highest + 1)
    if not _claimed(store, dataset):
        raise PublishError(f"another build is publishing generation {dataset.generation}; run the build again")
    return dataset


def swap(store: Store, base: Dataset | None, dataset: Dataset) -> None:
    """Make a claimed ``dataset`` the published state.

    Raises:
        PublishError: another build has published since ``base`` was read.
    """
    current = load_dataset(store)
    if current != base:
        there = current.generation if current else 0
        raise PublishError(f"another build published generation {there} in the meantime; run the build again")
    store.write(DATASET_JSON, dataset.to_json())


def _claimed(store: Store, dataset: Dataset) -> bool:
    name, data = f"{_CLAIM}{dataset.generation:06d}.json", dataset.to_json()
    return store.create(name, data) or store.read(name) == data


def _claims(store: Store) -> list[str]:
    return [name for name in store.names("manifest") if name.startswith(_CLAIM)]


def _artefacts(store: Store, names: Iterable[str]) -> Iterator[tuple[str, Sharded]]:
    for name in names:
        yield name, load(store, name, Sharded)
