"""Where along a gradient each pixel lies, and what colour that is.

Geometry as observed in previews: a linear gradient is as long as the line through the box's centre at its angle, cut
off by the box.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from pipelines.formats.style import Gradient
from pipelines.formats.tree import Pixels
from schemas.geometry import Box

Plane = npt.NDArray[np.float32]
_STEPS = 4096


def ramp_pixels(gradient: Gradient, positions: Plane) -> Pixels:
    """The colours at ``positions [h, w]`` (0..1, clipped) as uint8 ``[h, w, channels + 1]``."""
    index = np.clip(positions * np.float32(_STEPS - 1) + np.float32(0.5), 0, _STEPS - 1).astype(np.intp)
    out: Pixels = np.take(_table(gradient), index, axis=0)
    return out


def _table(gradient: Gradient) -> Pixels:
    ramp = gradient.ramp
    at, known = np.linspace(0, 1, _STEPS), np.linspace(0, 1, len(ramp))
    table = np.stack([np.interp(at, known, ramp[:, column]) for column in range(ramp.shape[1])], axis=1)
    return np.asarray(np.clip(np.rint(table * 255), 0, 255), np.uint8)


def positions(gradient: Gradient, box: Box, area: Box) -> Plane:
    """The position of every pixel of ``box`` on a gradient laid out on ``area``: float32, not clipped."""
    turn = math.radians(gradient.angle)
    cos, sin = math.cos(turn), math.sin(turn)
    half = max(_length(area, abs(cos), abs(sin)) * gradient.scale / 2, 1e-3)
    centre_x = (area.x0 + area.x1) / 2 + gradient.offset[0] * area.width
    centre_y = (area.y0 + area.y1) / 2 + gradient.offset[1] * area.height
    x = ((np.arange(box.x0, box.x1) + 0.5 - centre_x) / half).astype(np.float32)[None, :]
    y = ((np.arange(box.y0, box.y1) + 0.5 - centre_y) / half).astype(np.float32)[:, None]
    if gradient.kind == "radial":
        return np.sqrt(x * x + y * y)
    if gradient.kind == "angle":
        return np.mod(np.arctan2(-y, x) / np.float32(2 * math.pi) - np.float32(gradient.angle / 360), np.float32(1))
    along = x * np.float32(cos) - y * np.float32(sin)
    if gradient.kind == "reflected":
        return np.abs(along)
    if gradient.kind == "diamond":
        return np.abs(along) + np.abs(x * np.float32(sin) + y * np.float32(cos))
    along *= np.float32(0.5)
    along += np.float32(0.5)
    return along


def _length(area: Box, cos: float, sin: float) -> float:
    """The part of a line through the centre of ``area`` that lies in it."""
    across = area.width / cos if cos > 1e-9 else math.inf
    down = area.height / sin if sin > 1e-9 else math.inf
    return min(across, down)
