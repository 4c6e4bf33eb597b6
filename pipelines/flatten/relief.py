"""The height of a bevelled shape, and how a light from one side falls on it.

Measured in Photoshop 2026 by the Patchy project, docs/layer-effects-render.md: the gloss contour maps the light itself;
a contour's range divides the slope; dark parts of a texture are raised, by its depth times the bevel's size, smoothed
by a px; an emboss is half as wide as its size and at least a quarter deep.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter

from pipelines.flatten.blur import blurred, kernel_width, rounded
from pipelines.flatten.distance import edge_distance
from pipelines.flatten.levels import mapped
from pipelines.flatten.pattern import pattern_pixels
from pipelines.formats.style import Bevel, Texture
from schemas.geometry import Box

Plane = npt.NDArray[np.float32]
_FADE = 3.0  # under a third of how high the first px of a straight edge lies the light fades out, as observed
_CHISEL_SOFTNESS = 4  # px of blur between the planes of a soft chisel
_SHALLOWEST = 0.25  # depth of an emboss


def width_of(bevel: Bevel) -> int:
    """How far the relief reaches to one side of the edge, in px."""
    if not rounded(bevel.size):
        return 0
    size = bevel.size if bevel.kind in ("inner", "outer") else max(bevel.size / 2, 1)
    return kernel_width(size) if bevel.technique == "smooth" else rounded(size)


def margin_of(bevel: Bevel) -> int:
    """How many px around a place its light depends on."""
    softness = _CHISEL_SOFTNESS if bevel.technique == "chisel-soft" else 0
    return width_of(bevel) + kernel_width(bevel.soften) + softness + 2


def light(bevel: Bevel, alpha: npt.NDArray[np.uint8], region: Box, *, sunken: bool = False) -> Plane:
    """The cosine between the surface and the light, float32 ``[h, w]``; flat ground has sin(altitude).

    ``alpha`` uint8 ``[h, w]`` is the shape in ``region``. A place is right ``margin_of`` px away from its border.
    ``sunken``: heights are depths.
    """
    share = _share(bevel, alpha)
    height = _height(bevel, share)
    if bevel.texture is not None:
        height += _texture(bevel, bevel.texture, region)
    depth = bevel.depth if bevel.kind in ("inner", "outer") else max(bevel.depth, _SHALLOWEST)
    slope = np.float32(depth if bevel.up != sunken else -depth)
    down, across = np.gradient(height)
    turn, altitude = math.radians(bevel.angle), math.radians(bevel.altitude)
    side = np.float32(math.cos(altitude))
    cosine = across * (-slope * side * np.float32(math.cos(turn)))
    cosine += down * (slope * side * np.float32(math.sin(turn)))
    flat = np.float32(math.sin(altitude))
    cosine += flat
    cosine /= np.sqrt(1 + slope * slope * (across * across + down * down))
    lit = cosine.astype(np.float32, copy=False)
    if bevel.gloss is not None:
        lit = mapped(np.clip(lit, 0, 1), bevel.gloss)
    lit -= flat
    lit *= np.minimum(share * np.float32(_FADE / _first(bevel)), 1)
    lit += flat
    return blurred(lit, kernel_width(bevel.soften))


def _share(bevel: Bevel, alpha: npt.NDArray[np.uint8]) -> Plane:
    """How much of the way up a place lies: 0 beyond the relief."""
    width = width_of(bevel)
    smooth = bevel.technique == "smooth"
    return blurred(alpha * np.float32(1 / 255), width) if smooth else _slanted(alpha, width)


def _first(bevel: Bevel) -> float:
    """The share of the way up at which the first px of a straight edge lies."""
    return 1 / max(width_of(bevel), 1) ** (2 if bevel.technique == "smooth" else 1)


def _height(bevel: Bevel, share: Plane) -> Plane:
    """The height in px."""
    height = share if bevel.contour is None else _profiled(bevel, share)
    height = height * np.float32(width_of(bevel))
    return blurred(height, _CHISEL_SOFTNESS) if bevel.technique == "chisel-soft" else height


def _slanted(alpha: npt.NDArray[np.uint8], width: int) -> Plane:
    """0 at ``width`` px outside the edge, 1 on it, 2 as far inside, with even slopes."""
    outside, inside = edge_distance(alpha, width + 1), edge_distance(~alpha, width + 1)
    signed = np.where(outside > inside, np.minimum(-outside, 0), np.maximum(inside, 0))
    edge = outside + inside < 0.5  # partly covered pixels know both sides
    signed = np.where(edge, (inside - outside) / 2, signed)
    return np.asarray(np.clip(signed / np.float32(width), -1, 1) + 1, np.float32)


def _profiled(bevel: Bevel, share: Plane) -> Plane:
    """The contour as the profile of the slope, as steep as the range is short; beyond the slope it goes on evenly."""
    top = 1.0 if bevel.technique == "smooth" else 2.0
    low, high = {"inner": (top / 2, top), "outer": (0.0, top / 2)}.get(bevel.kind, (0.0, top))
    within = np.clip(share, low, high)
    height = mapped((within - np.float32(low)) / np.float32(high - low), bevel.contour) * np.float32(high - low)
    height += share - within
    height /= np.float32(max(bevel.contour_range, 0.01))
    return height


def _texture(bevel: Bevel, texture: Texture, region: Box) -> Plane:
    """The darkness of the pattern as height in px."""
    pixels = pattern_pixels(texture.pattern, region)
    level = pixels[..., :-1].mean(axis=2, dtype=np.float32) * np.float32(1 / 255)
    if not texture.invert:
        np.subtract(1, level, out=level)
    level *= pixels[..., -1] * np.float32(1 / 255)
    level *= np.float32(texture.depth * width_of(bevel))
    smooth: Plane = uniform_filter(level.astype(np.float32, copy=False), 3, mode="nearest")
    return smooth
