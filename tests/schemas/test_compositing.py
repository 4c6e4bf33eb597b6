"""The composite against its definition in float64, and the identities that straight-alpha "over" has."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from schemas.compositing import Placed, composite, composite_fast, on_solid
from schemas.geometry import Box

CANVAS = Box(0, 0, 9, 7)


@st.composite
def placed(draw: st.DrawFn) -> Placed:
    """A layer of any size, anywhere on, across or off the canvas, often opaque or transparent in parts."""
    x, y = draw(st.integers(-6, 10)), draw(st.integers(-6, 8))
    height, width = draw(st.integers(1, 8)), draw(st.integers(1, 8))
    pixels = draw(npst.arrays(np.uint8, (height, width, 4)))
    mode = draw(st.sampled_from(["any", "opaque", "clear", "mixed"]))
    if mode == "opaque":
        pixels[..., 3] = 255
    elif mode == "clear":
        pixels[..., 3] = 0
    elif mode == "mixed":
        pixels[..., 3] = np.where(pixels[..., 3] < 85, 0, np.where(pixels[..., 3] < 170, pixels[..., 3], 255))
    return pixels, Box(x, y, x + width, y + height)


stacks = st.lists(placed(), max_size=6)


def defined(layers: list[Placed], canvas: Box) -> npt.NDArray[np.float64]:
    """Porter and Duff's "over" a pixel at a time in float64: straight ``[height, width, 4]``, 0..255, unrounded."""
    out = np.zeros((canvas.height, canvas.width, 4))
    for pixels, box in layers:
        for y in range(box.height):
            for x in range(box.width):
                row, column = box.y0 + y - canvas.y0, box.x0 + x - canvas.x0
                if not (0 <= row < canvas.height and 0 <= column < canvas.width):
                    continue
                above, below = pixels[y, x].astype(float), out[row, column].copy()
                a, b = above[3] / 255, below[3] / 255
                alpha = a + b * (1 - a)
                if alpha > 0:
                    out[row, column, :3] = (above[:3] * a + below[:3] * b * (1 - a)) / alpha
                out[row, column, 3] = alpha * 255
    return out


@given(stacks)
def test_the_composite_is_the_definition_rounded_once(layers: list[Placed]) -> None:
    ours, exact = composite(layers, CANVAS), defined(layers, CANVAS)
    shown = ours[..., 3] > 0
    assert np.abs(ours[..., 3] - exact[..., 3]).max(initial=0) <= 0.5 + 1e-3
    # Colour of a pixel with tiny alpha is a quotient of small numbers: float32 carries 24 bits of it.
    assert np.abs(ours[..., :3] - exact[..., :3])[shown].max(initial=0) <= 0.5 + 1e-2
    assert not ours[~shown].any()


@given(stacks, st.integers(0, 6))
def test_over_is_associative(layers: list[Placed], cut: int) -> None:
    """Compositing the upper layers first and laying the result over the lower ones differs by rounding alone."""
    lower, upper = layers[:cut], layers[cut:]
    whole = composite(layers, CANVAS)
    merged = composite([*lower, (composite(upper, CANVAS), CANVAS)], CANVAS)
    assert np.abs(whole[..., 3].astype(int) - merged[..., 3]).max(initial=0) <= 1
    for value in (0, 255):
        assert np.abs(on_solid(whole, value) - on_solid(merged, value)).max(initial=0) <= 2.0


@given(stacks, placed())
def test_a_transparent_layer_changes_nothing_and_an_opaque_one_hides(layers: list[Placed], top: Placed) -> None:
    pixels, box = top
    clear, solid = pixels.copy(), pixels.copy()
    clear[..., 3], solid[..., 3] = 0, 255
    below = composite(layers, CANVAS)
    assert np.array_equal(composite([*layers, (clear, box)], CANVAS), below)
    part = box.intersect(CANVAS)
    over = composite([*layers, (solid, box)], CANVAS)
    assert np.array_equal(over[part.slices], solid[part.within(box).slices])


@given(stacks)
def test_a_part_of_the_canvas_is_that_part_of_the_composite(layers: list[Placed]) -> None:
    part = Box(2, 1, 7, 5)
    assert np.array_equal(composite(layers, part), composite(layers, CANVAS)[part.slices])


@given(stacks)
def test_the_fast_path_is_within_a_level_a_translucent_layer(layers: list[Placed]) -> None:
    exact, fast = composite(layers, CANVAS), composite_fast(layers, CANVAS)
    allowed = 1 + sum(bool(((pixels[..., 3] > 0) & (pixels[..., 3] < 255)).any()) for pixels, _ in layers)
    assert np.abs(exact[..., 3].astype(int) - fast[..., 3]).max(initial=0) <= allowed
    for value in (0, 255):
        assert np.abs(on_solid(exact, value) - on_solid(fast, value)).max(initial=0) <= allowed


def test_nothing_on_the_canvas_is_transparent_black() -> None:
    off = (np.full((3, 3, 4), 255, np.uint8), Box(50, 50, 53, 53))
    for layers in ([], [off]):
        assert not composite(layers, CANVAS).any()
        assert composite(layers, CANVAS).shape == (7, 9, 4)
        assert not composite_fast(layers, CANVAS).any()


def test_half_white_over_black_is_middle_gray() -> None:
    black = (np.full((1, 1, 4), (0, 0, 0, 255), np.uint8), Box(0, 0, 1, 1))
    white = (np.full((1, 1, 4), (255, 255, 255, 128), np.uint8), Box(0, 0, 1, 1))
    assert composite([black, white], Box(0, 0, 1, 1)).tolist() == [[[128, 128, 128, 255]]]
    assert on_solid(white[0], 0).tolist() == [[[128.0, 128.0, 128.0]]]
