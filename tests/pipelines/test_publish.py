"""Publication: tables in parts, a claimed generation, and a swap that never overwrites another build's."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.errors import PublishError
from pipelines.publish import UNIQUE, Table, batches, claim, load_dataset, swap, table_writer
from pipelines.storage import Store
from schemas.dataset import Counts, Dataset
from schemas.index import INDEX_SCHEMA
from schemas.ledger import LEDGER_SCHEMA, Code, LedgerRow
from tests.pipelines.dataset_builder import Entry, make_sample, publish


def state(generation: int, build: str = "a") -> Dataset:
    return Dataset(
        generation=generation,
        fingerprint="f" * 64,
        build=build * 64,
        plan="manifest/plan.parquet",
        counts=Counts(inputs=0, ok=0, filtered=0, failed=0),
        splits={},
        licences={},
        shards=(),
        index=(),
        ledger=(),
    )


def test_a_claim_then_a_swap_publishes(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    first = claim(store, None, state)
    swap(store, None, first)
    assert load_dataset(store) == first
    second = claim(store, first, state)
    assert second.generation == 2
    swap(store, first, second)
    assert load_dataset(store) == second


def test_a_build_that_died_after_its_claim_is_taken_up_or_passed_over(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    assert claim(store, None, state).generation == 1
    assert claim(store, None, state).generation == 1
    assert claim(store, None, lambda generation: state(generation, "b")).generation == 2


def test_the_slower_of_two_builds_does_not_overwrite_the_faster(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    ours = claim(store, None, state)
    theirs = claim(store, None, lambda generation: state(generation, "b"))
    swap(store, None, theirs)
    with pytest.raises(PublishError, match="run the build again"):
        swap(store, None, ours)
    assert load_dataset(store) == theirs


def test_a_table_is_cut_into_parts_that_read_back_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.publish.PART_ROWS", 5)
    store = Store(str(tmp_path / "ds"))
    rows = [LedgerRow(row=i, uri=f"{i}.psd", unit=i // 2, stage="shard", code=Code.OK) for i in range(12)]
    table = Table(store, "ledger", 3, LEDGER_SCHEMA, tmp_path)
    for start in range(0, 12, 2):
        table.add([row.to_arrow() for row in rows[start : start + 2]])
    names = table.close()
    assert len(names) == 3
    assert all(name.startswith("manifest/ledger-000003-") for name in names)
    found = [row for batch in batches(store, names) for row in batch.to_pylist()]
    assert found == [row.to_arrow() for row in rows]
    assert [row for batch in batches(store, names, ["row"]) for row in batch.to_pylist()][3] == {"row": 3}


def test_units_are_gathered_whole_into_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.publish.GROUP_ROWS", 5)
    store = Store(str(tmp_path / "ds"))
    rows = [LedgerRow(row=i, uri=f"{i}.psd", unit=i // 3, stage="shard", code=Code.OK).to_arrow() for i in range(20)]
    table = Table(store, "ledger", 1, LEDGER_SCHEMA, tmp_path)
    for start in range(0, 20, 3):
        table.add(rows[start : start + 3])
    groups = [batch.to_pylist() for batch in batches(store, table.close())]
    assert [len(group) for group in groups] == [6, 6, 6, 2]
    assert [row for group in groups for row in group] == rows


def test_an_empty_table_is_one_part_without_rows(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "ds"))
    names = Table(store, "ledger", 1, LEDGER_SCHEMA, tmp_path).close()
    assert len(names) == 1
    assert list(batches(store, names)) == []


def test_what_is_unique_has_no_dictionary(tmp_path: Path) -> None:
    samples = publish(tmp_path / "ds", [Entry(make_sample(number)) for number in range(2)])
    (name,) = (name for name in samples.names("manifest") if "/index-" in name)
    rows = pq.read_table(tmp_path / "ds" / name).to_pylist()
    with table_writer(tmp_path / "index.parquet", INDEX_SCHEMA) as writer:
        writer.write_table(pa.Table.from_pylist(rows, INDEX_SCHEMA))
    group = pq.read_metadata(tmp_path / "index.parquet").row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    plain = {column.path_in_schema for column in columns if not column.has_dictionary_page}
    assert plain - {"reusable.list.element"} == UNIQUE  # booleans never have one
    assert pq.read_table(tmp_path / "index.parquet").to_pylist() == rows
