"""The blur of layer effects: a triangular kernel along each axis, as the previews of documents show it.

A blur of ``size`` S weighs the pixel n away by max(0, 1 - |n| / S): two boxes of width S, one after the other.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter1d

Plane = npt.NDArray[np.float32]


def blurred(plane: Plane, size: float) -> Plane:
    """``plane [h, w]`` blurred by ``size`` px; beyond its border lies 0. Sizes up to 1 px change nothing."""
    if size <= 1:
        return plane
    return _along(_along(plane, size, 1), size, 0)


def _along(plane: Plane, size: float, axis: int) -> Plane:
    """A fractional size is exactly a mixture of the triangles of the two whole sizes around it."""
    whole = int(size)
    part = size - whole
    if part < 1e-3:
        return _triangle(plane, whole, axis)
    below, above = (1 - part) * whole * whole, part * (whole + 1) ** 2
    mixed = _triangle(plane, whole, axis) * np.float32(below / (below + above))
    mixed += _triangle(plane, whole + 1, axis) * np.float32(above / (below + above))
    return mixed


def _triangle(plane: Plane, size: int, axis: int) -> Plane:
    if size <= 1:
        return plane
    once = uniform_filter1d(plane, size, axis=axis, mode="constant")
    # The window of an even box lies half a pixel to one side; the second one lies half a pixel to the other.
    out: Plane = uniform_filter1d(once, size, axis=axis, mode="constant", origin=-1 if size % 2 == 0 else 0)
    return out
