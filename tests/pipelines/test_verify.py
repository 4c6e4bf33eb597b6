"""``acetate validate``: a good dataset has no problems, and each kind of damage to a dataset is found and named."""

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.storage import Store
from pipelines.validation.expectations import ExpectationsConfig, check_index
from pipelines.validation.verify import PARALLEL_SHARDS, verify
from schemas.dataset import DATASET_JSON, Counts, Dataset
from schemas.design import canonical_json
from schemas.index import INDEX_SCHEMA
from schemas.ledger import Code
from schemas.sample import read_shard
from tests.pipelines.dataset_builder import (
    Entry,
    draft,
    make_sample,
    publish,
    spoil_json,
    tiny_dataset,
    tiny_draft,
)


def found(store: Store) -> list[str]:
    return [str(problem) for problem in verify(store, workers=1)]


def holds(messages: list[str], *parts: str) -> bool:
    return any(all(part in message for part in parts) for message in messages)


def test_a_good_dataset_has_no_problems_and_progress_is_told(tmp_path):
    store = tiny_dataset(tmp_path)
    told: list[tuple[int, int]] = []
    assert verify(store, lambda done, total: told.append((done, total))) == []
    assert told == [(1, 2), (2, 2)]
    keys = [s.design.design_id for name in store.names("shards") for s in read_shard(store.open(name))]
    assert len(set(keys)) == 4


def test_an_empty_dataset_has_no_problems(tmp_path):
    assert found(publish(tmp_path, [Entry(None, Code.NOT_FOUND)])) == []


def test_a_dataset_in_memory_has_no_problems(tmp_path):
    disk = tiny_dataset(tmp_path)
    memory = Store("memory://verify")
    for name in disk.names():
        memory.write(name, disk.read(name))
    assert found(memory) == []


def test_many_shards_are_checked_in_processes_with_the_same_findings(tmp_path):
    entries = [Entry(make_sample(i, side=32), unit=i) for i in range(PARALLEL_SHARDS)]
    made = draft(entries)
    store = publish(tmp_path, made)
    name = made.shard_rows[3]["path"]
    store.write(name, made.shards[name][:-2048])
    alone = verify(store, workers=1)
    assert len(alone) > 1
    assert verify(store, workers=2) == alone


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "there is none in "),
        (b'{"schema": 2}', "has schema 2, this program reads schema 1"),
        (b'{"schema": 1}', "is damaged: Dataset: generation"),
        (b"\xff", "is damaged"),
        (b"[" * 100_000, "is damaged"),
        (b"[]", "is damaged"),
    ],
)
def test_a_dataset_json_that_cannot_be_used_is_the_one_problem(tmp_path, data, message):
    store = tiny_dataset(tmp_path)
    store.delete([DATASET_JSON])
    if data is not None:
        store.write(DATASET_JSON, data)
    (only,) = found(store)
    assert only.startswith(f"dataset.json: {message}")


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"counts": Counts(inputs=7, ok=4, filtered=2, failed=1)}, ("counts.filtered is 2, the tables say 1",)),
        ({"counts": Counts(inputs=6, ok=5, filtered=0, failed=1)}, ("counts.ok against the index is 5",)),
        ({"splits": {"train": 4}}, ("splits is {'train': 4}",)),
        ({"licences": {"MIT": 4}}, ("licences is {'MIT': 4}",)),
        ({"fingerprint": "0" * 64}, ("fingerprint is not that of the shards",)),
        ({"ledger": ("manifest/ledger-000001-00000000.parquet",)}, ("is named by dataset.json and not there",)),
        ({"index": ("../index.parquet",)}, ("../index.parquet", "is no name of a table of kind index")),
    ],
)
def test_a_dataset_json_that_disagrees(tmp_path, changes, parts):
    messages = found(tiny_dataset(tmp_path, **changes))
    assert holds(messages, *parts), messages


def spoil_rows(table: str, change):
    """A tiny dataset whose draft had ``change`` applied to the rows of ``table`` before it was written."""
    made = tiny_draft()
    rows = getattr(made, f"{table}_rows")
    change(rows)
    return made


