"""Resampling against its definition in float64: the mean of the premultiplied plane over each output pixel."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.compositing import Rgba
from training.streaming import resample as module
from training.streaming.resample import resample

Planes = npt.NDArray[np.float64]
KINDS = ("opaque", "soft", "text", "noise")
SCALES = (1.0, 0.5, 0.25, 1 / 3, 512 / 1080, 0.73, 0.9, 0.11)


def picture(kind: str, width: int, height: int, seed: int = 0) -> Rgba:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    colour = np.dstack([x * 200 / width + 20, y * 200 / height + 20, 120 + 80 * np.sin(x / 9) * np.cos(y / 7)])
    alpha = np.full((height, width), 255.0)
    if kind == "soft":
        alpha = np.clip(300 * (1.1 - np.hypot(2 * x / width - 1, 2 * y / height - 1)), 0, 255)
    elif kind == "text":
        alpha = np.where((x // 3 + y // 5) % 4 == 0, 255, 0)
    elif kind == "noise":
        colour, alpha = rng.uniform(0, 255, (height, width, 3)), rng.uniform(0, 255, (height, width))
    return np.dstack([colour, alpha]).round().astype(np.uint8)


def premultiplied(rgba: Rgba) -> Planes:
    values = rgba.astype(np.float64)
    values[..., :3] *= values[..., 3:] / 255
    return values


def reference(rgba: Rgba, scale: float, offset: tuple[float, float], size: tuple[int, int]) -> Planes:
    """Premultiplied means, float64 [h, w, 4] of 0..255, by dense matrices of overlaps."""

    def overlaps(length: int, at: float, count: int) -> Planes:
        edges = (np.arange(count + 1) - at) / scale
        taps = np.arange(length)
        both = np.minimum(edges[1:, None], taps + 1) - np.maximum(edges[:-1, None], taps)
        return both.clip(0) * scale

    across = overlaps(rgba.shape[1], offset[0], size[0])
    down = overlaps(rgba.shape[0], offset[1], size[1])
    return np.einsum("yj,jkc,xk->yxc", down, premultiplied(rgba), across, optimize=True)


def resampled(rgba: Rgba, scale: float, offset: tuple[float, float], size: tuple[int, int], opaque: bool) -> Rgba:
    out = np.full((size[1], size[0], 4), 0xAA, np.uint8)
    resample(rgba, opaque, scale, offset, out)
    return out


def reach(rgba: Rgba, scale: float, offset: tuple[float, float]) -> tuple[int, int]:
    return math.ceil(rgba.shape[1] * scale + offset[0]) + 2, math.ceil(rgba.shape[0] * scale + offset[1]) + 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("offset", [(0.0, 0.0), (3.0, 2.0), (0.5, 0.25), (1.37, 7.81), (-3.5, -6.2)])
def test_means_are_exact_to_the_rounding_of_straight_colour(
    kind: str, scale: float, offset: tuple[float, float]
) -> None:
    rgba = picture(kind, 97, 61)
    size = reach(rgba, scale, offset)
    got = resampled(rgba, scale, offset, size, kind == "opaque")
    error = np.abs(premultiplied(got) - reference(rgba, scale, offset, size))
    # Alpha is rounded once; colour is rounded straight and shows times alpha, beside alpha's own rounding.
    assert error[..., 3].max() <= 0.51
    assert error[..., :3].max() <= 1.02
    assert error.mean() < 0.3
    assert not got[got[..., 3] == 0].any() or scale == 1.0


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.floats(0.01, 1.0) | st.sampled_from([1 / 2, 1 / 3, 1 / 4]),
    st.tuples(st.floats(-20, 20) | st.integers(-20, 20), st.floats(-20, 20) | st.just(0.5)),
    st.booleans(),
    st.integers(6, 12),
)
def test_any_picture_anywhere(
    width: int, height: int, scale: float, offset: tuple[float, float], opaque: bool, strip: int
) -> None:
    rgba = picture("opaque" if opaque else "noise", width, height)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "STRIP_PIXELS", 1 << strip)
        got = resampled(rgba, scale, offset, (23, 19), opaque)
    error = np.abs(premultiplied(got) - reference(rgba, scale, offset, (23, 19)))
    assert error[..., 3].max() <= 0.51
    assert error[..., :3].max() <= 1.02


@pytest.mark.parametrize("kind", KINDS)
def test_scale_one_on_whole_pixels_is_a_copy_even_under_transparency(kind: str) -> None:
    rgba = picture(kind, 30, 20)
    got = resampled(rgba, 1.0, (4.0, -5.0), (40, 30), kind == "opaque")
    assert np.array_equal(got[:15, 4:34], rgba[5:])
    assert not got[15:].any() and not got[:, :4].any() and not got[:, 34:].any()


@pytest.mark.parametrize("scale", [*SCALES, 1.7, 4.0])
@pytest.mark.parametrize("alpha", [255, 77])
def test_constant_colour_stays_constant(scale: float, alpha: int) -> None:
    rgba = np.full((50, 70, 4), (13, 200, 101, alpha), np.uint8)
    got = resampled(rgba, scale, (0.3, 0.6), reach(rgba, scale, (0.3, 0.6)), alpha == 255)
    width, height = int(70 * scale), int(50 * scale)
    assert (got[1:height, 1:width] == rgba[0, 0]).all()
    seen = got[..., 3] > 60
    assert np.abs(got[seen].astype(int) - rgba[0, 0])[:, :3].max() <= 1


@pytest.mark.parametrize("opaque", [True, False])
@pytest.mark.parametrize("factor", [2, 3, 4, 8, 15, 16, 64])
@pytest.mark.parametrize("lacking", [0.5, 0.999])
def test_the_colour_of_a_rim_is_that_of_the_picture(factor: int, opaque: bool, lacking: float) -> None:
    side = 4 * factor + 1
    rgba = np.full((side, side, 4), (200, 101, 37, 255), np.uint8)
    offset = min(int(lacking * factor), factor - 1) / factor
    got = resampled(rgba, 1 / factor, (offset, offset), (8, 8), opaque)
    seen = got[got[..., 3] > 0].astype(int)
    assert 0 < seen[:, 3].min() < 255
    assert np.abs(seen - rgba[0, 0])[:, :3].max() <= 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [*SCALES, 1.3, 3.0])
def test_alpha_is_preserved(kind: str, scale: float) -> None:
    rgba = picture(kind, 83, 59)
    got = resampled(rgba, scale, (5.2, 3.9), reach(rgba, scale, (5.2, 3.9)), kind == "opaque")
    was, now = float(rgba[..., 3].sum()) * scale**2, float(got[..., 3].sum())
    assert now == pytest.approx(was, rel=0.005)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [512 / 1080, 0.73, 0.5])
def test_tiles_fit_together(kind: str, scale: float) -> None:
    rgba, at = picture(kind, 90, 70), (2.6, 1.1)
    size = reach(rgba, scale, at)
    whole = premultiplied(resampled(rgba, scale, at, size, kind == "opaque"))
    tiles = np.zeros_like(whole)
    for y in (slice(0, 33), slice(33, 70)):
        for x in (slice(0, 47), slice(47, 90)):
            offset = (at[0] + x.start * scale, at[1] + y.start * scale)
            tiles += premultiplied(resampled(rgba[y, x], scale, offset, size, kind == "opaque"))
    error = np.abs(whole - tiles)
    assert error.max() <= 4  # four roundings meet where the tiles do
    assert error.mean() < 0.2


@pytest.mark.parametrize("opaque", [True, False])
def test_up_scaling_is_linear_inside_and_sharp_at_the_box(opaque: bool) -> None:
    ramp = np.zeros((4, 8, 4), np.uint8)
    ramp[...] = np.linspace(0, 210, 8)[:, None]
    ramp[..., 3] = 255 if opaque else 180
    got = resampled(ramp, 3.0, (3.0, 6.0), (30, 24), opaque)
    box = got[6:18, 3:27]
    assert (box[..., 3] == ramp[0, 0, 3]).all()
    centres = ((np.arange(24) + 0.5) / 3 - 0.5).clip(0, 7)
    assert np.abs(box[..., 0] - centres * 30).max() <= 1
    got[6:18, 3:27] = 0
    assert not got.any()


def test_extreme_scales_are_bounded() -> None:
    tiny = np.full((1, 1, 4), (9, 8, 7, 255), np.uint8)
    assert (resampled(tiny, 5000.0, (-100.0, -4000.0), (64, 32), True) == tiny[0, 0]).all()
    assert not resampled(tiny, 1e-4, (3.0, 3.0), (8, 8), True).any()
    wide = np.full((2, 100_000, 4), (9, 8, 7, 255), np.uint8)
    got = resampled(wide, 1e-3, (0.0, 0.0), (128, 1), True)
    assert (got[0, :100, 3] == 1).all() and not got[0, 100:].any()  # 2 px of a thousand are half a level of alpha
    long = resampled(wide, 0.7, (0.0, 0.0), (70_000, 2), True)
    assert (long[0, :-1] == wide[0, 0]).all()


def test_a_picture_beside_the_output_leaves_it_empty() -> None:
    rgba = picture("opaque", 10, 10)
    for offset in ((50.0, 0.0), (0.0, -40.0), (-10.0, 0.0), (16.0, 3.0)):
        assert not resampled(rgba, 0.9, offset, (16, 16), True).any()
