"""A layer's own paint: its stored pixels or its fill in its shape, its pen line, and what blend-if leaves of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipelines.flatten.paint import paint_pixels
from pipelines.flatten.planes import Plane, alpha_bounds, composite_banded
from pipelines.formats.style import PathStroke, Range
from pipelines.formats.tree import Leaf, Pixels
from schemas.geometry import Box

_LUMINOSITY = (0.3, 0.59, 0.11)


def own_pixels(leaf: Leaf, document: Box, channels: int, *, stroked: bool) -> Pixels:
    """uint8 ``[box.height, box.width, channels + 1]`` of the leaf's box, maybe read-only; ``stroked``: with its pen
    line.
    """
    pixels = np.asarray(leaf.pixels(), np.uint8)
    if leaf.fill is not None:
        shape = pixels[..., -1]
        laid = alpha_bounds(shape).shift(leaf.box.x0, leaf.box.y0)
        painted = paint_pixels(leaf.fill, leaf.box, laid, document, channels, shape)
        alpha = np.rint(painted[..., -1:] * (shape[..., None] / np.float32(255))).astype(np.uint8)
        pixels = np.concatenate([painted[..., :-1], alpha], axis=2)
    stroke = leaf.stroke() if stroked and leaf.stroke is not None else None
    if stroke is None:
        return pixels
    line = line_pixels(leaf, stroke, document, channels)
    if not stroke.inner:
        return composite_banded([(pixels, leaf.box), (line, leaf.box)], leaf.box)
    opaque = pixels.copy()
    opaque[..., -1] = np.where(pixels[..., -1] > 0, np.uint8(255), np.uint8(0))
    inside = composite_banded([(opaque, leaf.box), (line, leaf.box)], leaf.box)
    inside[..., -1] = np.where(pixels[..., -1] > 0, pixels[..., -1], inside[..., -1])
    return inside


def line_pixels(leaf: Leaf, stroke: PathStroke, document: Box, channels: int) -> Pixels:
    """The pen line alone, of the leaf's box, with its opacity."""
    laid = alpha_bounds(stroke.coverage).shift(leaf.box.x0, leaf.box.y0)
    painted = paint_pixels(stroke.paint, leaf.box, laid, document, channels, stroke.coverage)
    strength = stroke.coverage * np.float32(stroke.opacity / 255)
    alpha = np.rint(painted[..., -1] * strength).astype(np.uint8)
    return np.concatenate([painted[..., :-1], alpha[..., None]], axis=2)


def through(ranges: Sequence[Range], colours: npt.NDArray[np.floating], channels: int) -> Plane:
    """How much blend-if lets show for colours 0..1 ``[..., channels]``: 0..1 ``[...]``."""
    shown = np.ones(colours.shape[:-1], np.float32)
    for limits in ranges:
        if limits.channel is None:
            level = colours[..., :3] @ np.array(_LUMINOSITY, np.float32)
        elif limits.channel < channels:
            level = colours[..., limits.channel]
        else:
            continue
        shown *= _ramp(level, *limits.low) * _ramp(1 - level, 1 - limits.high[1], 1 - limits.high[0])
    return shown


def _ramp(level: npt.NDArray[np.floating], start: float, end: float) -> Plane:
    """0 below ``start``, 1 from ``end`` on."""
    if end - start < 1e-6:
        return (level >= start - 1e-6).astype(np.float32)
    ramp: Plane = np.clip((level - start) / (end - start), 0, 1).astype(np.float32)
    return ramp
