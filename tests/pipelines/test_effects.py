"""Effects from first principles: where a shadow lands, what a blur keeps and a stroke covers, how a bevel is lit."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from pipelines.flatten.distance import edge_distance, whole_distance
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
Plane = npt.NDArray[np.uint8]


def drawn(
    *style: AnyEffect, box: Box = SQUARE, alpha: Plane | None = None, reach: Box = DOCUMENT, channels: int = 3
) -> Drawn:
    shape = np.full((box.height, box.width), 255, np.uint8) if alpha is None else alpha
    return draw_style(style, shape, box, document=DOCUMENT, reach=reach, channels=channels)


def plane(piece: Piece, over: Box = DOCUMENT, column: int = -1) -> npt.NDArray[np.float64]:
    """A column of the piece's pixels, 0..255, on ``over``."""
    out = np.zeros((over.height, over.width))
    part = piece.box.intersect(over)
    out[part.within(over).slices] = piece.pixels[part.within(piece.box).slices][..., column]
    return out


def disc(box: Box, radius: float) -> Plane:
    """An antialiased disc in the middle of ``box``."""
    y, x = np.mgrid[: box.height, : box.width] + 0.5
    distance = np.hypot(x - box.width / 2, y - box.height / 2)
    return np.asarray(np.rint(255 * np.clip(radius + 0.5 - distance, 0, 1)), np.uint8)


@pytest.mark.parametrize(("angle", "dx", "dy"), [(0, -6, 0), (90, 0, 6), (180, 6, 0), (-90, 0, -6)])
def test_a_hard_shadow_is_the_shape_away_from_the_light(angle: float, dx: int, dy: int) -> None:
    (piece,) = drawn(Shadow(colour=BLACK, angle=angle, distance=6, size=0, opacity=0.6)).behind
    expected = np.zeros((60, 80))
    expected[SQUARE.shift(dx, dy).slices] = 153
    assert piece.concealed
    assert np.array_equal(plane(piece), expected)


def test_a_shadow_falls_off_as_a_triangular_kernel_summed_up_over_the_edge() -> None:
    size = 6
    kernel = np.array([max(0.0, 1 - abs(n) / size) for n in range(-size, size + 1)])
    profile = np.cumsum(kernel / kernel.sum())[:-1]
    (piece,) = drawn(Shadow(colour=BLACK, distance=0, size=size)).behind
    edge = plane(piece)[30, SQUARE.x0 - size : SQUARE.x0 + size]
    assert np.abs(edge - 255 * profile).max() <= 0.51


def test_a_blur_keeps_the_mass_of_the_shape() -> None:
    for size in (2, 5, 6, 7.5, 9):
        (piece,) = drawn(Shadow(colour=BLACK, distance=0, size=size)).behind
        assert plane(piece).sum() == pytest.approx(255 * SQUARE.area, rel=0.004), size


def test_spread_makes_the_shadow_solid_and_full_spread_hard() -> None:
    (half,) = drawn(Shadow(colour=BLACK, distance=0, size=8, spread=0.5)).behind
    (full,) = drawn(Shadow(colour=BLACK, distance=0, size=8, spread=1)).behind
    row = plane(full)[30]
    assert list(row[20:24]) == [0, 0, 255, 255]
    assert row[SQUARE.x1 + 7] == 255 and row[SQUARE.x1 + 8] == 0
    assert plane(half)[30, SQUARE.x0 - 1] == 255 and 0 < plane(half)[30, SQUARE.x0 - 6] < 128


def test_an_inner_shadow_is_the_turned_around_shape_and_not_confined() -> None:
    (piece,) = drawn(Shadow(colour=BLACK, inner=True, angle=180, distance=5, size=0)).inside
    alpha = plane(piece)
    assert (alpha[20:40, 30:35] == 255).all() and (alpha[20:40, 35:50] == 0).all()


def test_a_contour_maps_the_levels_after_the_blur() -> None:
    contour = np.linspace(1, 0, 256, dtype=np.float32)
    (piece,) = drawn(Shadow(colour=BLACK, distance=0, size=6)).behind
    (turned,) = drawn(Shadow(colour=BLACK, distance=0, size=6, contour=contour)).behind
    inside = piece.box.within(piece.box).slices
    assert np.abs(255.0 - piece.pixels[inside][..., -1] - turned.pixels[inside][..., -1]).max() <= 1


def test_noise_is_the_same_twice_and_keeps_the_mean() -> None:
    style = Shadow(colour=BLACK, distance=0, size=30, noise=1.0, spread=0)
    box = Box(0, 0, 80, 60)
    first, second = (drawn(style, box=box).behind[0].pixels for _ in range(2))
    smooth = drawn(Shadow(colour=BLACK, distance=0, size=30), box=box).behind[0].pixels
    assert np.array_equal(first, second)
    assert set(np.unique(first[..., -1])) == {0, 255}
    assert first[..., -1].mean() == pytest.approx(smooth[..., -1].mean(), rel=0.03)


