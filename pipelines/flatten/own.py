"""A layer's own paint: its stored pixels or its fill in its shape, its pen line, and what blend-if leaves of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipelines.flatten.drawn import Piece
from pipelines.flatten.paint import paint_pixels
from pipelines.flatten.planes import Plane, alpha_bounds, composite_banded
from pipelines.formats.style import PathStroke, Range, Solid
from pipelines.formats.tree import Leaf, Node, Pixels
from schemas.geometry import Box

_LUMINOSITY = (0.299, 0.59, 0.111)


def own_pixels(leaf: Leaf, document: Box, channels: int, *, solid: bool = False) -> Pixels:
    """uint8 ``[box.height, box.width, channels + 1]`` of the leaf's box, maybe read-only.

    ``solid``: as if its fill had no transparency, for the shape that effects follow.
    """
    pixels = np.asarray(leaf.pixels(), np.uint8)
    if leaf.fill is not None:
        shape = pixels[..., -1]
        laid = leaf.laid or alpha_bounds(shape).shift(leaf.box.x0, leaf.box.y0)
        painted = paint_pixels(leaf.fill, leaf.box, laid, document, channels, shape)
        alpha = shape[..., None]
        if not solid and not isinstance(leaf.fill, Solid):
            alpha = np.rint(painted[..., -1:] * (alpha / np.float32(255))).astype(np.uint8)
        pixels = np.concatenate([painted[..., :-1], alpha], axis=2)
    stroke = leaf.stroke() if leaf.stroke is not None else None
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


def with_line(inside: Sequence[Piece], node: Node, clipped_to: bool, document: Box, channels: int) -> tuple[Piece, ...]:
    """The inner pieces with a shape's pen line once more above the overlays, which cover the fill alone (measured in
    Photoshop 2026 by the Patchy project, docs/layer-effects-render.md), and above what is clipped to the layer.
    """
    overlays = sum(piece.name.endswith("-overlay") for piece in inside)
    if not isinstance(node, Leaf) or node.stroke is None or not (overlays or clipped_to):
        return tuple(inside)
    stroke = node.stroke()
    if stroke is None:
        return tuple(inside)
    line = Piece("pen line", line_pixels(node, stroke, document, channels), node.box)
    return (*inside[:overlays], line, *inside[overlays:])


def line_pixels(leaf: Leaf, stroke: PathStroke, document: Box, channels: int) -> Pixels:
    """The pen line alone, of the leaf's box, with its opacity."""
    laid = stroke.laid or alpha_bounds(stroke.coverage).shift(leaf.box.x0, leaf.box.y0)
    painted = paint_pixels(stroke.paint, leaf.box, laid, document, channels, stroke.coverage)
    strength = stroke.coverage * np.float32(stroke.opacity / 255)
    alpha = np.rint(painted[..., -1] * strength).astype(np.uint8)
    return np.concatenate([painted[..., :-1], alpha[..., None]], axis=2)


def through(ranges: Sequence[Range], colours: npt.NDArray[np.floating], channels: int) -> Plane:
    """How much blend-if lets show for colours 0..1 ``[..., channels]``: 0..1 ``[...]``.

    On codes, both ends of a split handle within the ramp, as in Photoshop 2026 (measured by the Patchy project,
    docs/layer-effects-render.md): from a to b code v shows (v - a + 1) / (b - a + 1).
    """
    shown = np.ones(colours.shape[:-1], np.float32)
    for limits in ranges:
        if limits.channel is None:
            level = colours[..., :3] @ np.array(_LUMINOSITY, np.float32)
        elif limits.channel < channels:
            level = colours[..., limits.channel]
        else:
            continue
        code = np.rint(level * 255).astype(np.float32)
        low, high = (tuple(round(end * 255) for end in ends) for ends in (limits.low, limits.high))
        shown *= _ramp(code, low[0], low[1]) * _ramp(255 - code, 255 - high[1], 255 - high[0])
    return shown


def _ramp(code: Plane, start: int, end: int) -> Plane:
    """0 below code ``start``, 1 from ``end`` on."""
    ramp: Plane = np.clip((code - np.float32(start - 1)) / np.float32(end - start + 1), 0, 1)
    return ramp
