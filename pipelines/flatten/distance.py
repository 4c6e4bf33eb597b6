"""How far each pixel is from a shape's edge, where partial coverage places the edge inside a pixel."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt, maximum_filter

Plane = npt.NDArray[np.float32]
Alpha = npt.NDArray[np.uint8]
_SQUARE = 192


def edge_distance(alpha: Alpha, within: float) -> Plane:
    """From the centre of each pixel to the edge of the shape ``uint8 [h, w]``, in px: outside positive, on a partly
    covered pixel -0.5 to 0.5, inside -0.5. What is farther than ``within`` px may be any number above it.

    A pixel covered by the share c has the edge c - 0.5 px beyond its centre; exact for edges along the axes. Only
    squares near an edge cost time.
    """
    margin = math.ceil(within) + 2
    height, width = alpha.shape
    side = max(_SQUARE, 2 * margin)
    out = np.empty(alpha.shape, np.float32)
    for y in range(0, height, side):
        for x in range(0, width, side):
            top, left = max(0, y - margin), max(0, x - margin)
            around = alpha[top : y + side + margin, left : x + side + margin]
            place = np.s_[y : y + side, x : x + side]
            if not around.any():
                out[place] = np.inf
            elif int(around.min()) == 255:
                out[place] = -0.5
            else:
                out[place] = whole_distance(around)[y - top :, x - left :][:side, :side]
    return out


def whole_distance(alpha: Alpha) -> Plane:
    """The same however far; infinite where there is no shape."""
    touched = alpha > 0
    if not touched.any():
        return np.full(alpha.shape, np.inf, np.float32)
    out = _distance_to(touched, alpha)
    if not np.array_equal(touched, alpha == 255):
        # The nearest pixel is not always the one whose edge is nearest: the nearest well covered ones may be.
        for least in (128, 255):
            covered = alpha >= least
            if covered.any():
                np.minimum(out, _distance_to(covered, alpha), out=out)
    return out


def _distance_to(pixels: npt.NDArray[np.bool_], alpha: Alpha) -> Plane:
    steps, (rows, columns) = distance_transform_edt(~pixels, return_indices=True)
    out = np.asarray(steps, np.float32)
    out += np.float32(0.5)
    out -= alpha[rows, columns] * np.float32(1 / 255)
    return out


def dilated(alpha: Alpha, radius: int) -> Plane:
    """The levels 0..1 of the shape grown by ``radius`` px, with round corners; what is translucent stays so (measured
    in Photoshop 2026 by the Patchy project, docs/layer-effects-render.md).
    """
    if radius <= 0:
        return alpha * np.float32(1 / 255)
    grown = np.float32(radius + 0.5) - edge_distance(alpha, radius + 1)
    around = maximum_filter(alpha, 2 * radius + 1, mode="constant")
    return np.clip(grown, 0, around * np.float32(1 / 255), out=grown)


def eroded(alpha: Alpha, radius: int) -> Plane:
    """The coverage 0..1 of the shape shrunk by ``radius`` px; beyond the border of ``alpha`` counts as its border."""
    if radius <= 0:
        return alpha * np.float32(1 / 255)
    left = dilated(~alpha, radius)
    return np.subtract(1, left, out=left)
