"""``dataset.json`` and the index: what a reader relies on before it opens a shard."""

from __future__ import annotations

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from schemas.dataset import Counts, Dataset
from schemas.design import Grouping
from schemas.errors import RecordError
from schemas.index import INDEX_SCHEMA, index_row
from schemas.sample import write_shard
from tests.builders import disc, layer, make_sample, solid


def dataset() -> Dataset:
    return Dataset(
        generation=2,
        fingerprint="a" * 64,
        build="b" * 64,
        plan="manifest/plan-000002-0123abcd.parquet",
        counts=Counts(inputs=10, ok=6, filtered=3, failed=1),
        splits={"train": 5, "test": 1},
        licences={"MIT": 6},
        shards=("manifest/shards-000002-0123abcd.parquet",),
        index=("manifest/index-000002-0-0123abcd.parquet",),
        ledger=("manifest/ledger-000002-0-0123abcd.parquet",),
    )


def test_a_dataset_travels_through_json_unchanged() -> None:
    assert Dataset.from_json(dataset().to_json()) == dataset()
    tree = json.loads(dataset().to_json())
    assert tree["schema"] == 1
    assert tree["counts"] == {"inputs": 10, "ok": 6, "filtered": 3, "failed": 1}


def test_counts_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(ValidationError, match="inputs 10 is not ok 6"):
        Counts(inputs=10, ok=6, filtered=3, failed=0)


def test_a_dataset_of_another_schema_version_is_refused_by_name() -> None:
    tree = json.loads(dataset().to_json())
    for changes, named in (({"schema": 2}, "schema"), ({"generation": 0}, "generation"), ({"extra": 1}, "extra")):
        with pytest.raises(RecordError, match=named):
            Dataset.from_json(json.dumps({**tree, **changes}))


def test_an_index_row_fits_the_table_and_survives_parquet() -> None:
    sample = make_sample(
        [layer(solid(60, 40, "navy")), layer(disc(20, "red"), at=(50, 0))],
        visible=(0, 0, 60, 40),
        groupings=(Grouping(seed=1, parts=((0,), (1,))),),
    )
    (location,) = write_shard(io.BytesIO(), [sample], "shards/train-000000-0123abcd.tar")
    row = index_row(sample.design, location, split="train", unit=0, row=7, phash="0f" * 8)
    table = pa.Table.from_pylist([row], schema=INDEX_SCHEMA)
    table.validate(full=True)
    out = io.BytesIO()
    pq.write_table(table, out)
    back = pq.read_table(io.BytesIO(out.getvalue())).to_pylist()[0]
    assert back == row
    assert back["key"] == sample.design.design_id
    assert back["boxes"] == [[0, 0, 60, 40], [50, 0, 70, 20]]
    assert back["groupings"] == [[[0], [1]]]
    assert 0 < back["overflow_share"] < 1
    assert {member["name"] for member in back["members"]} == {"json", *sample.members}
