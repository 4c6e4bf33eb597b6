"""Layouts out of the index: slices, chunks, nulls and lies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from schemas.geometry import Box
from tests.training.design_strategies import design_of, table_of
from training.errors import DamageError
from training.streaming.config import TASKS, PlanConfig, Task
from training.streaming.layout import count_tokens
from training.streaming.layouts import LAYOUT_COLUMNS, Layouts, read_layouts

CONFIG = PlanConfig(resolution=64)
I2L, RESTYLE = TASKS.index(Task.IMAGE_TO_LAYERS), TASKS.index(Task.RESTYLE)
DESIGNS = [
    design_of(
        (100 + i, 90),
        Box(i, 0, 90, 90),
        [Box(0, 0, 90, 90), *(Box(k, k, 2 * k + 9, 2 * k + 9) for k in range(i % 4))],
        background=i % 3 > 0,
        parts=[((0,), tuple(range(1, i % 4 + 1)))] * (i % 3),
        pairs=range(i % 4 + 1) if i % 2 else (),
    )
    for i in range(12)
]
TABLE = table_of(DESIGNS).select(LAYOUT_COLUMNS)


def tokens(layouts: Layouts, task: int) -> list[int]:
    partitions = np.minimum(layouts.partitions, 1).astype(np.int16) - 1
    out: list[int] = count_tokens(layouts, np.full(len(layouts), task, np.int8), partitions, CONFIG)[0].tolist()
    return out


def changed(column: str, values: list[Any], kind: pa.DataType | None = None) -> pa.Table:
    at = TABLE.schema.get_field_index(column)
    kind = kind or TABLE.schema.field(column).type
    return TABLE.slice(0, len(values)).set_column(at, pa.field(column, kind), pa.array(values, kind))


def test_what_a_sample_can_serve_is_counted() -> None:
    layouts = read_layouts(TABLE)
    backed = np.array([i % 3 > 0 for i in range(12)])
    assert layouts.backed.tolist() == backed.tolist()
    assert layouts.foregrounds.tolist() == [i % 4 + 1 - int(backed[i]) for i in range(12)]
    assert layouts.restyles.tolist() == [(i % 2) * (i % 4 + 1 - int(backed[i])) for i in range(12)]
    assert layouts.partitions.tolist() == [i % 3 for i in range(12)]


@pytest.mark.parametrize("task", range(len(TASKS)))
def test_slices_chunks_and_batches_count_as_the_whole(task: int) -> None:
    whole = tokens(read_layouts(TABLE), task)
    assert len(set(whole)) > 1
    for start, size in [(0, 5), (5, 7), (3, 1), (12, 0)]:
        assert tokens(read_layouts(TABLE.slice(start, size)), task) == whole[start : start + size]
    chunks = pa.concat_tables([TABLE.slice(0, 4), TABLE.slice(7, 5)])
    assert tokens(read_layouts(chunks), task) == whole[:4] + whole[7:]
    batch = TABLE.combine_chunks().to_batches()[0].slice(6, 3)
    assert tokens(read_layouts(batch), task) == whole[6:9]


def test_null_lists_are_empty_even_where_they_hide_values() -> None:
    restyles = TABLE["restyles"].combine_chunks()
    hidden = pa.ListArray.from_arrays(restyles.offsets, restyles.values, mask=pa.array([True] * 12))
    assert len(hidden.values) > 0 and hidden.null_count == 12
    table = TABLE.set_column(TABLE.schema.get_field_index("restyles"), "restyles", hidden)
    assert read_layouts(table).restyles.tolist() == [0] * 12
    layouts = read_layouts(changed("groupings", [None] * 12))
    assert layouts.partitions.tolist() == [0] * 12


def test_only_the_first_kind_says_whether_there_is_a_background() -> None:
    kinds = [["background"], ["image", "background"], [None, "background"], ["background", None, "image"]]
    assert read_layouts(changed("kinds", kinds)).backed.tolist() == [True, False, False, True]


def test_a_pair_named_twice_is_one() -> None:
    once, twice = (read_layouts(changed("restyles", [[], pairs])) for pairs in ([1], [1, 1]))
    assert once.restyles.tolist() == twice.restyles.tolist() == [0, 1]
    assert tokens(once, RESTYLE) == tokens(twice, RESTYLE)


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("width", [None], "number that is null"),
        ("width", [0], "canvas of 0 x 90"),
        ("height", [2**31 - 1], "canvas of 100 x 2147483647"),
        ("visible", [None], "box that is null"),
        ("visible", [[0, None, 1, 1]], "number that is null"),
        ("boxes", [None], "without layers"),
        ("boxes", [[]], "without layers"),
        ("boxes", [[None, [0, 0, 1, 1]]], "box that is null"),
        ("boxes", [[[0, 0, None, 1]]], "number that is null"),
        ("boxes", [[[3, 0, 3, 1]]], "empty or begins outside"),
        ("boxes", [[[-1, 0, 3, 1]]], "empty or begins outside"),
        ("boxes", [[[0, 0, 1, 91]]], "reaches to 91 px on a canvas of 90"),
        ("kinds", [[]], "without layers"),
        ("kinds", [None], "without layers"),
        ("restyles", [[1]], "names a layer"),
        ("restyles", [[-1]], "names a layer"),
        ("restyles", [[None]], "number that is null"),
    ],
)
def test_a_lie_in_the_index_is_damage(column: str, values: list[Any], words: str) -> None:
    with pytest.raises(DamageError, match=words):
        read_layouts(changed(column, values))


def test_a_visible_box_off_its_canvas_is_damage() -> None:
    layouts = read_layouts(changed("visible", [[0, 0, 101, 90]]))
    with pytest.raises(DamageError, match="reaches to 101 px on a canvas of 100"):
        tokens(layouts, 0)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([[0], [1], [2], [3]], "no partition"),
        ([[0], [1, 3]], "names a layer"),
        ([[0], [1, -1]], "names a layer"),
        ([[0], [1]], "no partition"),
        ([[0], [1, 1], [2]], "no partition"),
        ([[0, 1], [1]], "no partition"),
        ([], "no partition"),
        (None, "no partition"),
        ([[0], None], "no partition"),
        ([[0], [None, 1]], "number that is null"),
    ],
)
def test_a_grouping_that_is_none_is_damage_before_it_is_drawn(parts: list[Any] | None, words: str) -> None:
    """The third design has three layers; its second grouping is the bad one."""
    good = [[0, 2], [1]]
    assert read_layouts(changed("groupings", [[], [], [good, good], []])).partitions.tolist() == [0, 0, 2, 0]
    with pytest.raises(DamageError, match=words):
        read_layouts(changed("groupings", [[], [], [good, parts], []]))


def test_an_empty_part_adds_nothing() -> None:
    with_empty = read_layouts(changed("groupings", [[], [], [[[], [0], [], [1, 2], []]], []]))
    without = read_layouts(changed("groupings", [[], [], [[[0], [1, 2]]], []]))
    assert tokens(with_empty, I2L) == tokens(without, I2L)


def test_a_drawn_grouping_that_is_not_stored_is_damage() -> None:
    with pytest.raises(DamageError, match="lacks a grouping"):
        count_tokens(read_layouts(TABLE), np.full(12, I2L, np.int8), np.zeros(12, np.int16), CONFIG)
