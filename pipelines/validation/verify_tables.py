"""The tables of a dataset: that they are the files they are named after, and that they agree with one another."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.plan import PLAN_SCHEMA
from pipelines.storage import Store
from pipelines.validation.problem import Problem, explained, quoted, some
from schemas.dataset import SHARD_SCHEMA, Dataset, content_fingerprint
from schemas.index import INDEX_SCHEMA
from schemas.ledger import LEDGER_SCHEMA

TABLE_NAME = re.compile(r"manifest/(plan|shards|index|ledger)-\d{6,}(-\d+)?-(?P<sha8>[0-9a-f]{8})\.parquet")
SHARD_NAME = re.compile(r"shards/(?P<split>\w+)-(?P<unit>\d{6,})-(?P<sha8>[0-9a-f]{8})\.tar")
BATCH_ROWS = 1024
_CHUNK = 1 << 20


class Tables:
    """The tables of a dataset. ``problems``: what is wrong with their files; ``digests``: the sha256 of each file."""

    def __init__(self, store: Store, dataset: Dataset) -> None:
        self._store = store
        self.problems: list[Problem] = []
        self.digests: dict[str, str] = {}
        self._readable: dict[str, bool] = {}
        self.shards, self.index, self.ledger = dataset.shards, dataset.index, dataset.ledger
        self.plan = (dataset.plan,)
        tables = (
            ("plan", self.plan, PLAN_SCHEMA),
            ("shards", self.shards, SHARD_SCHEMA),
            ("index", self.index, INDEX_SCHEMA),
            ("ledger", self.ledger, LEDGER_SCHEMA),
        )
        for kind, names, schema in tables:
            found = list(self._check(kind, names, schema))
            self._readable[kind] = not found
            self.problems += found

    def readable(self, *kinds: str) -> bool:
        """Whether all parts of these tables are whole."""
        return all(self._readable[kind] for kind in kinds)

    def batches(
        self, names: Iterable[str], columns: Sequence[str] | None = None, rows: int = BATCH_ROWS
    ) -> Iterator[pa.Table]:
        """The rows of tables in order, at most ``rows`` at a time."""
        for name in names:
            with self._store.open(name) as source:
                for batch in pq.ParquetFile(source).iter_batches(rows, columns=columns, use_threads=False):
                    yield pa.Table.from_batches([batch])

    def columns(self, names: Iterable[str], columns: Sequence[str], schema: pa.Schema) -> pa.Table:
        """Some columns of all parts of a table."""
        empty = pa.schema([schema.field(column) for column in columns]).empty_table()
        return pa.concat_tables([empty, *self.batches(names, columns)])

    def _check(self, kind: str, names: Sequence[str], schema: pa.Schema) -> Iterator[Problem]:
        if len(set(names)) != len(names):
            yield Problem(where="dataset.json", message=f"{kind}: a table is named twice")
        for name in names:
            for message in self._check_file(kind, name, schema):
                yield Problem(where=quoted(name)[1:-1], message=message)

    def _check_file(self, kind: str, name: str, schema: pa.Schema) -> Iterator[str]:
        match = TABLE_NAME.fullmatch(name)
        if match is None or match[1] != kind:
            yield f"is no name of a table of kind {kind}"
            return
        try:
            digest = hashlib.sha256()
            with self._store.open(name) as source:
                while chunk := source.read(_CHUNK):
                    digest.update(chunk)
            self.digests[name] = digest.hexdigest()
            if digest.hexdigest()[:8] != match["sha8"]:
                yield f"its sha256 starts with {digest.hexdigest()[:8]}, which is not in its name"
            with self._store.open(name) as source:
                found = pq.ParquetFile(source).schema_arrow
            if not found.equals(schema):
                yield f"its columns are not those of schema 1: {_difference(found, schema)}"
        except FileNotFoundError:
            yield "is named by dataset.json and not there"
        except Exception as error:  # noqa: BLE001 - a table is untrusted; what it provokes is a finding
            yield f"cannot be read: {explained(error)}"


def check_shard_table(rows: Sequence[dict[str, object]], dataset: Dataset) -> list[Problem]:
    """The shard table against its names and ``dataset.json``."""
    problems = []
    for row in rows:
        path = str(row["path"])
        match = SHARD_NAME.fullmatch(path)
        if match is None:
            problems.append(Problem(where="shard table", message=f"{quoted(path)} is no name of a shard"))
            continue
        named = (match["split"], int(match["unit"]), match["sha8"])
        if named != (row["split"], row["unit"], str(row["sha256"])[:8]):
            problems.append(Problem(where=path, message="its name does not agree with its split, unit and sha256"))
    twice = [path for path, times in Counter(row["path"] for row in rows).items() if times > 1]
    if twice:
        problems.append(Problem(where="shard table", message=f"named more than once: {some(twice)}"))
    if content_fingerprint((str(row["path"]), str(row["sha256"])) for row in rows) != dataset.fingerprint:
        problems.append(Problem(where="dataset.json", message="fingerprint is not that of the shards"))
    return problems


def check_counts(tables: Tables, dataset: Dataset) -> list[Problem]:
    """What ``dataset.json`` counts, against the index and the ledger."""
    index = tables.columns(tables.index, ["split", "licence"], INDEX_SCHEMA)
    states = _counted(tables.columns(tables.ledger, ["state"], LEDGER_SCHEMA).column("state"))
    counts = dataset.counts
    pairs: list[tuple[str, object, object]] = [
        ("splits", dict(dataset.splits), _counted(index.column("split"))),
        ("licences", dict(dataset.licences), _counted(index.column("licence"))),
        ("counts.inputs", counts.inputs, sum(states.values())),
    ]
    for state in ("ok", "filtered", "failed"):
        pairs.append((f"counts.{state}", getattr(counts, state), states.get(state, 0)))
    pairs.append(("counts.ok against the index", counts.ok, index.num_rows))
    return [
        Problem(where="dataset.json", message=f"{name} is {quoted(said)}, the tables say {quoted(found)}")
        for name, said, found in pairs
        if said != found
    ]


def rows_by_shard(tables: Tables) -> Iterator[tuple[str, list[dict[str, object]]]]:
    """The index rows of each shard. Rows of one shard lie together as a build writes them; else the index is sorted."""
    runs = [shard for part in tables.batches(tables.index, ["shard"]) for shard in _runs(part.column("shard"))]
    runs = [shard for i, shard in enumerate(runs) if i == 0 or shard != runs[i - 1]]
    batches: Iterable[pa.Table] = tables.batches(tables.index)
    if len(set(runs)) != len(runs):
        batches = [tables.columns(tables.index, INDEX_SCHEMA.names, INDEX_SCHEMA).sort_by("shard")]
    shard, rows = "", list[dict[str, object]]()
    for batch in batches:
        for row in batch.to_pylist():
            if row["shard"] != shard:
                if rows:
                    yield shard, rows
                shard, rows = str(row["shard"]), []
            rows.append(row)
    if rows:
        yield shard, rows


def _runs(column: pa.ChunkedArray) -> list[str]:
    values = pc.run_end_encode(column.combine_chunks())
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    names: list[str] = values.values.to_pylist()
    return names


def _counted(column: pa.ChunkedArray) -> dict[str, int]:
    return {str(each["values"]): int(each["counts"]) for each in pc.value_counts(column).to_pylist()}


def _difference(found: pa.Schema, wanted: pa.Schema) -> str:
    for name in [*wanted.names, *found.names]:
        here = found.field(name) if name in found.names else None
        there = wanted.field(name) if name in wanted.names else None
        if here is None or there is None or not here.equals(there):
            return f"{quoted(name)} is {quoted(str(here))}, wanted {there}"
    return "the order of the columns"
