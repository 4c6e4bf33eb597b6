"""Paints as pixels: where a gradient runs, how a pattern repeats."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from pipelines.flatten.effects import paint_pixels
from pipelines.flatten.gradient import positions
from pipelines.formats.style import Gradient, Pattern, Solid
from schemas.geometry import Box

DOCUMENT = Box(0, 0, 100, 100)
RAMP = np.array([[0, 0, 0, 1], [1, 1, 1, 1]], np.float32)


def gray(gradient: Gradient, box: Box, laid: Box | None = None) -> npt.NDArray[np.int64]:
    return paint_pixels(gradient, box, laid or box, DOCUMENT, 3)[..., 0].astype(np.int64)


@pytest.mark.parametrize("angle", [0, 90, 180, 270])
def test_a_linear_gradient_spans_its_box_at_right_angles(angle: int) -> None:
    box = Box(10, 20, 60, 40)
    """Sampled at whole px, the upper left corners (measured in Photoshop 2026 by the Patchy project, gradients.md)."""
    turned = np.rot90(gray(Gradient(ramp=RAMP, angle=angle), box), -angle // 90)
    row, count = turned[0], turned.shape[1]
    corner = 0 if angle in (0, 270) else 1
    assert np.abs(row - 255 * (np.arange(count) + corner) / count).max() <= 1
    assert (turned == row).all()


@pytest.mark.parametrize(("side", "angle"), [(4, 45.0), (8, 36.87), (16, 32.0), (64, 30.7)])
def test_a_reflected_gradient_of_30_degrees_is_turned_by_whole_pixels(side: int, angle: float) -> None:
    """Angles measured in Photoshop 2026 by the Patchy project, docs/gradients.md."""
    box, middle = Box(0, 0, side, side), side // 2
    values = positions(Gradient(ramp=RAMP, kind="reflected", angle=30), box, box)
    across, down = values[middle, middle + 1], values[middle + 1, middle]
    assert values[middle, middle] == 0
    assert np.degrees(np.arctan2(down, across)) == pytest.approx(angle, abs=0.06)


def test_a_scaled_gradient_keeps_its_angle() -> None:
    box = Box(0, 0, 8, 8)
    values = positions(Gradient(ramp=RAMP, kind="reflected", angle=30, scale=2.0), box, box)
    assert np.degrees(np.arctan2(values[5, 4], values[4, 5])) == pytest.approx(30, abs=1e-3)


def test_a_slanted_gradient_ends_where_its_line_leaves_the_box() -> None:
    box = Box(0, 0, 40, 40)
    values = gray(Gradient(ramp=RAMP, angle=45), box)
    assert values[39, 0] <= 4 and values[0, 39] >= 251
    assert (np.abs(np.diagonal(values) - 127.5) < 1).all()


def test_scale_and_offset_stretch_and_move_a_gradient() -> None:
    box = Box(0, 0, 100, 10)
    half = gray(Gradient(ramp=RAMP, angle=0, scale=0.5), box)[0]
    assert half[24] == 0 and half[75] == 255 and abs(half[50] - 128) <= 3
    moved = gray(Gradient(ramp=RAMP, angle=0, offset=(0.2, 0)), box)[0]
    assert np.abs(moved[20:] - gray(Gradient(ramp=RAMP, angle=0), box)[0][:80]).max() <= 1


def test_an_unaligned_gradient_is_laid_out_on_the_document() -> None:
    box = Box(40, 40, 60, 60)
    values = gray(Gradient(ramp=RAMP, angle=0, aligned=False), box)[0]
    assert np.abs(values - 255 * np.arange(40, 60) / 100).max() <= 1


def test_part_of_a_gradient_is_part_of_the_whole() -> None:
    laid, part = Box(-20, 0, 80, 50), Box(5, 7, 30, 44)
    for kind in ("linear", "radial", "angle", "reflected", "diamond"):
        gradient = Gradient(ramp=RAMP, kind=kind, angle=33, scale=0.8)  # type: ignore[arg-type]
        whole = gray(gradient, laid)[part.within(laid).slices]
        assert np.array_equal(gray(gradient, part, laid), whole), kind


def test_each_kind_runs_outwards_or_around() -> None:
    box = Box(0, 0, 41, 41)
    for kind in ("radial", "reflected", "diamond"):
        values = gray(Gradient(ramp=RAMP, kind=kind, angle=0), box)  # type: ignore[arg-type]
        assert values[20, 20] == 0 and values[20, 40] > 240 and values[20, 0] > 240, kind
    radial, diamond = (gray(Gradient(ramp=RAMP, kind=kind, angle=0), box) for kind in ("radial", "diamond"))  # type: ignore[arg-type]
    assert radial[30, 30] == pytest.approx(255 * np.hypot(10, 10) / 21, abs=1)  # from 20 to 41: whole px
    assert diamond[30, 30] == pytest.approx(255 * 20 / 20.5, abs=1)
    around = gray(Gradient(ramp=RAMP, kind="angle", angle=0), box)
    assert around[20, 30] == 0 and abs(around[0, 20] - 64) <= 1 and abs(around[20, 0] - 128) <= 1
    assert abs(around[40, 20] - 191) <= 1


def test_a_shape_burst_follows_the_shape() -> None:
    box = Box(0, 0, 30, 20)
    alpha = np.full((20, 30), 255, np.uint8)
    values = paint_pixels(Gradient(ramp=RAMP, kind="shape-burst"), box, box, DOCUMENT, 3, alpha)[..., 0]
    assert values[0, 15] > 230 and values[10, 15] == 0
    assert values[0, 15] == values[10, 0] == values[19, 15] == values[10, 29]


def test_a_gradients_opacity_is_its_alpha() -> None:
    ramp = np.array([[1, 0, 0, 0], [1, 0, 0, 1]], np.float32)
    pixels = paint_pixels(Gradient(ramp=ramp, angle=0), Box(0, 0, 10, 1), Box(0, 0, 10, 1), DOCUMENT, 3)
    assert (pixels[..., 0] == 255).all()
    assert np.abs(pixels[0, :, 3] - 255 * np.arange(10) / 10).max() <= 1


def tile(width: int = 4, height: int = 3) -> npt.NDArray[np.uint8]:
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (height, width, 4), dtype=np.uint8)
    pixels[..., 3] = 255
    return pixels


def test_a_pattern_repeats_from_its_origin() -> None:
    box = Box(-5, -4, 9, 8)
    pixels = paint_pixels(Pattern(tile=tile(), origin=(2, 1)), box, box, DOCUMENT, 3)
    y, x = np.mgrid[box.y0 : box.y1, box.x0 : box.x1]
    assert np.array_equal(pixels, tile()[(y - 1) % 3, (x - 2) % 4])


def test_a_pattern_at_full_size_keeps_its_texels_wherever_it_begins() -> None:
    box = Box(-5, -4, 9, 8)
    whole, between = (
        paint_pixels(Pattern(tile=tile(), origin=origin), box, box, DOCUMENT, 3) for origin in ((2, 1), (1.7, 1.3))
    )
    assert np.array_equal(whole, between)


def test_a_pattern_scaled_up_is_linear_between_texels_on_whole_pixels() -> None:
    """Measured in Photoshop 2026 by the Patchy project, docs/layer-effects-render.md."""
    texels = np.full((1, 4, 4), 255, np.uint8)
    texels[0, :, 0] = (0, 100, 200, 100)
    box = Box(3, 0, 24, 1)
    row = paint_pixels(Pattern(tile=texels, scale=2.5, origin=(3, 0)), box, box, DOCUMENT, 3)[0, :, 0]
    expected = np.interp(np.arange(21) / 2.5, np.arange(10), texels[0, np.arange(10) % 4, 0])
    assert np.abs(row - expected).max() <= 0.51


def test_a_turned_pattern_is_turned_counter_clockwise_about_its_origin() -> None:
    box = Box(-12, -12, 13, 13)
    plain = paint_pixels(Pattern(tile=tile()), box, box, DOCUMENT, 3)
    turned = paint_pixels(Pattern(tile=tile(), angle=90), box, box, DOCUMENT, 3)
    assert np.abs(np.rot90(plain).astype(int) - turned).max() <= 1


def test_a_scaled_pattern_keeps_its_mean_and_its_period() -> None:
    box = Box(0, 0, 48, 48)
    for scale in (0.5, 2.0, 1.5):
        pixels = paint_pixels(Pattern(tile=tile(8, 8), scale=scale), box, box, DOCUMENT, 3)
        assert np.abs(pixels.mean((0, 1)) - tile(8, 8).mean((0, 1))).max() < 3, scale
        period = int(8 * scale)
        assert np.abs(pixels[:, period:].astype(int) - pixels[:, :-period]).max() <= 1, scale


def test_transparent_places_of_a_pattern_lend_no_colour() -> None:
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[0, 0] = (200, 100, 50, 255)
    scaled = paint_pixels(Pattern(tile=pixels, scale=3.0), Box(0, 0, 6, 6), Box(0, 0, 6, 6), DOCUMENT, 3)
    shown = scaled[scaled[..., 3] > 20]
    assert len(shown) and np.abs(shown[:, :3].astype(int) - (200, 100, 50)).max() <= 5


def test_a_solid_is_one_colour_in_as_many_channels_as_asked() -> None:
    pixels = paint_pixels(Solid((0.0, 1.0, 0.5, 0.2)), Box(0, 0, 3, 2), Box(0, 0, 3, 2), DOCUMENT, 4)
    assert pixels.shape == (2, 3, 5)
    assert (pixels == (0, 255, 128, 51, 255)).all()


def test_a_pattern_without_a_tile_is_transparent() -> None:
    empty = Pattern(tile=np.zeros((0, 4, 4), np.uint8))
    assert not paint_pixels(empty, Box(0, 0, 3, 2), Box(0, 0, 3, 2), DOCUMENT, 3).any()
