"""Tiling a pattern: repeated from its origin, scaled and turned."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.ndimage import map_coordinates

from pipelines.flatten.blur import rounded
from pipelines.flatten.planes import bands
from pipelines.formats.style import Pattern
from pipelines.formats.tree import Pixels
from schemas.geometry import Box

Plane = npt.NDArray[np.floating[Any]]
_BAND_PIXELS = 1 << 18


def pattern_pixels(pattern: Pattern, box: Box) -> Pixels:
    """The pattern over ``box``: uint8 ``[box.height, box.width, channels + 1]``."""
    if not pattern.tile.size:
        return np.zeros((box.height, box.width, pattern.tile.shape[2]), np.uint8)
    ox, oy = pattern.origin
    if pattern.scale == 1 and pattern.angle % 360 == 0:
        return _repeated(pattern.tile, box.shift(-rounded(ox), -rounded(oy)))
    return _resampled(pattern, box)


def _repeated(tile: Pixels, box: Box) -> Pixels:
    height, width = tile.shape[:2]
    rows = np.arange(box.y0, box.y1) % height
    columns = np.arange(box.x0, box.x1) % width
    out: Pixels = tile[rows[:, None], columns[None, :]]
    return out


def _resampled(pattern: Pattern, box: Box) -> Pixels:
    """Premultiplied, averaged over what one pixel covers where the pattern is scaled down, else bilinear between texels
    on the grid of whole px (measured in Photoshop 2026 by the Patchy project, docs/layer-effects-render.md).
    """
    planes = _premultiplied(pattern.tile)
    height, width = planes.shape[1:]
    scale = max(pattern.scale, 1e-3)
    if scale < 1:
        planes = _reduced(planes, max(1, math.ceil(width * scale)), max(1, math.ceil(height * scale)))
    steps = planes.shape[1] / height / scale, planes.shape[2] / width / scale
    out = np.empty((box.height, box.width, len(planes)), np.uint8)
    for band in bands(box, _BAND_PIXELS):
        place = _places(pattern, band, steps)
        drawn = np.stack([map_coordinates(plane, place, order=1, mode="grid-wrap") for plane in planes])
        out[band.within(box).slices] = _straight(drawn)
    return out


def _places(pattern: Pattern, box: Box, steps: tuple[float, float]) -> tuple[Plane, Plane]:
    """(rows, columns) of the tile under the pixels of ``box``, ``steps`` of which lie a pixel apart."""
    turn = math.radians(pattern.angle)
    middle = 0.5 if pattern.scale < 1 else 0.0
    x = (np.arange(box.x0, box.x1) + middle - pattern.origin[0])[None, :]
    y = (np.arange(box.y0, box.y1) + middle - pattern.origin[1])[:, None]
    rows = (x * math.sin(turn) + y * math.cos(turn)) * steps[0] - middle
    columns = (x * math.cos(turn) - y * math.sin(turn)) * steps[1] - middle
    return rows, columns


def _premultiplied(tile: Pixels) -> Plane:
    planes = np.moveaxis(tile, 2, 0).astype(np.float32)
    planes[:-1] *= planes[-1:] / np.float32(255)
    return planes


def _straight(planes: Plane) -> Pixels:
    alpha = planes[-1]
    np.divide(planes[:-1] * np.float32(255), alpha, out=planes[:-1], where=alpha > 0)
    np.clip(np.rint(planes, out=planes), 0, 255, out=planes)
    return np.ascontiguousarray(np.moveaxis(planes, 0, 2).astype(np.uint8))


def _reduced(planes: Plane, width: int, height: int) -> Plane:
    size = (width, height)
    return np.stack(
        [np.asarray(Image.fromarray(plane, "F").resize(size, Image.Resampling.BOX), np.float32) for plane in planes]
    )
