"""Effects beyond the visible box: complete over each edge, and nothing is computed that cannot be seen."""

from __future__ import annotations

import tracemalloc

import numpy as np
import numpy.typing as npt
import pytest

from pipelines.flatten.drawn import Piece
from pipelines.flatten.effects import draw_style
from pipelines.formats.style import AnyEffect, Bevel, Glow, Overlay, Satin, Shadow, Solid, Stroke
from schemas.geometry import Box

DOCUMENT = Box(0, 0, 100, 100)
REACH = Box(-100, -100, 200, 200)
WIDE = Box(-1000, -1000, 1000, 1000)
BLACK = (0.0, 0.0, 0.0)
EDGES = {"left": Box(-12, 40, 8, 60), "top": Box(40, -12, 60, 8), "right": Box(92, 40, 112, 60)} | {
    "bottom": Box(40, 92, 60, 112)
}
BEVEL = Bevel(highlight=Overlay(paint=Solid((1.0, 1.0, 1.0))), shade=Overlay(paint=Solid(BLACK)), kind="emboss", size=9)
STYLES: dict[str, AnyEffect] = {
    "stroke": Stroke(paint=Solid(BLACK), size=5),
    "centred stroke": Stroke(paint=Solid(BLACK), size=5, position="center", opacity=0.5),
    "shadow": Shadow(colour=BLACK, distance=9, size=7, spread=0.3, angle=33),
    "inner shadow": Shadow(colour=BLACK, inner=True, distance=5, size=7, angle=33),
    "glow": Glow(paint=Solid(BLACK), size=11),
    "precise glow": Glow(paint=Solid(BLACK), size=11, precise=True),
    "satin": Satin(colour=BLACK, distance=7, size=6),
    "bevel": BEVEL,
}


def pieces(effect: AnyEffect, box: Box, reach: Box, alpha: npt.NDArray[np.uint8] | None = None) -> list[Piece]:
    shape = np.full((box.height, box.width), 255, np.uint8) if alpha is None else alpha
    result = draw_style([effect], shape, box, document=DOCUMENT, reach=reach, channels=3)
    return [*result.behind, *result.inside, *result.above]


def seen(piece: Piece, box: Box) -> npt.NDArray[np.uint8]:
    out = np.zeros((box.height, box.width, piece.pixels.shape[2]), np.uint8)
    part = piece.box.intersect(box)
    out[part.within(box).slices] = piece.pixels[part.within(piece.box).slices]
    return out


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("kind", STYLES)
def test_what_reaches_over_an_edge_is_the_same_as_in_the_middle(kind: str, edge: str) -> None:
    box, middle = EDGES[edge], Box(40, 40, 60, 60)
    dx, dy = box.x0 - middle.x0, box.y0 - middle.y0
    for there, here in zip(pieces(STYLES[kind], box, REACH), pieces(STYLES[kind], middle, WIDE), strict=True):
        assert there.box == here.box.shift(dx, dy)
        assert np.array_equal(there.pixels, here.pixels)


@pytest.mark.parametrize("kind", STYLES)
def test_cropping_to_the_reach_changes_no_pixel_in_it(kind: str) -> None:
    rng = np.random.default_rng(7)
    box, reach = Box(10, 10, 60, 50), Box(25, 20, 47, 44)
    alpha = np.asarray(np.where(rng.random((40, 50)) < 0.02, 0, rng.choice([255, 255, 255, 128], (40, 50))), np.uint8)
    for cropped, whole in zip(
        pieces(STYLES[kind], box, reach, alpha), pieces(STYLES[kind], box, WIDE, alpha), strict=True
    ):
        assert reach.contains(cropped.box)
        assert np.abs(seen(cropped, reach).astype(int) - seen(whole, reach)).max() <= 1


@pytest.mark.parametrize("kind", STYLES)
def test_a_shape_out_of_reach_draws_nothing(kind: str) -> None:
    assert pieces(STYLES[kind], Box(5000, 0, 5020, 20), REACH) == []


def test_a_far_shadow_of_a_shape_out_of_reach_is_drawn() -> None:
    (piece,) = pieces(Shadow(colour=BLACK, angle=0, distance=300, size=4), Box(340, 40, 360, 60), REACH)
    assert REACH.contains(piece.box)
    assert seen(piece, DOCUMENT)[50, 50, 3] == 255


def test_a_large_layer_costs_what_can_be_seen_of_it() -> None:
    box = Box(-3000, -3000, 3000, 3000)
    alpha = np.full((6000, 6000), 255, np.uint8)
    tracemalloc.start()
    try:
        for effect in STYLES.values():
            for piece in pieces(effect, box, DOCUMENT, alpha):
                assert DOCUMENT.contains(piece.box)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100 * 200 * 200  # bytes a pixel, for what can be seen and a border around it
