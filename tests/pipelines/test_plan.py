"""The plan: stable under growth, refused when it is another one, and judged before a byte is read."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipelines.errors import StoreError, UsageError
from pipelines.manifest import Input
from pipelines.plan import Plan, load_plan, make_plan, newest_plan, read_unit, retry, save_plan, split_of, unit_key
from pipelines.storage import Store
from schemas.ledger import Code
from schemas.licence import LicencePolicy

TODAY = datetime.date(2026, 11, 20)
SPLITS = {"train": 0.8, "test": 0.2}


def plan(
    inputs: Sequence[Input], old: Plan | None = None, *, unit_size: int = 7, allow: tuple[str, ...] = ("MIT",)
) -> Plan:
    return make_plan(
        "base",
        inputs,
        unit_size=unit_size,
        splits=SPLITS,
        policy=LicencePolicy(allow=allow),
        old=old,
        today=TODAY,
    )


def inputs(count: int, **fields: str) -> list[Input]:
    return [Input(f"designs/{i}.psd", **({"licence": "MIT", "licensor": "a person"} | fields)) for i in range(count)]


def test_every_input_has_one_row_in_one_unit_of_its_split() -> None:
    made = plan(inputs(100))
    rows = [row for unit in made.units for row in unit]
    assert [row.row for row in rows] == list(range(100))
    assert sorted(row.uri for row in rows) == sorted(each.uri for each in inputs(100))
    for number, unit in enumerate(made.units):
        assert {row.unit for row in unit} == {number}
        assert len({row.split for row in unit}) == 1
        assert len(unit) <= 7


def test_the_plan_does_not_depend_on_the_order_of_the_manifest() -> None:
    assert plan(inputs(50)).units == plan(inputs(50)[::-1]).units


def test_a_grown_manifest_keeps_old_units_and_adds_new_ones() -> None:
    old = plan(inputs(50))
    grown = plan(inputs(80), old)
    assert list(grown.units[: len(old.units)]) == list(old.units)
    assert grown.rows == 80
    assert plan(inputs(80), grown).key == grown.key


def test_repeated_uris_are_inputs_of_their_own() -> None:
    made = plan([*inputs(3), *inputs(3)])
    assert made.rows == 6
    assert plan([*inputs(3), *inputs(3)], made).key == made.key
    assert plan([*inputs(3), *inputs(3), *inputs(3)], made).rows == 9


def test_families_stay_together() -> None:
    made = plan([Input(f"{i}.psd", "MIT", "a person", family=f"family-{i % 10}") for i in range(200)])
    splits: dict[str, set[str]] = {}
    for unit in made.units:
        for row in unit:
            splits.setdefault(row.family, set()).add(row.split)
    assert all(len(found) == 1 for found in splits.values())
    assert {split_of(each, SPLITS) for each in inputs(200)} == set(SPLITS)


@pytest.mark.parametrize("changed", ["gone", "unit_size"])
def test_another_plan_is_refused_with_the_difference(changed: str) -> None:
    old = plan(inputs(20))
    with pytest.raises(UsageError, match="3.psd" if changed == "gone" else "unit_size was 7, is 8"):
        if changed == "gone":
            plan([each for each in inputs(20) if each.uri != "designs/3.psd"], old)
        else:
            plan(inputs(20), old, unit_size=8)


def test_the_policy_speaks_before_reading_and_can_change() -> None:
    old = plan(
        [
            *inputs(5),
            Input("x.psd", "GPL-3.0-only", "b"),
            Input("y.psd", None, "b"),
            Input("z.psd", "MIT", "b", expires="2020-01-01"),
        ]
    )
    codes = {row.uri: row.code for unit in old.units for row in unit}
    assert codes["x.psd"] is Code.LICENCE_NOT_ALLOWED
    assert codes["y.psd"] is Code.LICENCE_MISSING
    assert codes["z.psd"] is Code.LICENCE_EXPIRED
    assert codes["designs/0.psd"] is Code.OK
    everything = [
        *inputs(5),
        Input("x.psd", "GPL-3.0-only", "b"),
        Input("y.psd", None, "b"),
        Input("z.psd", "MIT", "b", expires="2020-01-01"),
    ]
    wider = plan(everything, old, allow=("MIT", "GPL-3.0-only"))
    assert wider.key != old.key
    assert {row.uri: row.code for unit in wider.units for row in unit}["x.psd"] is Code.OK


def test_plans_are_saved_by_generation_and_read_by_unit(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    assert newest_plan(store, None) is None
    first = save_plan(store, plan(inputs(30)))
    loaded = load_plan(store, first.name)
    assert (loaded.key, loaded.generation) == (first.key, 1)
    second = save_plan(store, retry(plan(inputs(30), loaded), {4}))
    assert second.key != first.key
    newest = newest_plan(store, loaded)
    assert newest is not None
    assert newest.name == second.name
    for number, unit in enumerate(second.units):
        assert read_unit(store, second.name, number) == list(unit)
    assert [row.row for unit in newest.units for row in unit if row.retries] == [4]


def test_a_rivals_plan_is_not_built_on(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    first = save_plan(store, plan(inputs(10)))
    ours, theirs = (save_plan(store, plan(inputs(count), first)) for count in (20, 15))
    assert ours.generation == theirs.generation == 2
    for published in (ours, theirs):
        newest = newest_plan(store, published)
        assert newest is not None
        assert newest.name == published.name


def test_a_damaged_plan_is_named(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    made = save_plan(store, plan(inputs(10)))
    data = store.read(made.name)
    store.write(made.name, data[: len(data) // 2])
    for read in (lambda: load_plan(store, made.name), lambda: read_unit(store, made.name, 0)):
        with pytest.raises(StoreError, match="is damaged"):
            read()


def test_one_uri_in_two_families_is_planned_the_same_way_twice() -> None:
    listed = [Input("x.psd", "MIT", "one", family=f"f{i}") for i in range(12)]
    made = plan(listed)
    assert plan(listed, made).key == made.key


def test_terms_are_in_no_extraction_key() -> None:
    one, other = plan(inputs(5)), plan(inputs(5, licensor="another", caption="said"))
    assert [unit_key(unit) for unit in one.units] == [unit_key(unit) for unit in other.units]
    assert one.key != other.key
