"""A document scaled down looks the same: its styles, strokes, patterns and artboards scale with it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipelines.flatten.effects import draw_style
from pipelines.flatten.scale import at_most, resized
from pipelines.formats.style import (
    AnyEffect,
    Bevel,
    Glow,
    Overlay,
    PathStroke,
    Pattern,
    Satin,
    Shadow,
    Solid,
    Stroke,
    Texture,
)
from pipelines.formats.tree import Adjustment, Document, Group, Leaf, Mask
from schemas.geometry import Box

BLACK = (0.0, 0.0, 0.0)
PATTERN = Pattern(tile=np.full((4, 4, 4), 255, np.uint8), origin=(10.0, 20.0))
STYLE: tuple[AnyEffect, ...] = (
    Shadow(colour=BLACK, distance=20, size=10),
    Glow(paint=Solid(BLACK), size=12),
    Overlay(paint=PATTERN),
    Satin(colour=BLACK, distance=8, size=6),
    Stroke(paint=PATTERN, size=8),
    Bevel(
        highlight=Overlay(paint=Solid(BLACK)),
        shade=Overlay(paint=Solid(BLACK)),
        size=16,
        soften=4,
        texture=Texture(pattern=PATTERN),
    ),
)


def document(leaf: Leaf) -> Document:
    return Document(200, 100, (leaf,))


def leaf() -> Leaf:
    pixels = np.full((40, 60, 4), 255, np.uint8)
    return Leaf("a", box=Box(20, 20, 80, 60), pixels=lambda: pixels, style=STYLE)


def test_every_length_of_a_style_halves_with_the_document() -> None:
    scaled, factor = at_most(document(leaf()), 100)
    assert factor == 0.5
    shadow, glow, overlay, satin, stroke, bevel = scaled.nodes[0].style
    assert isinstance(shadow, Shadow) and (shadow.distance, shadow.size) == (10, 5)
    assert isinstance(glow, Glow) and glow.size == 6
    assert isinstance(overlay, Overlay) and isinstance(overlay.paint, Pattern)
    assert (overlay.paint.scale, overlay.paint.origin) == (0.5, (5.0, 10.0))
    assert isinstance(satin, Satin) and (satin.distance, satin.size) == (4, 3)
    assert isinstance(stroke, Stroke) and stroke.size == 4 and isinstance(stroke.paint, Pattern)
    assert isinstance(bevel, Bevel) and (bevel.size, bevel.soften, bevel.depth) == (8, 2, 1.0)
    assert bevel.texture is not None and bevel.texture.pattern.scale == 0.5


def test_a_scaled_style_draws_what_the_drawn_style_scales_to() -> None:
    whole = document(leaf())
    half, _ = at_most(whole, 100)
    for effect, small in zip(whole.nodes[0].style[:5], half.nodes[0].style[:5], strict=True):
        box, document_box = Box(20, 20, 80, 60), whole.visible
        alpha = np.full((40, 60), 255, np.uint8)
        big = draw_style([effect], alpha, box, document=document_box, reach=document_box, channels=3)
        little = draw_style(
            [small], alpha[::2, ::2], Box(10, 10, 40, 30), document=half.visible, reach=half.visible, channels=3
        )
        for one, other in zip(big.behind + big.inside, little.behind + little.inside, strict=True):
            first, second = np.zeros((100, 200, 4), np.uint8), np.zeros((50, 100, 4), np.uint8)
            first[one.box.slices], second[other.box.slices] = one.pixels, other.pixels
            difference = np.abs(resized(first, 100, 50)[..., 3].astype(int) - second[..., 3])
            assert difference.mean() < 2, type(effect)


def test_pen_strokes_fills_artboards_and_masks_of_adjustments_scale_too() -> None:
    coverage = np.full((40, 60), 255, np.uint8)
    shape = replace(leaf(), fill=PATTERN, stroke=lambda: PathStroke(coverage=coverage, paint=PATTERN))
    mask = Mask(Box(0, 0, 100, 50), np.full((50, 100), 7, np.uint8))
    board = Group("b", children=(shape, Adjustment("c", mask=mask)), clip=Box(10, 10, 110, 60), style=STYLE[:1])
    scaled, _ = at_most(Document(200, 100, (board,)), 100)
    (group,) = scaled.nodes
    assert isinstance(group, Group) and group.clip == Box(5, 5, 55, 30)
    assert isinstance(group.style[0], Shadow) and group.style[0].distance == 10
    drawn, adjustment = group.children
    assert isinstance(drawn, Leaf) and isinstance(drawn.fill, Pattern) and drawn.fill.scale == 0.5
    pen = drawn.stroke() if drawn.stroke else None
    assert pen is not None and pen.coverage.shape == (20, 30) and isinstance(pen.paint, Pattern)
    assert isinstance(adjustment, Adjustment) and adjustment.mask is not None
    assert adjustment.mask.box == Box(0, 0, 50, 25) and (adjustment.mask.pixels == 7).all()


def test_a_leaf_without_a_pen_stroke_stays_without() -> None:
    scaled, _ = at_most(document(replace(leaf(), stroke=lambda: None)), 100)
    node = scaled.nodes[0]
    assert isinstance(node, Leaf) and node.stroke is not None and node.stroke() is None


@pytest.mark.parametrize("channels", [3, 4, 5, 6])
def test_any_number_of_channels_is_resampled_by_alpha(channels: int) -> None:
    pixels = np.zeros((8, 8, channels + 1), np.uint8)
    pixels[:, :4, :channels] = np.arange(1, channels + 1) * 40
    pixels[:, :4, channels] = 255
    pixels[:, 4:, :channels] = 255  # transparent: its colour counts for nothing
    small = resized(pixels, 3, 4)
    shown = small[small[..., channels] > 100]
    assert small.shape == (4, 3, channels + 1) and len(shown)
    assert np.abs(shown[:, :channels].astype(int) - np.arange(1, channels + 1) * 40).max() <= 2