def test_an_outer_glow_is_full_at_the_edge_for_a_range_of_a_half() -> None:
    (piece,) = drawn(Glow(paint=Solid(RED), size=8, range=0.5)).behind
    (wide,) = drawn(Glow(paint=Solid(RED), size=8, range=1.0)).behind
    assert piece.concealed
    assert plane(piece)[30, SQUARE.x0] == 255
    outside = np.s_[30, SQUARE.x0 - 8 : SQUARE.x0]
    assert np.abs(plane(piece)[outside] - 2 * plane(wide)[outside]).max() <= 1


def test_an_inner_glow_from_the_centre_is_what_one_from_the_edge_leaves() -> None:
    (edge,) = drawn(Glow(paint=Solid(RED), inner=True, size=6)).inside
    (centre,) = drawn(Glow(paint=Solid(RED), inner=True, size=6, from_centre=True)).inside
    total = plane(edge) + plane(centre)
    assert (total[SQUARE.slices] == 255).all()
    assert plane(edge)[30, 30] > 200 and plane(centre)[30, 40] == 255


def test_a_precise_glow_falls_off_evenly_with_the_distance() -> None:
    (piece,) = drawn(Glow(paint=Solid(RED), size=10, precise=True, range=1.0)).behind
    row = plane(piece)[30, SQUARE.x0 - 10 : SQUARE.x0]
    assert np.abs(np.diff(row) - 25.5).max() <= 1
    corner = plane(piece)[SQUARE.y0 - 8, SQUARE.x0 - 8]  # 11 px away: round, not square
    assert corner == 0


def test_a_gradient_glow_starts_at_the_edge() -> None:
    ramp = np.array([[1, 0, 0, 1], [0, 0, 1, 0]], np.float32)
    (piece,) = drawn(Glow(paint=Gradient(ramp=ramp), size=10)).behind
    near, far = (piece.pixels[30 - piece.box.y0, x - piece.box.x0] for x in (SQUARE.x0 - 1, SQUARE.x0 - 7))
    assert near[0] > far[0] and near[2] < far[2] and near[3] > far[3] > 0


def test_satin_vanishes_where_the_two_copies_agree() -> None:
    (piece,) = drawn(Satin(colour=BLACK, angle=0, distance=4, size=0, invert=False)).inside
    alpha = plane(piece)
    assert (alpha[20:40, 30:34] == 255).all() and (alpha[20:40, 46:50] == 255).all()
    assert (alpha[20:40, 34:46] == 0).all()
    (inverted,) = drawn(Satin(colour=BLACK, angle=0, distance=4, size=0)).inside
    assert (plane(inverted)[SQUARE.slices] == 255 - alpha[SQUARE.slices]).all()


def composed(style: Sequence[AnyEffect], alpha: Plane, box: Box = SQUARE) -> npt.NDArray[np.float64]:
    """The alpha of a shape with its pieces: those behind show where the shape is not, those inside are confined."""
    result = drawn(*style, alpha=alpha, box=box)
    shape = np.zeros((60, 80))
    shape[box.slices] = alpha / 255
    behind = np.zeros((60, 80))
    for piece in result.behind:
        behind = behind + (1 - behind) * plane(piece) / 255
    return shape + (1 - shape) * behind


@pytest.mark.parametrize("position", ["outside", "center", "inside"])
def test_a_stroke_covers_its_width_on_its_side_of_the_edge(position: str) -> None:
    result = drawn(Stroke(paint=Solid(RED), size=4, position=position))  # type: ignore[arg-type]
    beyond, within = {"outside": (4, 0), "center": (2, 2), "inside": (0, 4)}[position]
    row = np.zeros(80)
    for piece in result.behind:
        assert piece.concealed
        row += plane(piece)[30]
    assert (row[SQUARE.x0 - beyond : SQUARE.x0] == 255).all() and row[SQUARE.x0 - beyond - 1] == 0
    inner = plane(result.inside[0])[30] if result.inside else np.zeros(80)
    assert (inner[SQUARE.x0 : SQUARE.x0 + within] == 255).all() and inner[SQUARE.x0 + within] == 0
    assert inner[SQUARE.x1 - 1] == (255 if within else 0)


def test_an_outer_stroke_has_round_corners_of_its_width() -> None:
    (piece,) = drawn(Stroke(paint=Solid(RED), size=6)).behind
    corner = plane(piece)[SQUARE.y0 - 6 : SQUARE.y0, SQUARE.x0 - 6 : SQUARE.x0] / 255
    assert corner.sum() == pytest.approx(math.pi * 36 / 4, rel=0.08)
    assert corner[0, 0] == 0 and corner[-1, -1] == 1