@pytest.mark.parametrize(
    ("table", "change", "parts"),
    [
        ("ledger", lambda rows: rows.pop(), ("ledger: 1 inputs of the plan have no row: 5",)),
        ("ledger", lambda rows: rows.append(dict(rows[5])), ("ledger: 1 inputs have several rows: 5",)),
        ("ledger", lambda rows: rows[5].update(row=9), ("ledger: 1 rows are not in the plan: 9",)),
        (
            "ledger",
            lambda rows: rows[5].update(state="filtered"),
            ("code unreadable has state 'filtered', not failed",),
        ),
        ("ledger", lambda rows: rows[5].update(code="tired"), ("ledger: unknown code 'tired'",)),
        ("ledger", lambda rows: rows[0].update(design_id="0" * 32), ("1 ok inputs", "are not in the index")),
        ("ledger", lambda rows: rows[0].update(uri="elsewhere"), ("1 rows have another uri in the ledger",)),
        ("index", lambda rows: rows[0].update(row=1), ("samples of the index", "are not ok in the ledger")),
        ("index", lambda rows: rows[0].update(licence="MIT"), ("1 rows have another licence in the index",)),
        ("index", lambda rows: rows[0].update(boxes=[[0, 0, 99, 99]] * 3), ("expectation boxes_on_canvas fails",)),
        ("index", lambda rows: rows[0].update(recompose_mae=3.0), ("expectation recomposition_mean fails",)),
        ("index", lambda rows: rows[0].update(key=rows[1]["key"]), ("expectation key_unique fails",)),
        ("index", lambda rows: rows[0].update(shard="shards/train-000000-00000000.tar"), ("does not name",)),
        ("index", lambda rows: rows.pop(), ("is not in the index",)),
        ("plan", lambda rows: rows.pop(), ("1 rows are not in the plan: 5",)),
        ("plan", lambda rows: rows[4].update(row=40), ("the plan's rows are not 0 to 5",)),
        ("shard", lambda rows: rows[0].update(path="../../x.tar"), ("'../../x.tar' is no name of a shard",)),
        ("shard", lambda rows: rows[0].update(split="val"), ("does not agree with its split",)),
        ("shard", lambda rows: rows.append(dict(rows[0])), ("shard table: named more than once",)),
        ("shard", lambda rows: rows[0].update(samples=3), ("holds 2 samples, the shard table says 3",)),
    ],
)
def test_tables_that_disagree(tmp_path, table, change, parts):
    messages = found(publish(tmp_path, spoil_rows(table, change)))
    assert holds(messages, *parts), messages


def test_rows_of_a_shard_that_do_not_lie_together_are_no_problem(tmp_path):
    made = tiny_draft()
    made.index_rows.sort(key=lambda row: row["row"])
    assert [row["split"] for row in made.index_rows] == ["train", "val", "train", "val"]
    assert found(publish(tmp_path, made)) == []


def test_a_key_in_two_shards_is_found(tmp_path):
    sample = make_sample(1)
    messages = found(publish(tmp_path, [Entry(sample, unit=0), Entry(sample, unit=1)]))
    assert holds(messages, "expectation key_unique fails", sample.design.design_id)


def test_a_family_in_two_splits_is_found(tmp_path):
    entries = [Entry(make_sample(i, family="one"), split=split) for i, split in enumerate(("train", "val"))]
    assert holds(found(publish(tmp_path, entries)), "expectation family_in_one_split fails")


def test_a_damaged_table_is_named_and_the_shards_are_still_checked(tmp_path):
    store = tiny_dataset(tmp_path)
    dataset = Dataset.from_json(store.read(DATASET_JSON))
    data = bytearray(store.read(dataset.index[0]))
    data[len(data) // 2] ^= 1
    store.write(dataset.index[0], bytes(data))
    shard = store.names("shards")[0]
    store.write(shard, store.read(shard)[:-1024])
    messages = found(store)
    assert holds(messages, dataset.index[0], "which is not in its name")
    assert holds(messages, shard, "bytes, the shard table says")
    assert not holds(messages, "is not in the index")


def test_a_table_with_other_columns_is_named(tmp_path):
    store = tiny_dataset(tmp_path)
    sink = io.BytesIO()
    pq.write_table(pa.table({"key": ["x"]}), sink)
    (name,) = Dataset.from_json(store.read(DATASET_JSON)).index
    store.write(name, sink.getvalue())
    assert holds(found(store), name, "its columns are not those of schema 1: 'key' is ")


def test_results_of_publication_give_the_thresholds(tmp_path):
    made = tiny_draft()
    made.index_rows[0]["recompose_mae"] = 3.0
    store = publish(tmp_path, made)
    assert holds(found(store), "expectation recomposition_mean fails")
    results = check_index(pa.Table.from_pylist(made.index_rows, INDEX_SCHEMA), ExpectationsConfig(max_mae=5.0))
    data = canonical_json([result.model_dump(mode="json") for result in results])
    store.write("manifest/expectations-000001-00000000.json", data)
    messages = found(store)
    assert not holds(messages, "expectation recomposition_mean fails")
    assert holds(messages, "manifest/expectations-000001-00000000.json", "its name is not that of its content")
    store.write("manifest/expectations-000001-00000000.json", json.dumps([{"name": 1}]).encode())
    assert holds(found(store), "is no list of results")


def test_hostile_texts_do_not_reach_the_terminal(tmp_path):
    store = tiny_dataset(tmp_path)
    spoil_json(store, splits={"\x1b[2Jtrain": 4}, ledger=["manifest/\x1b[31m.parquet"])
    messages = found(store)
    assert messages
    assert not any("\x1b" in message for message in messages)
