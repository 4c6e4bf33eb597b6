"""The suite over the index: what passes, what each spoilt row fails, and that nothing is swallowed."""

import datetime

import pyarrow as pa
import pytest

from pipelines.validation.expectations import Expectation, ExpectationsConfig, check_index, config_of
from schemas.index import INDEX_SCHEMA
from schemas.licence import LicencePolicy
from tests.pipelines.dataset_builder import Entry, draft, make_sample, tiny_draft

TODAY = datetime.date(2026, 1, 1)
ROWS = tiny_draft(4).index_rows


def table(rows):
    return pa.Table.from_pylist(rows, schema=INDEX_SCHEMA)


def by_name(results: list[Expectation]) -> dict[str, Expectation]:
    return {result.name: result for result in results}


def spoilt(row: int, **fields: object):
    return [{**each, **fields} if i == row else each for i, each in enumerate(ROWS)]


def test_a_good_index_passes_whole_and_in_parts():
    results = check_index(table(ROWS), ExpectationsConfig(), policy=LicencePolicy(), today=TODAY)
    assert [r.name for r in results if not r.passed] == []
    assert {r.checked for r in results} == {4}
    parts = [table(ROWS[:1]), table([]), table(ROWS[1:])]
    assert check_index(iter(parts), ExpectationsConfig(), policy=LicencePolicy(), today=TODAY) == results


def test_an_empty_index_passes():
    results = check_index(table([]), ExpectationsConfig(), policy=LicencePolicy(), today=TODAY)
    assert all(r.passed and r.checked == 0 and not r.failed_ids for r in results)


@pytest.mark.parametrize(
    ("fields", "name", "critical"),
    [
        ({"key": "A" * 32}, "key_format", True),
        ({"licence": "  "}, "licence_present", True),
        ({"licensor": ""}, "licensor_present", True),
        ({"licence": "GPL-3.0-only"}, "licence_allowed", True),
        ({"expires": "2026-01-01"}, "licence_current", True),
        ({"expires": "soon"}, "licence_current", True),
        ({"recompose_mae": 1.5}, "recomposition_mean", True),
        ({"recompose_p99": 40.0}, "recomposition_p99", True),
        ({"layers": 51}, "layer_count", False),
        ({"layers": 4}, "layer_lists", True),
        ({"boxes": [[0, 0, 64, 64], [0, 0, 5, 5], [0, 0, 81, 5]]}, "boxes_on_canvas", True),
        ({"boxes": [[0, 0, 64, 64], [0, 0, 5, 5], [9, 0, 9, 5]]}, "boxes_on_canvas", True),
        ({"visible": [0, 0, 64, 65]}, "visible_on_canvas", True),
        ({"overflow_share": 1.25}, "overflow_range", True),
        ({"caption_source": None}, "caption_present", False),
        ({"members": []}, "member_sizes", True),
        ({"shard": "shards/train-000000.tar"}, "shard_name", True),
        ({"split": "test"}, "split_known", True),
        ({"split": "val"}, "shard_placement", True),
        ({"uri": ""}, "uri_present", True),
    ],
)
def test_one_spoilt_row_is_named(fields, name, critical):
    rows = spoilt(1, **fields)
    config = ExpectationsConfig(splits=("train", "val"))
    result = by_name(check_index(table(rows), config, policy=LicencePolicy(), today=TODAY))[name]
    assert (result.passed, result.critical, result.failed_ids) == (False, critical, (rows[1]["key"],))
    assert result.detail == "1 of 4 samples"


def test_keys_and_looks_that_repeat_name_all_of_them():
    results = by_name(check_index(table(spoilt(1, key=ROWS[0]["key"], phash=ROWS[0]["phash"])), ExpectationsConfig()))
    assert results["key_unique"].failed_ids == (ROWS[0]["key"],)
    assert results["key_unique"].detail == "2 of 4 samples"
    assert not results["look_unique"].passed
    assert not results["look_unique"].critical


def test_a_family_in_two_splits_is_critical():
    entries = [Entry(make_sample(i, family="same"), split=split) for i, split in enumerate(("train", "val"))]
    entries.append(Entry(make_sample(2)))
    rows = draft(entries).index_rows
    result = by_name(check_index(table(rows), ExpectationsConfig()))["family_in_one_split"]
    assert result.critical
    assert result.failed_ids == tuple(sorted(row["key"] for row in rows if row["family"] == "same"))


def test_failing_ids_are_complete():
    rows = [{**ROWS[0], "key": f"{i:032x}", "recompose_mae": 9.0} for i in range(300)]
    result = by_name(check_index(table(rows), ExpectationsConfig()))["recomposition_mean"]
    assert result.failed_ids == tuple(f"{i:032x}" for i in range(300))


def test_the_shape_of_the_whole_dataset_only_warns():
    rows = [{**row, "overflow_share": 0.0, "reusable": [False] * 3} for row in ROWS]
    results = by_name(check_index(table(rows), ExpectationsConfig()))
    for name in ("overflow_designs", "reusable_layers"):
        assert (results[name].passed, results[name].critical, results[name].detail) == (False, False, "mean 0")


def test_what_cannot_be_evaluated_is_a_critical_failure_and_hides_nothing():
    broken = table(ROWS).drop_columns(["caption_source"])
    results = by_name(check_index(broken, ExpectationsConfig()))
    assert results["caption_present"].critical
    assert not results["caption_present"].passed
    assert "caption_source" in results["caption_present"].detail
    assert [name for name, r in results.items() if not r.passed] == ["caption_present"]


def test_an_error_inside_great_expectations_is_reported():
    index = table(ROWS)
    odd = index.set_column(index.schema.get_field_index("layers"), "layers", pa.array(["many"] * 4))
    result = by_name(check_index(odd, ExpectationsConfig()))["layer_count"]
    assert (result.passed, result.critical) == (False, True)
    assert result.detail.startswith("cannot be evaluated: ")


def test_results_say_what_they_were_held_to():
    config = ExpectationsConfig(max_mae=2.0, max_layers=7, splits=("train", "val"), min_overflow_share=0.25)
    assert config_of(check_index(table(ROWS), config)) == config
    assert Expectation.model_validate_json(check_index(table(ROWS), config)[0].model_dump_json()).passed
