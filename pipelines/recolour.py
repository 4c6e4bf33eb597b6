"""Giving a picture the colours of another one, and measuring what that did to it.

Colours are OKLab float32 ``[n, 3]`` with weights (alpha) ``[n]``. Sums run in float64 in a fixed order: the same
input gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipelines.oklab import Colours, from_oklab, to_oklab
from schemas.compositing import Rgba

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

MIN_GAIN, MAX_GAIN = 0.6, 1.7
"""How far the spread of a channel may be scaled: beyond it noise and banding show."""
PALETTE_SIZE = 5
_ROUNDS = 8
_FLAT = 0.01
_OVER = 0.02


class Recoloured(NamedTuple):
    """The new picture (same alpha, colour zero where alpha is) and its measured scores; see ``_measure``."""

    pixels: Rgba
    scores: dict[str, float]


def statistics(pixels: Rgba, donor: Colours, weights: Floats) -> Recoloured:
    """Move mean and standard deviation of each channel to the donor's (Reinhard et al., 2001)."""

    def change(colours: Colours, alpha: Floats) -> Colours:
        mean, spread = moments(colours, alpha)
        target, wanted = moments(donor, weights)
        gain = np.clip(wanted / np.maximum(spread, 1e-4), MIN_GAIN, MAX_GAIN)
        return ((colours - mean) * gain + target).astype(np.float32)

    return _apply(pixels, change)


def palette(pixels: Rgba, donor: Colours, weights: Floats) -> Recoloured:
    """Move each main colour to the donor's of the same rank in lightness, and what lies between along with them."""

    def change(colours: Colours, alpha: Floats) -> Colours:
        source = _palette(colours, alpha)
        target = _palette(donor, weights)
        rank = np.rint(np.linspace(0, len(target) - 1, len(source))).astype(int)
        shift = target[rank] - source
        total = np.zeros(len(colours), np.float32)
        moved = np.zeros_like(colours)
        for centre, by in zip(source, shift, strict=True):
            near = 1 / (((colours - centre) ** 2).sum(axis=1) + np.float32(1e-3))
            moved += near[:, None] * by
            total += near
        return colours + moved / total[:, None]

    return _apply(pixels, change)


def _apply(pixels: Rgba, change: Callable[[Colours, Floats], Colours]) -> Recoloured:
    shown: Mask = pixels[..., 3] > 0
    alpha = pixels[..., 3][shown].astype(np.float32)
    before = to_oklab(pixels[..., :3][shown])
    rgb = from_oklab(change(before, alpha))
    over = np.any((rgb < -_OVER) | (rgb > 1 + _OVER), axis=1)
    out = np.zeros_like(pixels)
    out[shown, :3] = np.rint(np.clip(rgb, 0, 1) * 255)
    out[..., 3] = pixels[..., 3]
    after = to_oklab(out[..., :3][shown])
    return Recoloured(out, _measure(before, after, alpha, shown, over))


def _measure(before: Colours, after: Colours, alpha: Floats, shown: Mask, over: Mask) -> dict[str, float]:
    """What was done, weighted by alpha.

    ``change``: mean distance in OKLab. ``structure``: correlation of the gradients of lightness, 1 where the picture
    was flat. ``contrast``: spread of lightness after / before, 1 where it was flat. ``clipped``: share out of gamut.
    """
    weight = alpha.astype(np.float64)
    total = max(float(weight.sum()), 1e-9)
    distance = np.sqrt(((after - before).astype(np.float64) ** 2).sum(axis=1))
    spread = moments(before, alpha)[1][0]
    flat = spread < _FLAT
    return {
        "change": float((distance * weight).sum() / total),
        "structure": 1.0 if flat else _correlation(before[:, 0], after[:, 0], shown),
        "contrast": 1.0 if flat else float(moments(after, alpha)[1][0] / spread),
        "clipped": float((over * weight).sum() / total),
    }


def _correlation(before: Floats, after: Floats, shown: Mask) -> float:
    """Correlation of the two pictures' gradients (right and down), between pixels that both show."""
    first, second = np.zeros(shown.shape), np.zeros(shown.shape)
    first[shown], second[shown] = before, after
    product = one = two = 0.0
    for axis in (0, 1):
        later, earlier = range(1, shown.shape[axis]), range(shown.shape[axis] - 1)
        inside = np.take(shown, later, axis) & np.take(shown, earlier, axis)
        a, b = np.diff(first, axis=axis)[inside], np.diff(second, axis=axis)[inside]
        product += float((a * b).sum())
        one += float((a * a).sum())
        two += float((b * b).sum())
    return product / (one * two) ** 0.5 if one > 0 and two > 0 else float(one == two)


def moments(colours: Colours, weights: Floats) -> tuple[Colours, Colours]:
    """Weighted mean and standard deviation of each channel."""
    weight = weights.astype(np.float64)[:, None]
    total = max(float(weight.sum()), 1e-9)
    mean = (colours * weight).sum(axis=0) / total
    spread = np.sqrt(((colours - mean) ** 2 * weight).sum(axis=0) / total)
    return mean.astype(np.float32), spread.astype(np.float32)


def _palette(colours: Colours, weights: Floats) -> Colours:
    """The main colours, dark to light: weighted k-means on a few thousand pixels, started evenly in lightness."""
    step = max(1, len(colours) // 4096)
    sample, weight = colours[::step], weights[::step].astype(np.float64)
    order = np.argsort(sample[:, 0], kind="stable")
    starts = order[(np.arange(PALETTE_SIZE) * 2 + 1) * len(order) // (2 * PALETTE_SIZE)]
    centres = np.unique(sample[starts], axis=0)
    for _ in range(_ROUNDS):
        owner = ((sample[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
        mass = np.bincount(owner, weight, len(centres))
        sums = [np.bincount(owner, weight * sample[:, channel], len(centres)) for channel in range(3)]
        used = mass > 0
        centres = (np.stack(sums, axis=1)[used] / mass[used, None]).astype(np.float32)
    return centres[np.argsort(centres[:, 0], kind="stable")]
