"""The pictures of ``acetate inspect``: the exploded view, the comparison, and the words on them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pipelines.exploded import exploded
from pipelines.flatten import FlattenConfig, Stack, StackLayer
from pipelines.flatten import lower as lowered
from pipelines.formats.tree import Document, Leaf
from pipelines.lettering import fitted, length, write
from pipelines.pictures import PAGE, VISIBLE, checkers, comparison, difference, panels, sized
from schemas.design import LayerKind, Recomposition
from schemas.geometry import Box

ORANGE = (255, 157, 66)


def leaf(name, colour, box):
    where = Box(*box)
    pixels = np.empty((where.height, where.width, 4), np.uint8)
    pixels[:] = colour
    return Leaf(name, box=where, pixels=lambda: pixels)


def stack_of(*leaves, width=400, height=300, **fields):
    return lowered(Document(width, height, leaves, **fields), FlattenConfig())


def many(count, width, height):
    """A stack of layers as large as its canvas."""
    pixels = np.zeros((height, width, 4), np.uint8)
    box = Box(0, 0, width, height)
    layers = tuple(StackLayer(pixels, box, f"layer {i}" * 20, LayerKind.IMAGE) for i in range(count))
    found = Recomposition(reference="render", mae=0.0, p99=0.0)
    return Stack(box, box, layers, 1.0, pixels, pixels, found, count, 0.0, Box(0, 0, 1, 1))


def near(picture, colour, spread=12):
    """The number of px that are about of a colour."""
    return int((np.abs(np.asarray(picture).astype(int) - colour).max(axis=2) <= spread).sum())


PAPER = leaf("paper", (240, 240, 240, 255), (0, 0, 400, 300))


def test_sheets_lie_above_each_other_and_show_their_layers():
    red, green = leaf("red", (220, 20, 20, 255), (50, 50, 350, 100)), leaf("g", (20, 200, 20, 255), (50, 200, 350, 250))
    picture = exploded(stack_of(PAPER, red, green), "a design")
    rows = np.arange(picture.height)[:, None] * np.ones((1, picture.width))
    pixels = np.asarray(picture).astype(int)
    heights = [rows[np.abs(pixels - colour).max(axis=2) <= 20].mean() for colour in ((220, 20, 20), (20, 200, 20))]
    assert heights[1] < heights[0]  # the upper layer is further up, though it lies lower on the canvas
    assert near(picture, (240, 240, 240)) > 10_000
    assert near(picture, VISIBLE) > 1_000
    assert pixels[0, 0].tolist() == list(PAGE)


def test_what_reaches_out_is_drawn_and_marked():
    red = (220, 20, 20)
    inside = exploded(stack_of(PAPER, leaf("red", (*red, 255), (200, 100, 380, 200))))
    outside = exploded(stack_of(PAPER, leaf("red", (*red, 255), (300, 100, 480, 200))))
    legend = near(inside, ORANGE)
    assert near(outside, ORANGE) > legend + 300
    assert near(outside, red) > 0.7 * near(inside, red)


def test_white_and_black_layers_stand_out_from_what_is_under_them():
    """A layer lies on squares of a gray that is far from both."""
    for level in (0, 255):
        dots = np.zeros((200, 300, 4), np.uint8)
        dots[:, ::60] = dots[:, 1::60] = dots[:, 2::60] = (level, level, level, 255)
        shown = exploded(stack_of(PAPER, Leaf("dots", box=Box(50, 50, 350, 250), pixels=lambda dots=dots: dots)))
        assert near(shown, (110, 112, 115), 30) > 20_000


@pytest.mark.parametrize(
    ("count", "width", "height"), [(1, 1, 1), (2, 3000, 2), (2, 2, 3000), (14, 300, 900), (50, 640, 480), (200, 90, 60)]
)
def test_the_exploded_view_is_bounded(count, width, height):
    picture = exploded(many(count, width, height), "name" * 100)
    assert picture.width <= 2400
    assert picture.height <= 3000


def test_an_empty_stack_has_an_exploded_view():
    assert exploded(many(0, 30, 20)).width > 100


def test_the_difference_is_amplified_and_black_where_the_pictures_agree():
    shown, made = np.full((4, 6, 4), 255, np.uint8), np.full((4, 6, 4), 255, np.uint8)
    made[:, 3:, 1] = 250
    found = difference(shown, made)
    assert found[:, :3].max() == 0
    assert found[:, 3:, 1].tolist() == [[40] * 3] * 4


def test_alpha_counts_in_the_difference():
    """White under no alpha looks the same on white and not on black."""
    shown, made = np.zeros((2, 2, 4), np.uint8), np.full((2, 2, 4), 255, np.uint8)
    assert difference(shown, made).min() == 255


def test_the_comparison_has_the_three_pictures_side_by_side():
    preview = np.full((300, 400, 4), 255, np.uint8)
    preview[:, :200, :3] = (200, 30, 30)
    preview[100:200] = 0
    stack = stack_of(leaf("half", (200, 30, 30, 255), (0, 0, 200, 300)), preview=preview)
    first, second, third = panels(stack)
    assert (first.name, second.name, third.name) == ("preview", "recomposite", "difference × 8")
    assert near(first.pixels, (200, 30, 30), 0) == 200 * 200
    assert (first.pixels[100:200, :, 0] == checkers(400, 300)[100:200]).all()
    assert near(second.pixels, (200, 30, 30), 0) == 200 * 300
    assert "mean error" in third.remark
    assert near(third.pixels, VISIBLE, 0) > 50  # around the worst square
    picture = comparison(stack)
    assert picture.width > 3 * 400
    assert near(picture, (200, 30, 30), 0) == 200 * 200 + 200 * 300
    assert comparison(stack_of(PAPER, width=400, height=100)).height > 3 * 100


def test_pictures_are_sized_for_the_eye():
    assert sized(np.zeros((5000, 100, 3), np.uint8)).shape[:2] == (760, 15)
    tiny = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3)
    assert (sized(tiny)[::90, ::90] == tiny).all()
    assert sized(tiny).shape[:2] == (360, 360)


@pytest.mark.parametrize(
    "text", ["Straße", "Привет", "東京タワー", "한글", "שלום", "مرحبا", "🤣 \U0010fffe", "a\x1b[31m\nb", "", " "]
)
def test_any_words_can_be_written(text):
    picture = Image.new("RGB", (300, 40))
    wide = write(ImageDraw.Draw(picture), (10, 30), text, 20, (255, 255, 255))
    assert wide == pytest.approx(length(fitted(text, 20, 1e9), 20))
    ink = np.asarray(picture)[..., 0].max(axis=0) > 128
    assert bool(text.strip()) == bool(ink.any())
    assert not ink[math.ceil(10 + wide) + 2 :].any()


def test_long_words_are_cut_to_their_room():
    line = fitted("word " * 500, 16, 120)
    assert line.endswith("…")
    assert 80 < length(line, 16) <= 120
    assert fitted("short", 16, 120) == "short"
