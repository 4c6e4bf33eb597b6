"""Contours: the curves that remap an effect's levels."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
from psd_tools.psd.descriptor import Descriptor

from pipelines.formats.psd_descriptors import children, flag, number
from pipelines.formats.style import Curve

_LEVELS = np.arange(256, dtype=np.float64)
Points = npt.NDArray[np.float64]


def contour(descriptor: Descriptor | None) -> Curve | None:
    """The curve of a contour object (``ShpC``), None where it changes nothing.

    Points are 0..255 on both axes. Between corners a natural cubic runs through the smooth points; two neighbouring
    corners are joined by a straight line. Before the first point and after the last it is flat.
    """
    if descriptor is None:
        return None
    found = {number(item, b"Hrzn", -1, -1, 255): item for item in children(descriptor, b"Crv ")}
    xs = sorted(x for x in found if x >= 0)
    if len(xs) < 2:
        return None
    points = np.array([[x, number(found[x], b"Vrtc", 0, 0, 255)] for x in xs])
    corners = [not flag(found[x], b"Cnty", True) for x in xs]
    table = _table(points, corners)
    return None if np.abs(table - _LEVELS).max() < 0.5 else (table / 255).astype(np.float32)


def _table(points: Points, corners: list[bool]) -> Points:
    """The curve at 0, 1 .. 255, clipped to 0..255."""
    table = np.interp(_LEVELS, points[:, 0], points[:, 1])
    ends = [0, *(i for i in range(1, len(points) - 1) if corners[i]), len(points) - 1]
    for first, last in pairwise(ends):
        if last - first > 1:
            run = points[first : last + 1]
            inside = (run[0, 0] <= _LEVELS) & (run[-1, 0] >= _LEVELS)
            table[inside] = _natural(run, _LEVELS[inside])
    return table.clip(0, 255)


def _natural(points: Points, at: Points) -> Points:
    """The cubic spline through ``points`` ``[n, 2]``, n > 2, without curvature at its ends, at ``at``."""
    x, y = points.T
    step, rise = np.diff(x), np.diff(y)
    matrix = np.diag(2 * (step[:-1] + step[1:])) + np.diag(step[1:-1], 1) + np.diag(step[1:-1], -1)
    bend = np.zeros(len(x))
    bend[1:-1] = np.linalg.solve(matrix, 6 * np.diff(rise / step))
    i = np.searchsorted(x, at, side="right").clip(1, len(x) - 1) - 1
    left, right, width = at - x[i], x[i + 1] - at, step[i]
    cubic = (bend[i] * right**3 + bend[i + 1] * left**3) / (6 * width)
    linear = (y[i] / width - bend[i] * width / 6) * right + (y[i + 1] / width - bend[i + 1] * width / 6) * left
    return np.asarray(cubic + linear)
