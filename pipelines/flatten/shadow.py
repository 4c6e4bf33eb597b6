"""Drop and inner shadows, glows and satin: all of them the blurred shape, seen from another side.

Offsets, spread, range and satin as observed in previews; what happens at a size of 0 as measured
in Photoshop 2026 by the Patchy project, docs/layer-effects-render.md.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pipelines.flatten.blur import kernel_width, rounded
from pipelines.flatten.distance import edge_distance
from pipelines.flatten.drawn import Piece
from pipelines.flatten.gradient import ramp_pixels
from pipelines.flatten.levels import mapped, random_levels, speckled, to_bytes
from pipelines.flatten.shape import Shape, grown, reach_of
from pipelines.formats.style import Glow, Gradient, Satin, Shadow
from schemas.geometry import Box

Plane = npt.NDArray[np.float32]
_FADE = 32.0  # 1 / the level over which a gradient glow fades out before its gradient begins, as observed


def offset(angle: float, distance: float) -> tuple[int, int]:
    """(dx, dy) in whole px away from a light at ``angle`` degrees, y down; halves are rounded right and down,
    as previews show it.
    """
    turn = math.radians(angle)
    return rounded(-distance * math.cos(turn) + 1e-6), rounded(distance * math.sin(turn) + 1e-6)


def shadow_piece(shadow: Shadow, shape: Shape) -> Piece | None:
    """A drop shadow behind the layer or an inner one over its paint; None where nothing of it can be seen."""
    dx, dy = offset(shadow.angle, shadow.distance)
    out = shape.seen() if shadow.inner else shape.seen(reach_of(shadow.size), dx, dy)
    if out.empty:
        return None
    levels = shape.soft(out.shift(-dx, -dy), shadow.size, shadow.spread, inner=shadow.inner)
    levels = speckled(mapped(levels, shadow.contour), shadow.noise, out)
    name = "inner-shadow" if shadow.inner else "drop-shadow"
    piece = shape.coloured(name, shadow.colour, levels, shadow.opacity, out, shadow.blend_mode)
    return replace(piece, concealed=shadow.concealed and not shadow.inner)


def glow_piece(glow: Glow, shape: Shape) -> Piece | None:
    """An outer glow behind the layer or an inner one over its paint; None where nothing of it can be seen."""
    out = shape.seen() if glow.inner else shape.seen(reach_of(glow.size))
    centred = glow.inner and glow.from_centre
    if out.empty or not (kernel_width(glow.size) or centred):
        return None
    level = _spread_out(glow, shape, out)
    if centred:
        level = 1 - level
    name = "inner-glow" if glow.inner else "outer-glow"
    if isinstance(glow.paint, Gradient):
        piece = Piece(name, _graded(glow, glow.paint, level, out), out, glow.blend_mode)
    else:
        level = speckled(mapped(level, glow.contour), glow.noise, out)
        piece = shape.coloured(name, glow.paint.colour, level, glow.opacity, out, glow.blend_mode)
    return replace(piece, concealed=not glow.inner)


def _graded(glow: Glow, gradient: Gradient, level: Plane, out: Box) -> npt.NDArray[np.uint8]:
    """A gradient runs from the edge outwards and fades out at its end."""
    position = 1 - mapped(np.minimum(level + np.float32(1 / _FADE), 1), glow.contour)
    if glow.jitter > 0:
        position += (random_levels(out, 1) - np.float32(0.5)) * np.float32(glow.jitter)
    pixels = ramp_pixels(gradient, position)
    alpha = pixels[..., -1] * np.float32(1 / 255)
    alpha *= np.minimum(level * np.float32(_FADE), 1)
    pixels[..., -1] = to_bytes(speckled(alpha, glow.noise, out), glow.opacity)
    return pixels


def _spread_out(glow: Glow, shape: Shape, out: Box) -> Plane:
    """The level 0..1 by the distance from the edge; a glow without a size has none."""
    if not kernel_width(glow.size):
        return np.zeros((out.height, out.width), np.float32)
    level = _precise(glow, shape, out) if glow.precise else shape.soft(out, glow.size, glow.spread, inner=glow.inner)
    gained: Plane = np.minimum(level / np.float32(max(glow.range, 0.01)), np.float32(1))
    return gained


def _precise(glow: Glow, shape: Shape, out: Box) -> Plane:
    """Falls off evenly with the distance from the edge."""
    region = grown(out, glow.size + 1)
    alpha = shape.over(region)
    distance = edge_distance(~alpha if glow.inner else alpha, glow.size + 1)[out.within(region).slices]
    solid = glow.size * glow.spread
    fade = max(glow.size - solid, 1)
    return np.asarray(np.clip((np.float32(glow.size + 0.5) - distance) / np.float32(fade), 0, 1), np.float32)


def satin_piece(satin: Satin, shape: Shape) -> Piece | None:
    """The difference of two copies of the blurred shape, moved apart, by at least a px each."""
    out = shape.seen()
    if out.empty:
        return None
    dx, dy = offset(satin.angle, max(satin.distance, 1))
    level = np.abs(shape.soft(out.shift(-dx, -dy), satin.size) - shape.soft(out.shift(dx, dy), satin.size))
    level = mapped(level, satin.contour)
    if satin.invert:
        level = 1 - level
    return shape.coloured("satin", satin.colour, level, satin.opacity, out, satin.blend_mode)
