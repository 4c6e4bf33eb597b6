"""The blur of layer effects: a triangular kernel along each axis, as the previews of documents show it.

A blur of N px weighs the pixel n away by max(0, 1 - |n| / N): two boxes of N px, one after the other.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter1d

Plane = npt.NDArray[np.float32]


def rounded(length: float) -> int:
    """To whole px, halves up."""
    return math.floor(length + 0.5)


def kernel_width(size: float) -> int:
    """The N of an effect of ``size`` px: whole and at least 2; 0 for a size of 0 (measured in Photoshop 2026 by the
    Patchy project, docs/layer-effects-render.md).
    """
    whole = rounded(size)
    return max(2, whole) if whole > 0 else 0


def blurred(plane: Plane, width: int) -> Plane:
    """``plane [h, w]`` blurred by ``width`` px; beyond its border lies 0. Widths up to 1 px change nothing."""
    if width <= 1:
        return plane
    return _triangle(_triangle(plane, width, 1), width, 0)


def _triangle(plane: Plane, width: int, axis: int) -> Plane:
    once = uniform_filter1d(plane, width, axis=axis, mode="constant")
    # The window of an even box lies half a pixel to one side; the second one lies half a pixel to the other.
    out: Plane = uniform_filter1d(once, width, axis=axis, mode="constant", origin=-1 if width % 2 == 0 else 0)
    return out