def test_a_stroke_leaves_no_seam_on_an_antialiased_edge() -> None:
    alpha = disc(SQUARE, 8.3)
    covered = composed([Stroke(paint=Solid(RED), size=3)], alpha)
    y, x = np.mgrid[:60, :80] + 0.5
    distance = np.hypot(x - 40, y - 30)
    assert (covered[distance < 10.5] == 1).all()
    assert covered.sum() == pytest.approx(math.pi * 11.3**2, rel=0.02)
    assert np.ptp(covered[(distance > 11.1) & (distance < 11.5)]) < 0.75  # a thin ring of partial cover
    assert (covered[distance > 12.5] == 0).all()


def test_half_covered_pixels_move_a_stroke_by_half_a_pixel() -> None:
    alpha = np.full((20, 20), 255, np.uint8)
    alpha[:, 0] = 128
    (piece,) = drawn(Stroke(paint=Solid(RED), size=3), alpha=alpha).behind
    assert list(plane(piece)[30, SQUARE.x0 - 4 : SQUARE.x0]) == [0, 128, 255, 255]


def test_a_translucent_stroke_that_does_not_overprint_takes_away_what_it_covers() -> None:
    (opaque,) = drawn(Stroke(paint=Solid(RED), size=4, position="inside")).inside
    (cutting,) = drawn(Stroke(paint=Solid(RED), size=4, position="inside", opacity=0.5)).inside
    (printing,) = drawn(Stroke(paint=Solid(RED), size=4, position="inside", opacity=0.5, overprint=True)).inside
    assert opaque.cuts is None and printing.cuts is None
    assert cutting.cuts is not None
    assert (cutting.cuts[:, :4] == 255).all() and (cutting.cuts[4:16, 4:16] == 0).all()
    alpha = plane(cutting)[20:40, 30:50] / 255
    left = (1 - cutting.cuts / 255) * (1 - alpha)
    assert np.allclose(left, 1 - 2 * alpha, atol=0.01)


def test_a_shape_burst_runs_across_the_stroke() -> None:
    ramp = np.array([[0, 0, 0, 1], [1, 1, 1, 1]], np.float32)
    (piece,) = drawn(Stroke(paint=Gradient(ramp=ramp, kind="shape-burst"), size=8)).behind
    row = plane(piece, column=0)[30, SQUARE.x0 - 8 : SQUARE.x0]
    expected = 255 * (9 - np.arange(8, 0, -1)) / 9  # from the rim a px beyond the width, 0, to the shape, 1
    assert np.abs(row - expected).max() <= 1
    assert np.allclose(row, plane(piece, column=0)[SQUARE.y0 - 8 : SQUARE.y0, 40], atol=1)


def test_a_bevel_lights_the_side_that_faces_the_light() -> None:
    highlight, shade = (Overlay(paint=Solid(c)) for c in (WHITE, BLACK))
    bevel = Bevel(highlight=highlight, shade=shade, size=5, angle=180, altitude=30)
    dark, bright = drawn(bevel).inside
    assert bright.pixels[0, 0, 0] == 255 and dark.pixels[0, 0, 0] == 0
    lit, dim = plane(bright)[30], plane(dark)[30]
    assert lit[SQUARE.x0] > 60 and dim[SQUARE.x0] == 0
    assert dim[SQUARE.x1 - 1] > 60 and lit[SQUARE.x1 - 1] == 0
    assert lit[40] == 0 and dim[40] == 0  # flat ground stays as it is


def test_a_bevel_that_goes_down_is_lit_from_the_other_side() -> None:
    highlight, shade = (Overlay(paint=Solid(c)) for c in (WHITE, BLACK))
    up = drawn(Bevel(highlight=highlight, shade=shade, angle=180)).inside[1]
    down = drawn(Bevel(highlight=highlight, shade=shade, angle=180, up=False)).inside[1]
    assert np.abs(plane(down)[30, 30:50] - plane(up)[30, 30:50][::-1]).max() <= 1


def test_a_45_degree_slope_is_lit_as_its_angle_says() -> None:
    """Chisel at a depth of 100 % has slopes of 45 degrees."""
    highlight, shade = (Overlay(paint=Solid(c)) for c in (WHITE, BLACK))
    bevel = Bevel(highlight=highlight, shade=shade, technique="chisel-hard", size=8, angle=180, altitude=30)
    dark, bright = drawn(bevel).inside
    flat = math.sin(math.radians(30))
    facing = (flat + math.cos(math.radians(30))) / math.sqrt(2)
    away = (flat - math.cos(math.radians(30))) / math.sqrt(2)
    assert plane(bright)[30, 33] == pytest.approx(255 * (facing - flat) / (1 - flat), abs=1)
    assert plane(dark)[30, 46] == pytest.approx(255 * min(1, (flat - away) / flat), abs=1)


