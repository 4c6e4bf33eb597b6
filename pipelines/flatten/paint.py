"""Paints as pixels: one colour, a gradient or a pattern over a box."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipelines.flatten.distance import whole_distance
from pipelines.flatten.gradient import positions, ramp_pixels
from pipelines.flatten.pattern import pattern_pixels
from pipelines.formats.style import Colour, Gradient, Paint, Solid
from pipelines.formats.tree import Pixels
from schemas.geometry import Box

Plane = npt.NDArray[np.float32]


def paint_pixels(
    paint: Paint, box: Box, laid: Box, document: Box, channels: int, alpha: npt.NDArray[np.uint8] | None = None
) -> Pixels:
    """The paint over ``box``: uint8 ``[box.height, box.width, channels + 1]``, perhaps read-only.

    ``laid``: the layer's box, on which gradients are laid out unless they ask for the ``document``'s. ``alpha`` uint8
    ``[box.height, box.width]``: the shape that a shape-burst gradient follows; without it, that one is linear.
    """
    if isinstance(paint, Solid):
        return solid_pixels(paint.colour, box, channels)
    if isinstance(paint, Gradient):
        if paint.kind == "shape-burst" and alpha is not None:
            return ramp_pixels(paint, _depth(alpha))
        return ramp_pixels(paint, positions(paint, box, laid if paint.aligned else document))
    return pattern_pixels(paint, box)


def code_of(colour: Colour, channels: int) -> npt.NDArray[np.uint8]:
    """A colour 0..1 as uint8 ``[channels]``; missing channels are 0."""
    levels = (*colour, *([0.0] * channels))[:channels]
    return np.asarray(np.clip(np.rint(np.asarray(levels) * 255), 0, 255), np.uint8)


def solid_pixels(colour: Colour, box: Box, channels: int) -> Pixels:
    """One opaque colour over ``box``; a read-only view of one pixel."""
    one = np.append(code_of(colour, channels), np.uint8(255))
    out: Pixels = np.broadcast_to(one, (box.height, box.width, channels + 1))
    return out


def _depth(alpha: npt.NDArray[np.uint8]) -> Plane:
    """How deep inside the shape a pixel lies, 1 at the edge and 0 at the deepest place."""
    inside = np.pad(~alpha, 1, constant_values=255)
    distance = np.maximum(whole_distance(inside)[1:-1, 1:-1], 0)
    deepest = float(distance.max(initial=0))
    if not 0 < deepest < np.inf:
        return np.ones(alpha.shape, np.float32)
    return np.asarray(1 - distance / np.float32(deepest), np.float32)
