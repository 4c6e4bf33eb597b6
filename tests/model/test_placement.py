"""Designs on the token grid: the properties that the plan, the decoding and the model rely on."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from model.errors import LayoutError
from model.placement import BLOCK, EPSILON, MAX_SIDE, Grid, areas, check_boxes, place, to_pixels, to_tokens, token_areas
from tests.training.design_strategies import boxes_on, sizes

Ints = tuple[int, int, int, int]
ONE = np.zeros(1, np.int64)


@st.composite
def designs(draw: st.DrawFn) -> tuple[tuple[int, int], Ints, list[Ints]]:
    """Canvas, visible box and some boxes."""
    size = draw(sizes)
    return size, draw(boxes_on(size)), draw(st.lists(boxes_on(size), min_size=1, max_size=6))


grids = st.builds(
    Grid,
    resolution=st.one_of(st.sampled_from([64, 512, 1000]), st.integers(16, 16_384)),
    token_px=st.one_of(st.sampled_from([8, 16, 28]), st.integers(1, 256)),
    max_canvas_tokens=st.one_of(st.none(), st.integers(4, 10_000)),
)


def exact(boxes: list[Ints], corner: np.ndarray, scale: float, token_px: int) -> list[list[Fraction]]:
    """Boxes in tokens from the corner of the visible box, without rounding."""
    per_token = Fraction(scale) / token_px
    return [[(value - int(corner[i % 2])) * per_token for i, value in enumerate(box)] for box in boxes]


@settings(max_examples=40)
@given(designs(), grids)
@example(((MAX_SIDE, MAX_SIDE), (0, 0, MAX_SIDE, MAX_SIDE), [(MAX_SIDE - 1, 0, MAX_SIDE, 1)]), Grid(16, 16))
@example(((MAX_SIDE, 1), (7, 0, 8, 1), [(0, 0, 1, 1)]), Grid(16_384, 1))
def test_token_boxes_contain_their_boxes_and_little_more(
    design: tuple[tuple[int, int], Ints, list[Ints]], grid: Grid
) -> None:
    size, visible, boxes = design
    placed = place(np.array([size]), np.array([visible]), grid)
    tokens = to_tokens(np.array(boxes), np.zeros(len(boxes), np.int64), placed)
    width, height = placed.canvas[0]
    assert (tokens >= 0).all() and (tokens[:, [0, 2]] <= width).all() and (tokens[:, [1, 3]] <= height).all()
    assert (tokens[:, 2:] > tokens[:, :2]).all()
    slack = Fraction(EPSILON) * 2 + Fraction(int(max(width, height))) / 2**50
    for got, want in zip(
        tokens - np.tile(placed.origin[0], 2),
        exact(boxes, placed.corner[0], placed.scale[0], grid.token_px),
        strict=True,
    ):
        assert all(want[i] - 1 - slack < int(got[i]) <= want[i] + slack for i in (0, 1))
        assert all(want[i] - slack <= int(got[i]) < want[i] + 1 + slack for i in (2, 3))


@settings(max_examples=40)
@given(designs(), grids)
def test_the_visible_corner_is_on_the_grid_and_nothing_is_stretched(
    design: tuple[tuple[int, int], Ints, list[Ints]], grid: Grid
) -> None:
    size, visible, boxes = design
    placed = place(np.array([size]), np.array([visible]), grid)
    pixels = to_pixels(np.array([visible, *boxes]), np.zeros(len(boxes) + 1, np.int64), placed)
    assert (pixels[0, :2] == placed.origin[0] * grid.token_px).all()
    assert (placed.visible[0] == to_tokens(np.array([visible]), ONE, placed)[0]).all()
    lengths = np.array([visible, *boxes])[:, 2:] - np.array([visible, *boxes])[:, :2]
    size_px = placed.canvas.max() * grid.token_px
    np.testing.assert_allclose(pixels[:, 2:] - pixels[:, :2], lengths * placed.scale[0], atol=size_px * 1e-14)


@settings(max_examples=40)
@given(designs(), grids)
@example(((MAX_SIDE, MAX_SIDE), (5, 5, 6, 6), [(0, 0, 1, 1)]), Grid(16_384, 1))
@example(((MAX_SIDE, 1), (5, 0, 6, 1), [(0, 0, 1, 1)]), Grid(512, 16, 4))
def test_resolution_is_kept_or_the_canvas_fits_its_limit(
    design: tuple[tuple[int, int], Ints, list[Ints]], grid: Grid
) -> None:
    size, visible, _ = design
    placed = place(np.array([size]), np.array([visible]), grid)
    x0, y0, x1, y1 = visible
    area = (x1 - x0) * (y1 - y0) * placed.scale[0] ** 2
    width, height = placed.canvas[0].tolist()
    assert width * height <= grid.canvas_limit
    if placed.scaled_down[0]:
        assert area < grid.resolution**2
    else:
        assert area == pytest.approx(grid.resolution**2, rel=1e-2)


def test_a_canvas_over_the_limit_is_scaled_down_no_more_than_it_must_be() -> None:
    sides = np.random.default_rng(0).integers(500, 3000, (500, 2))
    visible = np.hstack([sides * 2 // 5, sides * 3 // 5])
    grid = Grid(512, 16)
    placed = place(sides, visible, grid)
    assert placed.scaled_down.all()
    tokens = placed.canvas.prod(axis=1)
    assert (tokens <= grid.canvas_limit).all() and (tokens > 0.93 * grid.canvas_limit).all()


@pytest.mark.parametrize(("grid", "limit"), [(Grid(512, 16), 4096), (Grid(16, 256), 4), (Grid(512, 16, 77), 77)])
def test_a_canvas_has_at_most_four_visible_boxes_where_no_limit_is_set(grid: Grid, limit: int) -> None:
    assert grid.canvas_limit == limit


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_a_limit_that_no_canvas_can_fit_still_ends(limit: int) -> None:
    placed = place(np.array([[3000, 2000]]), np.array([[10, 10, 2000, 1000]]), Grid(512, 16, limit))
    assert placed.canvas.tolist() == [[2, 2]]


def test_a_design_has_the_same_place_alone_as_among_many() -> None:
    rng = np.random.default_rng(1)
    low, high = rng.integers(0, 900, (300, 2)), rng.integers(1000, 2000, (300, 2))
    sizes, visible = high + rng.integers(0, 3000, (300, 2)), np.hstack([low, high])
    grid = Grid(333, 14)
    many = place(sizes, visible, grid)
    boxes = np.hstack([np.zeros_like(sizes), rng.integers(1, sizes + 1)])
    together = to_tokens(boxes.astype(np.int32), np.arange(300), many)
    assert 0 < many.scaled_down.sum() < 300
    for i in range(300):
        alone = place(sizes[i : i + 1], visible[i : i + 1], grid)
        assert alone.scale[0] == many.scale[i]
        assert (to_tokens(boxes[i : i + 1], ONE, alone)[0] == together[i]).all()


def test_areas_are_those_of_the_token_boxes_over_more_than_a_block() -> None:
    rng = np.random.default_rng(2)
    sizes = rng.integers(300, 900, (100, 2))
    placed = place(sizes, np.hstack([np.zeros_like(sizes), sizes]), Grid(256, 16))
    design = np.sort(rng.integers(0, 100, BLOCK + 99))
    low = rng.integers(0, sizes[design])
    boxes = np.hstack([low, rng.integers(low + 1, sizes[design] + 1)]).astype(np.int32)
    assert (token_areas(boxes, design, placed) == areas(to_tokens(boxes, design, placed))).all()


@settings(max_examples=40)
@given(st.integers(1, 60), st.integers(1, 99), st.integers(0, 9), st.integers(1, 50))
@example(3, 91, 1, 1)
def test_float_noise_adds_no_token(tokens: int, unit: int, before: int, after: int) -> None:
    """What lies on the grid in exact arithmetic has no token more, though a token of 1 / unit is rounded."""
    corner, side = before * unit, tokens * unit
    size = corner + side + after * unit
    visible = np.array([[corner, corner, corner + side, corner + side]])
    grid = Grid(16 * tokens, 16, 10**6)
    placed = place(np.array([[size, size]]), visible, grid)
    edges = np.arange(before + tokens + after)
    boxes = np.stack([edges, edges, edges + 1, edges + 1], axis=1)
    assert (to_tokens(boxes * unit, np.zeros(len(edges), np.int64), placed) == boxes).all()
    assert placed.visible.tolist() == [[before, before, before + tokens, before + tokens]]
    assert placed.canvas.tolist() == [[before + tokens + after] * 2]


def test_a_known_design() -> None:
    """A banner of 200 x 50 px on a canvas that begins 10 px before it: scale 1, tokens of 16 px."""
    placed = place(np.array([[230, 60]]), np.array([[10, 10, 210, 60]]), Grid(100, 16))
    assert placed.scale[0] == 1 and placed.origin.tolist() == [[1, 1]] and placed.canvas.tolist() == [[15, 5]]
    assert placed.visible.tolist() == [[1, 1, 14, 5]]
    boxes = np.array([[0, 10, 10, 26], [26, 9, 43, 60]])
    assert to_tokens(boxes, np.zeros(2, np.int64), placed).tolist() == [[0, 1, 1, 2], [2, 0, 4, 5]]
    assert to_pixels(boxes, np.zeros(2, np.int64), placed).tolist() == [[6, 16, 16, 32], [32, 15, 49, 66]]


@pytest.mark.parametrize(
    ("size", "visible", "words"),
    [
        ((0, 5), (0, 0, 1, 1), "canvas of 0 x 5"),
        ((5, -1), (0, 0, 1, 1), "canvas of 5 x -1"),
        ((MAX_SIDE + 1, 5), (0, 0, 1, 1), "canvas of 1000001 x 5"),
        ((2**70, 5), (0, 0, 1, 1), f"canvas of {2**70} x 5"),
        ((5, 5), (0, 0, 2**70, 5), f"reaches to {2**70} px"),
        ((5, 5), (0, 0, 0, 5), r"box \[0, 0, 0, 5\] is empty"),
        ((5, 5), (0, 4, 5, 3), "is empty"),
        ((5, 5), (-1, 0, 5, 5), "begins outside"),
        ((5, 5), (0, 0, 5, 6), "reaches to 6 px on a canvas of 5"),
    ],
)
def test_absurd_sizes_are_refused(size: tuple[int, int], visible: Ints, words: str) -> None:
    with pytest.raises(LayoutError, match=words):
        place(np.array([[9, 9], size]), np.array([[0, 0, 1, 1], visible]), Grid(512, 16))


def test_boxes_are_checked_against_their_own_canvas() -> None:
    sizes, boxes = np.array([[9, 9], [5, 5]]), np.array([[0, 0, 9, 9], [8, 8, 9, 9], [0, 0, 5, 5]], np.int32)
    check_boxes(boxes, np.array([0, 2]), sizes)
    with pytest.raises(LayoutError, match="reaches to 9 px on a canvas of 5"):
        check_boxes(boxes, np.array([0, 1]), sizes)


def test_no_designs_have_no_places() -> None:
    placed = place(np.empty((0, 2), np.int64), np.empty((0, 4), np.int64), Grid(512, 16))
    assert len(placed.scale) == 0 and to_tokens(np.empty((0, 4)), ONE[:0], placed).shape == (0, 4)
