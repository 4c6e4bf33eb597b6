"""Layers with effects in a stack: where shadows go, and what lies over what."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.flatten import lower
from pipelines.flatten.stack import Shadows
from pipelines.formats.style import (
    Blending,
    Glow,
    Gradient,
    Overlay,
    PathStroke,
    Shadow,
    Solid,
    Stroke,
)
from pipelines.formats.tree import Group, Leaf, Mask
from schemas.geometry import Box
from tests.pipelines.flat import ANY, difference, document, flat_pixels, leaf, off, shown

APART = ANY.model_copy(update={"shadows": Shadows.APART})
SHADOW = Shadow(colour=(0.0, 0.0, 0.2), opacity=0.7, angle=135.0, distance=4.0, size=3.0)
GLOW = Glow(paint=Solid((1.0, 1.0, 0.4)), size=3.0)
RED = Overlay(paint=Solid((1.0, 0.0, 0.0)))
STROKE = Stroke(paint=Solid((0.0, 0.4, 0.0)), size=2.0)
BACK = leaf((240, 230, 200), name="back")
SPOT = Box(8, 8, 16, 16)


def spot(colour: tuple[int, ...] = (40, 90, 200), **fields) -> Leaf:
    return leaf(colour, SPOT, **{"name": "spot", **fields})


def names(*nodes, config=ANY) -> list[str]:
    return [layer.name for layer in lower(document(BACK, *nodes), config).layers]


@pytest.mark.parametrize("opacity", [1.0, 0.5])
@pytest.mark.parametrize("fill", [1.0, 0.3])
@pytest.mark.parametrize("alpha", [255, 120])
def test_shadows_joined_and_apart_show_the_same(opacity: float, fill: float, alpha: int) -> None:
    node = spot((40, 90, 200, alpha), style=(SHADOW, GLOW), opacity=opacity, fill_opacity=fill)
    doc = document(BACK, node)
    joined, apart = lower(doc, ANY), lower(doc, APART)
    assert [layer.name for layer in joined.layers] == ["back", "spot"]
    assert [layer.name for layer in apart.layers] == ["back", "spot shadow", "spot"]
    assert off(joined, doc) <= 2
    assert off(apart, doc) <= 2
    assert difference(joined.composite, apart.composite) <= 2
    assert all(layer.reusable for layer in (*joined.layers, *apart.layers))


def test_a_joined_shadow_is_told_and_one_of_its_own_leaves_the_layer_its_pixels() -> None:
    joined, apart = (lower(document(BACK, spot(style=(SHADOW,))), config).layers for config in (ANY, APART))
    assert "drop-shadow drawn" in joined[1].notes
    assert joined[1].box.contains(apart[1].box)
    assert apart[2].box == SPOT
    assert (apart[2].pixels == (40, 90, 200, 255)).all()
    assert apart[2].notes == ()


def test_what_is_no_shadow_stays_with_its_layer() -> None:
    assert names(spot(style=(STROKE,)), config=APART) == ["back", "spot"]
    assert names(spot(style=(STROKE, SHADOW)), config=APART) == ["back", "spot shadow", "spot"]


@pytest.mark.parametrize("config", [ANY, APART])
def test_the_shadow_of_a_group_is_a_layer_of_its_own(config) -> None:
    group = Group(
        "g", style=(SHADOW,), isolated=True, children=(spot(name="a"), leaf((9, 9, 9), (4, 4, 9, 9), name="b"))
    )
    doc = document(BACK, group)
    stack = lower(doc, config)
    assert [layer.name for layer in stack.layers] == ["back", "g shadow", "a", "b"]
    assert off(stack, doc) <= 2


def test_effects_cover_what_is_clipped_unless_they_are_part_of_the_layer() -> None:
    top = leaf((0, 0, 250), (8, 8, 16, 12), clipped=True, name="top")
    over = document(BACK, spot(style=(RED,)), top)
    under = document(BACK, spot(style=(RED,), blending=Blending(interior_as_group=True)), top)
    for doc, upper in ((over, (255, 0, 0)), (under, (0, 0, 250))):
        stack = lower(doc, ANY)
        assert tuple(shown(stack)[10, 10, :3]) == upper
        assert tuple(shown(stack)[14, 10, :3]) == (255, 0, 0)
        assert off(stack, doc) <= 1
    assert names(spot(style=(RED,), blending=Blending(interior_as_group=True)), top) == ["back", "spot", "top"]


def pen(colour: tuple[float, ...]) -> PathStroke:
    coverage = np.zeros((SPOT.height, SPOT.width), np.uint8)
    coverage[:2] = 255
    return PathStroke(coverage=coverage, paint=Solid(colour))


def test_the_pen_line_lies_above_overlays_and_above_what_is_clipped() -> None:
    line = pen((0.0, 1.0, 0.0))
    drawn = spot(stroke=lambda: line, fill=Solid((0.2, 0.2, 0.2)), style=(RED,))
    clipped = spot(stroke=lambda: line, fill=Solid((0.2, 0.2, 0.2)))
    top = leaf((0, 0, 250), (8, 8, 16, 16), clipped=True, name="top")
    for nodes, fill in (((drawn,), (255, 0, 0)), ((clipped, top), (0, 0, 250))):
        doc = document(BACK, *nodes)
        stack = lower(doc, ANY)
        assert tuple(shown(stack)[9, 10, :3]) == (0, 255, 0)
        assert tuple(shown(stack)[14, 10, :3]) == fill
        assert off(stack, doc) <= 1


def test_a_stroke_follows_the_shape_of_a_fill_however_transparent() -> None:
    ramp = np.array([[0, 0, 1, 1], [0, 0, 1, 0]], np.float32)
    fade = Leaf(
        "fade", box=SPOT, pixels=lambda: flat_pixels((0, 0, 0), SPOT), fill=Gradient(ramp, angle=0.0), style=(STROKE,)
    )
    doc = document(BACK, fade)
    stack = lower(doc, ANY)
    made = stack.layers[1]
    assert made.box == Box(6, 6, 18, 18)
    assert (shown(stack)[10, 16:18, :3] == (0, 102, 0)).all()  # beside the transparent end
    assert (shown(stack)[10, 6:8, :3] == (0, 102, 0)).all()
    along = made.pixels[4, 2:10, 3].astype(int)
    assert (np.diff(along) < 0).all()
    assert off(stack, doc) <= 2


def test_a_mask_shapes_the_effects_or_hides_them() -> None:
    half = Mask(Box(0, 0, 12, 24), np.full((24, 12), 255, np.uint8))
    shaped = document(BACK, spot(style=(STROKE,), mask=half))
    hidden = document(BACK, spot(style=(STROKE,), mask=half, blending=Blending(mask_hides_effects=True)))
    follows, cut = lower(shaped, ANY), lower(hidden, ANY)
    assert (follows.layers[1].box, cut.layers[1].box) == (Box(6, 6, 14, 18), Box(6, 6, 12, 18))
    assert off(follows, shaped) <= 1
    assert off(cut, hidden) <= 1
