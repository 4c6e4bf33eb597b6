"""Bringing a picture to the run's resolution: exact area averages of premultiplied colour, at exact positions.

A picture lies on an endless transparent plane. A pixel of the output is the mean of that plane over the pixel's square,
so parts of a design that are resampled each for itself still fit together, and no alpha is lost. Means are two sparse
products, one a side; a whole factor on the source's own grid goes by integer boxes, which is the same mean in 16 bit.
Up-scaling interpolates linearly inside the picture's box and ends as sharply as the box does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from schemas.compositing import Rgba

Floats = npt.NDArray[np.float32]
STRIP_PIXELS = 1 << 17
"""Source pixels that are in float at once: a strip stays in the cache. Bounds memory, not the result."""
_MAX_FACTOR = 64
"""Whole factors up to here: their sums are exact in float32."""
_NEAR = 1e-6
"""Of an output pixel: nearer positions are the same, so that float noise costs neither speed nor exactness."""


def resample(rgba: Rgba, opaque: bool, scale: float, offset: tuple[float, float], out: Rgba) -> None:
    """Write ``rgba`` (straight alpha) at ``scale`` into ``out``, ``uint8 [height, width, 4]``, every byte of it.

    ``offset`` is where the source's left top corner lies on ``out``, (x, y) in px of ``out``, anywhere. Outside of the
    source, and wherever alpha rounds to zero, ``out`` is zero; at scale 1 on whole pixels it is a copy.
    """
    height, width = rgba.shape[:2]
    x = _Side(width, scale, offset[0], out.shape[1])
    y = _Side(height, scale, offset[1], out.shape[0])
    out[: y.start] = out[y.stop :] = 0
    out[:, : x.start] = out[:, x.stop :] = 0
    if x.start == x.stop or y.start == y.stop:
        return
    target = out[y.start : y.stop, x.start : x.stop]
    if not (x.factor and y.factor):
        _by_products(rgba, opaque, x, y, target)
    elif x.factor == 1:
        target[...] = rgba[y.reach(0, len(target))[0], x.reach(0, target.shape[1])[0]]
    else:
        _by_boxes(rgba, opaque, x, y, target)


class _Side:
    """One axis: which pixels ``start`` to ``stop`` of the output the source reaches, and from where in the source.

    ``factor`` is the whole number of source px to an output px where the grids coincide, else 0.
    """

    def __init__(self, length: int, scale: float, offset: float, size: int) -> None:
        self.length, self.scale, self.offset = length, scale, offset
        self.start = min(max(0, int(np.floor(offset + _NEAR))), size)
        self.stop = max(self.start, min(size, int(np.ceil(offset + length * scale - _NEAR))))
        factor = round(1 / scale)
        shift = -offset * factor
        near = 1 <= factor <= _MAX_FACTOR and abs(factor * scale - 1) * (self.stop + abs(offset)) < _NEAR
        self.factor = factor if near and abs(shift - round(shift)) < _NEAR * factor else 0
        self._first = self.start * factor + round(shift)

    def reach(self, start: int, stop: int) -> tuple[slice, int, int]:
        """Which source px lie under the output px (``start`` to ``stop``, of those reached) of a whole ``factor``.

        Also how many of the px under them lack in the source, before and after.
        """
        first, last = self._first + start * self.factor, self._first + stop * self.factor
        low, high = max(0, first), min(self.length, last)
        return slice(low, high), low - first, last - high

    def weights(self) -> csr_array:
        """The means as a sparse matrix ``float32 [stop - start, length]``; a row adds to its pixel's coverage."""
        edges = ((np.arange(self.start, self.stop + 1) - self.offset) / self.scale).clip(0, self.length)
        low, high = edges[:-1], edges[1:]
        if self.scale > 1:
            return self._interpolation((high - low) * self.scale)
        first = np.minimum(low.astype(np.int64), self.length - 1)
        taps = first[:, None] + np.arange(int((np.ceil(high) - first).max()))
        weights = np.minimum(taps + 1, high[:, None]) - np.maximum(taps, low[:, None])
        return _matrix(weights * self.scale, taps, self.length)

    def _interpolation(self, coverage: npt.NDArray[np.float64]) -> csr_array:
        centres = (np.arange(self.start, self.stop) + 0.5 - self.offset) / self.scale - 0.5
        centres = centres.clip(0, self.length - 1)
        first = np.minimum(centres.astype(np.int64), max(0, self.length - 2))
        share = centres - first
        weights = np.stack([1 - share, share], axis=1) * coverage[:, None]
        return _matrix(weights, first[:, None] + np.arange(2), self.length)


