"""Effects as measured in Photoshop 2026 by the Patchy project (docs/layer-effects-render.md)."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from pipelines.flatten.drawn import Drawn, Piece
from pipelines.flatten.effects import draw_style
from pipelines.formats.style import (
    AnyEffect,
    Bevel,
    Glow,
    Gradient,
    Overlay,
    Pattern,
    Satin,
    Shadow,
    Solid,
    Stroke,
    Texture,
)
from schemas.geometry import Box

DOCUMENT = Box(0, 0, 80, 60)
SQUARE = Box(30, 20, 50, 40)
BLACK, WHITE, RED = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (1.0, 0.0, 0.0)
LIGHT, SHADE = Overlay(paint=Solid(WHITE)), Overlay(paint=Solid(BLACK))
Plane = npt.NDArray[np.uint8]


def drawn(*style: AnyEffect, alpha: int | Plane = 255) -> Drawn:
    shape = np.full((20, 20), alpha, np.uint8) if isinstance(alpha, int) else alpha
    return draw_style(style, shape, SQUARE, document=DOCUMENT, reach=DOCUMENT, channels=3)


def plane(piece: Piece, column: int = -1) -> npt.NDArray[np.float64]:
    out = np.zeros((60, 80))
    out[piece.box.slices] = piece.pixels[..., column]
    return out


@pytest.mark.parametrize(("size", "spread", "width"), [(1, 0, 2), (2, 0, 2), (7, 0, 7), (10, 0.26, 7), (8, 0.9, 1)])
def test_a_shadow_is_blurred_by_what_its_spread_leaves_of_at_least_two_pixels(
    size: float, spread: float, width: int
) -> None:
    radius = math.floor(size * spread + 0.5)
    kernel = np.array([max(0.0, 1 - abs(n) / width) for n in range(-width, width + 1)])
    profile = np.cumsum(kernel / kernel.sum())[:-1]
    (piece,) = drawn(Shadow(colour=BLACK, distance=0, size=size, spread=spread)).behind
    row, edge = plane(piece)[30], SQUARE.x0 - radius
    assert np.abs(row[edge - width : edge + width] - 255 * profile).max() <= 0.51
    assert row[edge - width - 1] == 0


def test_spread_keeps_a_translucent_shape_translucent() -> None:
    for size in (4, 30):
        (piece,) = drawn(Shadow(colour=BLACK, distance=0, size=size, spread=1), alpha=128).behind
        assert plane(piece)[30, 30 - size + 1 : 50].min() == plane(piece).max() == 128


def test_effects_without_size() -> None:
    """An inner shadow is a hard band, a glow nothing but from the centre, where it fills the shape."""
    (band,) = drawn(Shadow(colour=BLACK, inner=True, angle=135, distance=10, size=0, spread=0.5)).inside
    alpha = plane(band)[SQUARE.slices]
    assert (alpha[10, :7] == 255).all() and (alpha[10, 7:] == 0).all()
    assert (alpha[:7, 10] == 255).all() and (alpha[7:, 10] == 0).all()
    assert drawn(Glow(paint=Solid(RED), size=0, spread=1)).behind == ()
    assert drawn(Glow(paint=Solid(RED), size=0, inner=True)).inside == ()
    (centre,) = drawn(Glow(paint=Solid(RED), size=0, inner=True, from_centre=True)).inside
    assert (plane(centre)[SQUARE.slices] == 255).all()


@pytest.mark.parametrize(("angle", "distance", "dx"), [(60, 5, -2), (120, 5, 3), (60, 5.2, -3)])
def test_half_a_pixel_of_offset_is_rounded_to_the_right(angle: float, distance: float, dx: int) -> None:
    """The first as measured, the second from an embedded preview."""
    (piece,) = drawn(Shadow(colour=BLACK, angle=angle, distance=distance, size=0)).behind
    assert piece.box.x0 <= SQUARE.x0 + dx
    assert plane(piece)[40].nonzero()[0][0] == SQUARE.x0 + dx


def test_satin_moves_by_a_pixel_at_least() -> None:
    (piece,) = drawn(Satin(colour=BLACK, angle=0, distance=0, size=0, invert=False)).inside
    row = plane(piece)[30, 30:50]
    assert row[0] == row[-1] == 255 and (row[1:-1] == 0).all()


def test_a_center_glow_is_the_complement_of_the_edge_one_after_its_range() -> None:
    edge, centre = (
        plane(drawn(Glow(paint=Solid(RED), inner=True, size=9, range=0.4, from_centre=side)).inside[0])[SQUARE.slices]
        for side in (False, True)
    )
    assert (edge + centre == 255).all() and edge.max() == 255


@pytest.mark.parametrize(("position", "opacity"), [("inside", 1.0), ("inside", 0.5), ("center", 0.5)])
@pytest.mark.parametrize("overprint", [False, True])
def test_the_inner_band_replaces_translucent_content(position: str, opacity: float, overprint: bool) -> None:
    stroke = Stroke(paint=Solid(RED), size=4, position=position, opacity=opacity, overprint=overprint)  # type: ignore[arg-type]
    (piece,) = drawn(stroke, alpha=128).inside
    band = plane(piece)[SQUARE.slices]
    assert (band == round(255 * opacity)).all()
    left = (1 - band / 255) * (1 if piece.cuts is None else 1 - piece.cuts / 255)
    assert np.allclose(left, 0, atol=0.01)


def test_the_outer_band_lies_under_translucent_content_and_its_last_ring_is_as_translucent() -> None:
    (piece,) = drawn(Stroke(paint=Solid(RED), size=4), alpha=128).behind
    assert piece.concealed
    row = plane(piece)[30]
    assert (row[27:53] == 255).all() and row[26] == row[53] == 128 and row[25] == row[54] == 0


def test_overprinting_keeps_what_is_opaque() -> None:
    (piece,) = drawn(Stroke(paint=Solid(RED), size=4, position="inside", opacity=0.5, overprint=True)).inside
    assert piece.cuts is None


def test_a_stroke_without_opacity_knocks_out_all_the_same() -> None:
    (piece,) = drawn(Stroke(paint=Solid(RED), size=4, position="inside", opacity=0)).inside
    assert not piece.pixels[..., -1].any() and piece.cuts is not None
    assert (piece.cuts[:, :4] == 255).all() and (piece.cuts[4:16, 4:16] == 0).all()
    assert drawn(Stroke(paint=Solid(RED), size=4, position="inside", opacity=0, overprint=True)).inside == ()


@pytest.mark.parametrize("position", ["inside", "center"])
def test_a_shape_burst_runs_inwards_over_the_band_and_a_pixel_more(position: str) -> None:
    ramp = np.array([[0, 0, 0, 1], [1, 1, 1, 1]], np.float32)
    result = drawn(Stroke(paint=Gradient(ramp=ramp, kind="shape-burst"), size=8, position=position))  # type: ignore[arg-type]
    inner = plane(result.inside[0], 0)[30, 30:]
    if position == "inside":
        assert np.abs(inner[:8] - 255 * np.arange(1, 9) / 9).max() <= 1
    else:
        outer = plane(result.behind[0], 0)[30, 26:30]
        assert np.abs(np.append(outer, inner[:4]) - 255 * np.array([1, 2, 3, 4, 6, 7, 8, 9]) / 10).max() <= 1


def sides(**settings: object) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The shade and the highlight inside the square, lit from the left."""
    shade, light = drawn(Bevel(highlight=LIGHT, shade=SHADE, angle=180, **settings)).inside[-2:]  # type: ignore[arg-type]
    return plane(shade)[SQUARE.slices], plane(light)[SQUARE.slices]


