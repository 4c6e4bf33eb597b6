"""Where along a gradient each pixel lies, and what colour that is.

Geometry as observed in previews: a linear gradient is as long as the line through the box's centre at its angle, cut
off by the box. Measured in Photoshop 2026 by the Patchy project, docs/gradients.md: linear, reflected and radial
gradients are sampled at each pixel's upper left corner, the others at its centre; where neither scaled nor moved, they
run between ends truncated to whole px, which turns them a little in small boxes.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from pipelines.formats.style import Gradient
from pipelines.formats.tree import Pixels
from schemas.geometry import Box

Plane = npt.NDArray[np.float32]
_STEPS = 4097


def ramp_pixels(gradient: Gradient, positions: Plane) -> Pixels:
    """The colours at ``positions [h, w]`` (0..1, clipped) as uint8 ``[h, w, channels + 1]``."""
    index = np.clip(positions * np.float32(_STEPS - 1) + np.float32(0.5), 0, _STEPS - 1).astype(np.intp)
    out: Pixels = np.take(_table(gradient), index, axis=0)
    return out


def _table(gradient: Gradient) -> Pixels:
    ramp = gradient.ramp
    if len(ramp) != _STEPS:
        at, known = np.linspace(0, 1, _STEPS), np.linspace(0, 1, len(ramp))
        ramp = np.stack([np.interp(at, known, ramp[:, column]) for column in range(ramp.shape[1])], axis=1)
    return np.asarray(np.clip(np.rint(ramp * 255), 0, 255), np.uint8)


def positions(gradient: Gradient, box: Box, area: Box) -> Plane:
    """The position of every pixel of ``box`` on a gradient laid out on ``area``: float32, not clipped."""
    (centre_x, centre_y), (end_x, end_y) = _axis(gradient, area)
    half = max(math.hypot(end_x, end_y), 1e-3)
    cos, sin = end_x / half, -end_y / half
    at = _sampled(gradient)
    x = ((np.arange(box.x0, box.x1) + at - centre_x) / half).astype(np.float32)[None, :]
    y = ((np.arange(box.y0, box.y1) + at - centre_y) / half).astype(np.float32)[:, None]
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


def _sampled(gradient: Gradient) -> float:
    """Where in a pixel, from its upper left corner; of radial ones that are scaled or moved as previews show it."""
    if gradient.kind == "radial":
        return 0.0 if _plain(gradient) else 0.5
    return 0.0 if gradient.kind in ("linear", "reflected") else 0.5


def _plain(gradient: Gradient) -> bool:
    return gradient.scale == 1 and gradient.offset == (0.0, 0.0)


def _axis(gradient: Gradient, area: Box) -> tuple[tuple[float, float], tuple[float, float]]:
    """The centre of the gradient in document px, and from there the way to its end, y down."""
    turn = math.radians(gradient.angle)
    cos, sin = math.cos(turn), math.sin(turn)
    half = max(_length(area, abs(cos), abs(sin)) * gradient.scale / 2, 1e-3)
    centre = (
        (area.x0 + area.x1) / 2 + gradient.offset[0] * area.width,
        (area.y0 + area.y1) / 2 + gradient.offset[1] * area.height,
    )
    way = half * cos, -half * sin
    if not _plain(gradient) or gradient.kind not in ("linear", "reflected", "radial"):
        return centre, way
    far = _truncated(centre[0] + way[0]), _truncated(centre[1] + way[1])
    if gradient.kind == "linear":
        near = _truncated(centre[0] - way[0]), _truncated(centre[1] - way[1])
        centre = (near[0] + far[0]) / 2, (near[1] + far[1]) / 2
    else:
        centre = _truncated(centre[0]), _truncated(centre[1])
    snapped = far[0] - centre[0], far[1] - centre[1]
    return centre, snapped if snapped != (0.0, 0.0) else way


def _truncated(place: float) -> float:
    """To the whole px below; what is whole but for rounding errors stays."""
    return float(math.floor(place + 1e-6))


def _length(area: Box, cos: float, sin: float) -> float:
    """The part of a line through the centre of ``area`` that lies in it."""
    across = area.width / cos if cos > 1e-9 else math.inf
    down = area.height / sin if sin > 1e-9 else math.inf
    return min(across, down)