def test_an_emboss_reaches_out_by_half_its_size_and_a_pillow_sinks_there() -> None:
    highlight, shade = (Overlay(paint=Solid(c)) for c in (WHITE, BLACK))
    emboss = drawn(Bevel(highlight=highlight, shade=shade, kind="emboss", size=8, angle=180))
    pillow = drawn(Bevel(highlight=highlight, shade=shade, kind="pillow", size=8, angle=180))
    assert all(piece.concealed for piece in emboss.behind)
    outside = plane(emboss.behind[1])[30, : SQUARE.x0]
    assert outside[SQUARE.x0 - 2] > 0 and (outside[: SQUARE.x0 - 5] == 0).all()
    assert plane(pillow.behind[1])[30, SQUARE.x0 - 2] == 0
    assert plane(pillow.behind[0])[30, SQUARE.x0 - 2] > 0
    assert np.array_equal(plane(pillow.inside[1]), plane(emboss.inside[1]))


def test_a_stroke_emboss_stays_on_the_stroke() -> None:
    highlight, shade = (Overlay(paint=Solid(c)) for c in (WHITE, BLACK))
    bevel = Bevel(highlight=highlight, shade=shade, kind="stroke", size=4, angle=180)
    assert drawn(bevel) == drawn() or not drawn(bevel).behind
    result = drawn(Stroke(paint=Solid(RED), size=6), bevel)
    lit = plane(result.behind[-1])
    assert lit[30, 25:29].max() > 20 and (lit[30, :22] == 0).all()
    assert (lit[SQUARE.slices] == 0).all()


def test_a_texture_gives_flat_ground_relief() -> None:
    highlight, shade = (Overlay(paint=Solid(c)) for c in (WHITE, BLACK))
    tile = np.full((4, 4, 4), 255, np.uint8)
    tile[:, :2, :3] = 0
    texture = Texture(pattern=Pattern(tile=tile))
    _, bright = drawn(Bevel(highlight=highlight, shade=shade, size=3, angle=180, texture=texture)).inside
    assert plane(bright)[25:35, 36:44].max() > 60


def test_a_style_is_painted_in_the_usual_order_whatever_its_own() -> None:
    style: list[AnyEffect] = [
        Stroke(paint=Solid(RED), size=2, position="center"),
        Shadow(colour=BLACK, inner=True, size=2),
        Overlay(paint=Solid(RED)),
        Overlay(paint=Gradient(ramp=np.ones((2, 4), np.float32))),
        Overlay(paint=Pattern(tile=np.full((2, 2, 4), 255, np.uint8))),
        Satin(colour=BLACK),
        Glow(paint=Solid(RED), size=2),
        Glow(paint=Solid(RED), inner=True, size=2),
        Shadow(colour=BLACK, size=2),
    ]
    result = drawn(*style)
    assert [piece.name for piece in result.behind] == ["drop-shadow", "outer-glow", "stroke"]
    assert [piece.name for piece in result.inside] == [
        "pattern-overlay",
        "gradient-overlay",
        "color-overlay",
        "satin",
        "inner-glow",
        "inner-shadow",
        "stroke",
    ]


def test_an_effect_without_opacity_and_a_shape_without_alpha_draw_nothing() -> None:
    assert drawn(Shadow(colour=BLACK, opacity=0)).behind == ()
    empty = drawn(Shadow(colour=BLACK), alpha=np.zeros((20, 20), np.uint8))
    assert empty.behind == empty.inside == empty.above == ()


def test_an_overlay_scales_with_its_opacity_and_has_every_channel() -> None:
    (piece,) = drawn(Overlay(paint=Solid((0.2, 0.4, 0.6, 0.8)), opacity=0.5), channels=4).inside
    assert piece.pixels.shape == (20, 20, 5)
    assert list(piece.pixels[3, 3]) == [51, 102, 153, 204, 128]


def test_distances_in_squares_are_those_of_the_whole() -> None:
    rng = np.random.default_rng(3)
    alpha = np.zeros((500, 700), np.uint8)
    for x, y in rng.integers(0, 400, (12, 2)):
        alpha[y : y + 40, x : x + 60] = rng.choice([255, 255, 180])
    for within in (3.0, 40.0):
        near, far = edge_distance(alpha, within), whole_distance(alpha)
        assert np.array_equal(near[far <= within], far[far <= within])
        assert (near[far > within] > within).all()