def test_a_gloss_contour_maps_the_light_and_washes_flat_ground_inside_alone() -> None:
    gloss = np.linspace(1, 0, 256, dtype=np.float32) ** 2
    bevel = Bevel(highlight=LIGHT, shade=SHADE, kind="emboss", size=6, angle=180, altitude=30, gloss=gloss)
    result = drawn(bevel)
    flat = 0.5
    washed = (flat - 0.25) / flat
    assert plane(result.inside[0])[30, 40] == pytest.approx(255 * washed, abs=2)
    for piece in result.behind:
        assert not plane(piece)[30, :26].any() and not plane(piece)[10].any()


def test_a_linear_contour_divides_the_slope_by_its_range() -> None:
    linear = np.linspace(0, 1, 256, dtype=np.float32)
    plain = sides(size=8, depth=1.0)
    for got, expected in zip(sides(size=8, depth=1.0, contour=linear, contour_range=1.0), plain, strict=True):
        assert np.abs(got - expected).max() <= 1
    steep = sides(size=8, depth=2.0)
    for got, expected in zip(sides(size=8, depth=1.0, contour=linear, contour_range=0.5), steep, strict=True):
        assert np.abs(got - expected).max() <= 1


def test_an_emboss_is_at_least_a_quarter_deep() -> None:
    floor, shallow, quarter = (sides(kind="emboss", size=8, depth=depth)[1] for depth in (0.01, 0.2, 0.25))
    assert np.array_equal(floor, quarter) and np.array_equal(shallow, quarter) and quarter.max() > 0
    assert not np.array_equal(sides(size=8, depth=0.01)[1], sides(size=8, depth=0.25)[1])


def test_a_texture_raises_what_is_dark_by_its_depth_times_the_size() -> None:
    """The slope of a step of the full height, smoothed over three px, is size / 3 px a px."""
    tile = np.full((1, 40, 4), 255, np.uint8)
    tile[:, :20, :3] = 0
    texture = Texture(pattern=Pattern(tile=tile, origin=(20, 0)))
    shade, light = sides(size=3, altitude=30, texture=texture)
    assert light[10].argmax() in (0, 1)  # dark from 20 to 40: the step at 40 faces away from the light
    assert shade[10, 9] == shade[10, 10] > 100 and not light[10, 6:14].any()
    slope = 2 * 3 / 3 / 2
    facing = (0.5 - slope * math.cos(math.radians(30))) / math.hypot(1, slope)
    assert shade[10, 10] == pytest.approx(255 * min(1, (0.5 - facing) / 0.5), abs=2)
    turned, _ = sides(size=3, altitude=30, texture=Texture(pattern=texture.pattern, invert=True))
    sunk, _ = sides(size=3, altitude=30, texture=Texture(pattern=texture.pattern, depth=-1.0))
    assert not turned[10, 8:12].any() and np.array_equal(turned[10, 6:14], sunk[10, 6:14])


def test_a_bevel_without_size_draws_nothing() -> None:
    assert drawn(Bevel(highlight=LIGHT, shade=SHADE, size=0)).inside == ()