def _matrix(weights: npt.NDArray[np.float64], columns: npt.NDArray[np.int64], length: int) -> csr_array:
    kept = weights > 0
    rows = np.concatenate([[0], np.cumsum(kept.sum(axis=1))]).astype(np.int32)
    entries = weights[kept].astype(np.float32), columns[kept].astype(np.int32), rows
    return csr_array(entries, shape=(len(weights), length))


def _by_boxes(rgba: Rgba, opaque: bool, x: _Side, y: _Side, out: Rgba) -> None:
    """Means over whole boxes of source pixels; what lacks at the sides is transparent."""
    height, width = out.shape[:2]
    columns, left, right = x.reach(0, width)
    step = max(1, STRIP_PIXELS // (x.factor * y.factor * width))
    for start in range(0, height, step):
        stop = min(start + step, height)
        rows, above, below = y.reach(start, stop)
        part, lacks = rgba[rows, columns], (above, below, left, right)
        if opaque and not any(lacks):
            out[start:stop] = cv2.resize(part, (width, stop - start), interpolation=cv2.INTER_AREA)
            continue
        plane: npt.NDArray[Any] = part if opaque else _premultiplied(part)
        if any(lacks):
            plane = cv2.copyMakeBorder(plane, *lacks, cv2.BORDER_CONSTANT)
        means = cv2.resize(plane, (width, stop - start), interpolation=cv2.INTER_AREA)
        out[start:stop] = _straight(means.astype(np.float32), 255 if opaque else 255 * 255)


def _by_products(rgba: Rgba, opaque: bool, x: _Side, y: _Side, out: Rgba) -> None:
    across, down = x.weights(), y.weights()
    for strip in _strips(down, rgba.shape[1]):
        part = rgba[strip.source]
        plane = (part if opaque else _premultiplied(part)).astype(np.float32)
        columns = (strip.weights @ plane.reshape(len(plane), -1)).reshape(-1, rgba.shape[1], 4)
        # The second product runs over columns, so the strip is turned, and turned back when it is 8 bit.
        turned = np.ascontiguousarray(cv2.transpose(columns)).reshape(rgba.shape[1], -1)
        means = (across @ turned).reshape(out.shape[1], -1, 4)
        out[strip.rows] = cv2.transpose(_straight(means, 255 if opaque else 255 * 255))


@dataclass(frozen=True)
class _Strip:
    """Rows of the output, the rows of the source that they need, and the weights between the two."""

    rows: slice
    source: slice
    weights: csr_array


def _strips(down: csr_array, width: int) -> list[_Strip]:
    reach = max(1.0, down.nnz / down.shape[0])
    step = max(1, int(STRIP_PIXELS / (reach * width)))
    strips = []
    for top in range(0, down.shape[0], step):
        rows = slice(top, min(top + step, down.shape[0]))
        start, stop = down.indptr[rows.start], down.indptr[rows.stop]
        taps = down.indices[start:stop]
        source = slice(int(taps.min()), int(taps.max()) + 1) if len(taps) else slice(0, 1)
        pointers = down.indptr[rows.start : rows.stop + 1] - start
        shape = (rows.stop - rows.start, source.stop - source.start)
        weights = csr_array((down.data[start:stop], taps - source.start, pointers), shape=shape)
        strips.append(_Strip(rows, source, weights))
    return strips


def _premultiplied(rgba: Rgba) -> npt.NDArray[np.uint16]:
    """Colour times alpha and alpha times 255, exactly, ``uint16``."""
    alpha = cv2.extractChannel(rgba, 3)
    factors = cv2.merge([alpha, alpha, alpha, np.full_like(alpha, 255)])
    return np.multiply(rgba, factors, dtype=np.uint16)


def _straight(plane: Floats, full: int) -> Rgba:
    """Straight 8-bit colour of premultiplied means, whose alpha reaches ``full``."""
    alpha = cv2.extractChannel(plane, 3)
    seen = alpha > 0.5 * full / 255
    colour = np.divide(np.float32(255), alpha, out=np.zeros_like(alpha), where=seen)
    shade = np.where(seen, np.float32(255 / full), np.float32(0))
    factors = cv2.merge([colour, colour, colour, shade])
    return cast(Rgba, cv2.multiply(plane, factors, dtype=cv2.CV_8U))
