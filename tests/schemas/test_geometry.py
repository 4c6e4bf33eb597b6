"""Boxes: the algebra of half-open rectangles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from schemas.geometry import Box, CanvasBox, union

SIDE = 24


def inside(box: Box) -> np.ndarray:
    """The box as a set of pixels of a 24 x 24 field whose origin is (-8, -8)."""
    field = np.zeros((SIDE, SIDE), bool)
    rows, columns = box.shift(8, 8).slices
    field[rows, columns] = True
    return field


coordinate = st.integers(-8, 16)
boxes = st.tuples(coordinate, coordinate, coordinate, coordinate).map(
    lambda c: Box(min(c[0], c[2]), min(c[1], c[3]), max(c[0], c[2]), max(c[1], c[3]))
)


@given(boxes, boxes)
def test_intersection_is_the_common_pixels(a: Box, b: Box) -> None:
    common = a.intersect(b)
    assert np.array_equal(inside(common), inside(a) & inside(b))
    assert common.area == (inside(a) & inside(b)).sum()
    assert common.empty == (common.area == 0)


@given(boxes, boxes)
def test_union_is_the_smallest_box_around_both(a: Box, b: Box) -> None:
    pixels = inside(a) | inside(b)
    around = a.union(b)
    assert not (pixels & ~inside(around)).any()
    if pixels.any():
        rows, columns = np.nonzero(pixels)
        assert around == Box(columns.min() - 8, rows.min() - 8, columns.max() - 7, rows.max() - 7)
    else:
        assert around.empty


@given(boxes, boxes)
def test_a_box_contains_another_when_no_pixel_is_outside(a: Box, b: Box) -> None:
    if not b.empty:
        assert a.contains(b) == (not (inside(b) & ~inside(a)).any())


@given(boxes, st.integers(-5, 5), st.integers(-5, 5))
def test_within_undoes_the_shift_of_its_origin(box: Box, dx: int, dy: int) -> None:
    origin = Box(dx, dy, dx + 1, dy + 1)
    assert box.shift(dx, dy).within(origin) == box
    assert (box.width, box.height) == (box.shift(dx, dy).width, box.shift(dx, dy).height)


def test_union_of_many_and_of_none() -> None:
    assert union([Box(0, 0, 2, 2), Box(5, 5, 5, 9), Box(3, -1, 4, 1)]) == Box(0, -1, 4, 2)
    assert union([]) == Box(0, 0, 0, 0)


def test_a_box_of_a_record_is_a_list_of_four_integers() -> None:
    adapter = TypeAdapter(CanvasBox)
    box = adapter.validate_json("[1, 2, 30, 40]")
    assert box == Box(1, 2, 30, 40)
    assert isinstance(box, Box)
    assert adapter.dump_json(box) == b"[1,2,30,40]"


@pytest.mark.parametrize("bad", ["[-1,0,4,4]", "[0,0,0,4]", "[0,0,4]", "[4,4,2,2]", "[0,0,1.5,2]", '"0,0,4,4"', "null"])
def test_a_box_of_a_record_is_on_the_canvas_and_not_empty(bad: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(CanvasBox).validate_json(bad)
