"""Blend-if and channels: the codes at which a layer shows, and the channels it leaves as they were."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipelines.flatten import lower
from pipelines.flatten.stack import StackLayer
from pipelines.formats.style import Blending, Range, Shadow
from pipelines.formats.tree import Leaf
from schemas.design import Lowering
from schemas.geometry import Box
from tests.pipelines.flat import ANY, SIDE, document, leaf, off, shown

RED = (200, 0, 0)
FULL = Box(0, 0, SIDE, SIDE)


def grays(*codes: int) -> Leaf:
    """Columns of gray codes, the last for all that is left."""
    pixels = np.full((SIDE, SIDE, 4), 255, np.uint8)
    for column in range(SIDE):
        pixels[:, column, :3] = codes[min(column, len(codes) - 1)]
    return Leaf("grays", box=FULL, pixels=lambda: pixels)


def code(value: int) -> float:
    return value / 255


def alphas(made: StackLayer, columns: int) -> list[int]:
    """The alpha of the first columns of the document."""
    row = np.zeros(SIDE, np.uint8)
    row[made.box.x0 : made.box.x1] = made.pixels[0, :, 3]
    return row[:columns].tolist()


RAMP = Range(None, low=(code(100), code(109)))
UPPER = Range(None, high=(code(200), code(209)))


@pytest.mark.parametrize(
    ("limits", "codes", "expected"),
    [
        (RAMP, (0, 99, 100, 104, 109, 255), (0, 0, 26, 128, 255, 255)),
        (UPPER, (0, 200, 204, 209, 210), (255, 255, 153, 26, 0)),
        (Range(None, (code(100), code(100)), (code(100), code(100))), (99, 100, 101), (0, 255, 0)),
    ],
)
def test_by_what_lies_below(limits: Range, codes: tuple[int, ...], expected: tuple[int, ...]) -> None:
    doc = document(grays(*codes), leaf(RED, name="red", blending=Blending(below=(limits,))))
    stack = lower(doc, ANY)
    assert alphas(stack.layers[1], len(codes)) == list(expected)
    assert off(stack, doc) <= 1
    assert stack.layers[1].lowering is Lowering.BAKED
    assert not stack.layers[1].reusable
    assert "blend-if by what lies below" in stack.layers[1].notes


def test_by_its_own_colour_it_stays_reusable() -> None:
    doc = document(leaf((0, 0, 90)), replace(grays(99, 104, 255), blending=Blending(own=(RAMP,))))
    made = lower(doc, ANY).layers[1]
    assert alphas(made, 3) == [0, 128, 255]
    assert made.reusable
    assert made.lowering is Lowering.EXACT
    assert "blend-if by its own colour" in made.notes


def test_by_one_channel() -> None:
    by_blue = Blending(below=(Range(2, low=(code(128), code(128))),))
    blue = leaf((0, 0, 255), (0, 0, 12, SIDE), name="blue")
    doc = document(leaf((255, 255, 0)), blue, leaf((*RED, 200), blending=by_blue))
    assert lower(doc, ANY).layers[2].box == Box(0, 0, 12, SIDE)


def test_ranges_multiply() -> None:
    both = Blending(own=(Range(None, low=(code(50), code(59))),), below=(RAMP,))
    doc = document(grays(104), replace(grays(54), blending=both))
    assert lower(doc, ANY).layers[1].pixels[0, 0, 3] == pytest.approx(64, abs=1)


def test_a_transparent_ground_does_not_count() -> None:
    half = leaf((0, 0, 0), (0, 0, 12, SIDE), name="half")
    doc = document(half, leaf(RED, name="red", blending=Blending(below=(RAMP,))))
    made = lower(doc, ANY).layers[1]
    assert made.box == Box(12, 0, SIDE, SIDE)
    faint = document(leaf((0, 0, 0, 128)), leaf(RED, blending=Blending(below=(RAMP,))))
    assert lower(faint, ANY).layers[1].pixels[0, 0, 3] == 127


def test_effects_stay_where_the_paint_is_gated() -> None:
    shadow = Shadow(colour=(0.0, 0.0, 1.0), distance=6.0, angle=180.0)
    node = leaf(RED, (4, 4, 12, 12), style=(shadow,), blending=Blending(below=(RAMP,)))
    doc = document(grays(0), node)
    stack = lower(doc, ANY)
    assert shown(stack)[8, 8].tolist() == [0, 0, 0, 255]
    assert shown(stack)[8, 14].tolist() == [0, 0, 255, 255]
    assert off(stack, doc) <= 1


@pytest.mark.parametrize("alpha", [255, 128])
def test_channels_that_are_not_written_keep_what_they_were(alpha: int) -> None:
    only = Blending(channels=(True, False, True))
    doc = document(leaf((10, 20, 30)), leaf((200, 100, 50, alpha), (0, 0, SIDE, 9), name="red", blending=only))
    stack = lower(doc, ANY)
    assert shown(stack)[0, 0, 1] == 20
    assert shown(stack)[0, 0, 0] == pytest.approx(10 + 190 * alpha / 255, abs=1)
    assert not stack.layers[1].reusable
    assert off(stack, doc) <= 1


def test_over_nothing_a_channel_that_is_not_written_is_empty() -> None:
    doc = document(leaf((200, 100, 50), blending=Blending(channels=(True, False, True))))
    assert shown(lower(doc, ANY))[0, 0].tolist() == [200, 0, 50, 255]


def test_over_a_translucent_ground_a_channel_keeps_what_it_contributed() -> None:
    doc = document(leaf((200, 100, 50, 128)), leaf((250, 250, 250), blending=Blending(channels=(True, False, True))))
    stack = lower(doc, ANY)
    assert shown(stack)[0, 0].tolist() == [250, 50, 250, 255]
    assert off(stack, doc) <= 1


@pytest.mark.parametrize("channels", [None, (True, True, True)])
def test_all_channels_are_no_restriction(channels: tuple[bool, ...] | None) -> None:
    doc = document(leaf((10, 20, 30)), leaf((200, 100, 50, 128), blending=Blending(channels=channels)))
    made = lower(doc, ANY).layers[1]
    assert made.reusable
    assert made.pixels[0, 0].tolist() == [200, 100, 50, 128]
