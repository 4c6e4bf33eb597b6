"""Measures of made layers against true ones by layer number, and of the merged picture.

A made layer is cut to the exact box of the true one's pixels first. Colours are sRGB in 0..1. PSNR and SSIM are of
pictures over white, what somebody sees of a layer alone; RGB L1 is of straight colours, alpha soft IoU of alphas.
``masked`` values are over the pixels that the true layer has (alpha > 0), ``full`` ones over the canvas, blank area
included, as published values seem to be. Neither says much without the other.

SSIM is scikit-image's with a uniform window of 7 px, or the largest odd side that fits a smaller picture, and the
covariances of a population, which a window of one pixel has too. The map keeps its borders (mirrored), so that a mean
over any mask is a mean over the map.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from skimage.metrics import structural_similarity

from schemas.compositing import Rgba
from schemas.geometry import Box
from training.evaluation.stack import WHITE, Placed, Stack, check_pair, cut, exact_box, flattened

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

WINDOW = 7
"""Side of SSIM's window, px."""
PSNR_CAP = 100.0
"""dB that stand for a perfect match, so that means stay finite."""


@dataclass(frozen=True)
class LayerScore:
    """One layer, or the mean of several. ``cost`` is (``rgb_l1`` + 1 - ``alpha_iou``) / 2; PSNR in dB."""

    cost: float
    rgb_l1: float
    alpha_iou: float
    psnr_masked: float
    ssim_masked: float
    psnr_full: float
    ssim_full: float


@dataclass(frozen=True)
class MergedScore:
    """The merged picture of a design inside the visible box, or the mean of several. PSNR in dB."""

    psnr: float
    ssim: float


Score = TypeVar("Score", LayerScore, MergedScore)


def score_layers(made: Stack, true: Stack) -> list[LayerScore | None]:
    """The score of each layer; None for a true layer without a pixel on the canvas.

    Raises:
        ValueError: as ``clipped``.
    """
    return _scores(made, true, None)


def score_overflow(made: Stack, true: Stack) -> list[LayerScore | None]:
    """As ``score_layers``, of the pixels outside the true design's visible box alone; None for a layer without any."""
    return _scores(made, true, true.shown)


def score_merged(made: Stack, reference: Placed) -> MergedScore:
    """The layers put together again against a picture, both over white, inside the visible box.

    ``reference``: what was given for image-to-layers, the composed picture that was made for text-to-layers. A crop of
    the reference for every layer wins this by construction: never rank methods by it alone.

    Raises:
        ValueError: the reference does not cover the visible box.
    """
    shown = made.shown
    if not reference[0].contains(shown):
        raise ValueError(f"the reference covers {list(reference[0])}, not all of the visible box {list(shown)}")
    ours, theirs = (flattened(layers, shown, WHITE)[..., :3] / 255 for layers in (made.layers, [reference]))
    return MergedScore(_psnr(float(np.square(ours - theirs).mean())), float(ssim_map(ours, theirs).mean()))


def mean(scores: Iterable[Score | None]) -> Score | None:
    """The mean of the scores that are there; None of none."""
    kept = [score for score in scores if score is not None]
    if not kept:
        return None
    names = [field.name for field in fields(kept[0])]
    return type(kept[0])(**{name: float(np.mean([getattr(score, name) for score in kept])) for name in names})


def window_of(height: int, width: int) -> int:
    """Side of SSIM's window on a picture: odd, and no larger than the picture."""
    short = min(height, width)
    return min(WINDOW, short - 1 + short % 2)


def ssim_map(one: Floats, other: Floats, window: int | None = None) -> Floats:
    """SSIM ``[h, w]`` around each pixel of two pictures ``[h, w, C]`` in 0..1, the mean over the channels.

    ``window``: its side in px, odd; None takes that of ``window_of``.
    """
    side = window_of(*one.shape[:2]) if window is None else window
    _, out = structural_similarity(  # type: ignore[no-untyped-call]
        one, other, win_size=side, data_range=1.0, channel_axis=2, full=True, use_sample_covariance=False
    )
    found: Floats = out.mean(axis=2)
    return found


def _scores(made: Stack, true: Stack, without: Box | None) -> list[LayerScore | None]:
    check_pair(made, true)
    pairs: Sequence[tuple[Placed, Placed]] = list(zip(made.layers, true.layers, strict=True))
    return [_score(ours, theirs, true.frame, without) for ours, theirs in pairs]


def _score(made: Placed, true: Placed, frame: Box, without: Box | None) -> LayerScore | None:
    """The score on the pixels of ``frame`` that are not in ``without``; None where the true layer has none of them."""
    exact = exact_box(true).intersect(frame)
    if exact.empty:
        return None
    window = window_of(frame.height, frame.width)
    # Beyond the exact box both are blank, alike: SSIM is 1 wherever its window does not reach into the box.
    reach = 2 * (window // 2)
    near = Box(exact.x0 - reach, exact.y0 - reach, exact.x1 + reach, exact.y1 + reach).intersect(frame)
    judged = np.ones((near.height, near.width), np.bool_)
    area = frame.area
    if without is not None:
        judged[near.intersect(without).within(near).slices] = False
        area -= frame.intersect(without).area
    theirs, ours = cut(true, near), np.zeros((near.height, near.width, 4), np.uint8)
    ours[exact.within(near).slices] = cut(made, exact)
    solid = judged & (theirs[..., 3] > 0)
    if not solid.any():
        return None
    rgb_l1, alpha_iou = _colour_and_alpha(ours, theirs, judged, solid)
    one, other = _on_white(ours), _on_white(theirs)
    squares, similar = np.square(one - other).mean(axis=2), ssim_map(one, other, window)
    return LayerScore(
        cost=(rgb_l1 + 1 - alpha_iou) / 2,
        rgb_l1=rgb_l1,
        alpha_iou=alpha_iou,
        psnr_masked=_psnr(float(squares[solid].mean())),
        ssim_masked=float(similar[solid].mean()),
        psnr_full=_psnr(float(squares[judged].sum()) / area),
        ssim_full=1 - float((1 - similar)[judged].sum()) / area,
    )


def _colour_and_alpha(ours: Rgba, theirs: Rgba, judged: Mask, solid: Mask) -> tuple[float, float]:
    """RGB L1 on the solid pixels and alpha soft IoU on the judged ones, of which some are solid."""
    colour = np.abs(ours[..., :3][solid] / 255 - theirs[..., :3][solid] / 255).mean()
    a, b = ours[..., 3][judged], theirs[..., 3][judged]
    shared, either = np.minimum(a, b).sum(dtype=np.int64), np.maximum(a, b).sum(dtype=np.int64)
    return float(colour), float(shared / either)


def _on_white(picture: Rgba) -> Floats:
    """RGB ``[h, w, 3]`` in 0..1 of a picture over white."""
    alpha = picture[..., 3:] / 255
    seen: Floats = picture[..., :3] / 255 * alpha + (1 - alpha)
    return seen


def _psnr(mean_square: float) -> float:
    return min(PSNR_CAP, -10 * math.log10(mean_square)) if mean_square > 0 else PSNR_CAP
