"""Strokes along the edge of a shape.

A stroke has two halves that meet on the edge of the shape: the inner one is confined to the shape, the outer one lies
behind it and is hidden by it, so that the two and the shape add up to full coverage on an antialiased edge. What is
translucent counts as edge: the inner half replaces it, the outer one fills what it leaves open (measured in Photoshop
2026 by the Patchy project, docs/layer-effects-render.md, as are shape-bursts).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pipelines.flatten.distance import edge_distance
from pipelines.flatten.drawn import Piece
from pipelines.flatten.gradient import ramp_pixels
from pipelines.flatten.levels import to_bytes
from pipelines.flatten.shape import Shape, grown
from pipelines.formats.style import Gradient, Stroke
from schemas.geometry import Box

Plane = npt.NDArray[np.float32]


def widths(stroke: Stroke) -> tuple[float, float]:
    """(px inside, px outside) of the edge."""
    if stroke.position == "inside":
        return stroke.size, 0.0
    return (0.0, stroke.size) if stroke.position == "outside" else (stroke.size / 2, stroke.size / 2)


def stroke_pieces(stroke: Stroke, shape: Shape) -> tuple[list[Piece], list[Piece]]:
    """(behind, inside): the outer and the inner half of the stroke, each at most one piece."""
    within, beyond = widths(stroke)
    outside, own = shape.seen(beyond + 1), shape.seen()
    behind = [_half(stroke, shape, outside, beyond, inner=False)] if beyond > 0 and not outside.empty else []
    inside = [_half(stroke, shape, own, within, inner=True)] if within > 0 and not own.empty else []
    return behind, inside


def _half(stroke: Stroke, shape: Shape, out: Box, width: float, *, inner: bool) -> Piece:
    distance = _distance(shape, out, width, inner=inner)
    cover = _cover(distance, width)
    if isinstance(stroke.paint, Gradient) and stroke.paint.kind == "shape-burst":
        pixels = ramp_pixels(stroke.paint, _across(stroke, distance, inner=inner))
        pixels[..., -1] = to_bytes(cover * (pixels[..., -1] * np.float32(1 / 255)), stroke.opacity)
        piece = Piece("stroke", pixels, out, stroke.blend_mode)
    else:
        laid = grown(shape.box, widths(stroke)[1])
        piece = shape.painted("stroke", stroke.paint, cover, stroke.opacity, out, stroke.blend_mode, laid)
    return replace(piece, concealed=not inner, cuts=_taken(stroke, shape, cover, piece, inner=inner))


def cover_over(stroke: Stroke, shape: Shape, out: Box) -> Plane:
    """What the whole stroke covers in ``out``, 0..1."""
    within, beyond = widths(stroke)
    alpha = shape.over(out) * np.float32(1 / 255)
    cover = np.zeros((out.height, out.width), np.float32)
    if beyond > 0:
        cover += (1 - alpha) * _cover(_distance(shape, out, beyond, inner=False), beyond)
    if within > 0:
        cover += alpha * _cover(_distance(shape, out, within, inner=True), within)
    return cover


def _cover(distance: Plane, width: float) -> Plane:
    return np.asarray(np.clip(np.float32(width + 0.5) - distance, 0, 1), np.float32)


def _distance(shape: Shape, out: Box, width: float, *, inner: bool) -> Plane:
    """The distance to the edge in ``out``, right up to ``width`` px: from outside, or from inside."""
    region = grown(out, width + 2)
    alpha = shape.over(region)
    return edge_distance(~alpha if inner else alpha, width + 1)[out.within(region).slices]


def _across(stroke: Stroke, distance: Plane, *, inner: bool) -> Plane:
    """The position across a stroke, 0 where its outer rim ends and 1 where its inner one does, a px beyond each width;
    a side without a width ends on the shape.
    """
    within, beyond = (width + 1 if width else 0.0 for width in widths(stroke))
    outwards = -(distance + np.float32(0.5)) if inner else distance + np.float32(0.5)
    return np.asarray((np.float32(beyond) - outwards) / np.float32(within + beyond), np.float32)


def _taken(stroke: Stroke, shape: Shape, cover: Plane, piece: Piece, *, inner: bool) -> npt.NDArray[np.uint8] | None:
    """What the stroke takes away of the layer: all under it, or overprinting what is translucent in its inner half."""
    if not stroke.overprint:
        return _cuts(cover, piece)
    if not inner:
        return None
    alpha = shape.over(piece.box)
    translucent = (alpha > 0) & (alpha < 255)
    return _cuts(cover * translucent, piece) if translucent.any() else None


def _cuts(cover: Plane, piece: Piece) -> npt.NDArray[np.uint8] | None:
    """What must go so that under the stroke's coverage c nothing but the stroke is left: (1 - cut)(1 - alpha) = 1 - c.

    None where an opaque stroke does it by itself.
    """
    if piece.blend_mode != "normal":
        return to_bytes(cover)
    alpha = piece.pixels[..., -1] * np.float32(1 / 255)
    if float((cover - alpha).max(initial=0)) <= 1 / 255:
        return None
    cut = np.divide(np.maximum(cover - alpha, 0), 1 - alpha, out=np.zeros_like(cover), where=alpha < 1)
    return to_bytes(cut)
