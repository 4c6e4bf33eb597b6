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
"""Whole factors up to here: means by float32 sums are off by less than one of the 65,025 levels of the plane."""
_NEAR = 1e-6
"""Of an output pixel: nearer positions are the same, so that float noise costs neither speed nor exactness."""


def resample(rgba: Rgba, opaque: bool, scale: float, offset: tuple[float, float], out: Rgba) -> None:
    """Write ``rgba`` (straight alpha) at ``scale`` into ``out``, ``uint8 [height, width, 4]``, every byte of it.

    ``offset`` is where the source's left top corner lies on ``out``, (x, y) in px of ``out``, anywhere. Outside of the
    source ``out`` is zero. At scale 1 on whole pixels it is a copy, with the colour that is hidden under an alpha of
    zero; else it is zero wherever alpha rounds to zero.
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

    def means(self) -> _Means:
        """The means over the output px that are reached; the weights of one add to its coverage."""
        edges = ((np.arange(self.start, self.stop + 1) - self.offset) / self.scale).clip(0, self.length)
        low, high = edges[:-1], edges[1:]
        if self.scale > 1:
            return self._interpolation((high - low) * self.scale)
        first = np.minimum(low.astype(np.int32), self.length - 1)[:, None]
        taps = first + np.arange(max(1, int((np.ceil(high) - first[:, 0]).max())), dtype=np.int32)
        weights = np.minimum(taps + 1, high[:, None]) - np.maximum(taps, low[:, None])
        return _Means(np.minimum(taps, self.length - 1), (weights * self.scale).clip(0).astype(np.float32))

    def _interpolation(self, coverage: npt.NDArray[np.float64]) -> _Means:
        centres = (np.arange(self.start, self.stop) + 0.5 - self.offset) / self.scale - 0.5
        centres = centres.clip(0, self.length - 1)
        first = np.minimum(centres.astype(np.int32), max(0, self.length - 2))
        share = centres - first
        weights = np.stack([1 - share, share], axis=1) * coverage[:, None]
        taps = first[:, None] + np.arange(2, dtype=np.int32)
        return _Means(np.minimum(taps, self.length - 1), weights.astype(np.float32))


@dataclass(frozen=True)
class _Means:
    """Which px of the source each px of the output adds, [outputs, k] and rising, and with which weights.

    k is that of the output px that needs most; what another does not need weighs nothing.
    """

    taps: npt.NDArray[np.int32]
    weights: Floats

    def matrix(self, start: int, stop: int) -> tuple[slice, csr_array]:
        """The source px that the output px ``start`` to ``stop`` need, and the sparse matrix between the two."""
        taps, weights = self.taps[start:stop], self.weights[start:stop]
        source = slice(int(taps[0, 0]), int(taps[-1, -1]) + 1)
        rows = np.arange(0, taps.size + 1, taps.shape[1], dtype=np.int32)
        # A copy of the weights: zeros are eliminated in place.
        entries = weights.flatten(), (taps - np.int32(source.start)).ravel(), rows
        matrix = csr_array(entries, shape=(len(taps), source.stop - source.start))
        matrix.eliminate_zeros()
        return source, matrix


def _by_boxes(rgba: Rgba, opaque: bool, x: _Side, y: _Side, out: Rgba) -> None:
    """Means over whole boxes of source pixels; what lacks at the sides is transparent."""
    height, width = out.shape[:2]
    columns, left, right = x.reach(0, width)
    step = max(1, STRIP_PIXELS // (x.factor * y.factor * width))
    for start in range(0, height, step):
        stop = min(start + step, height)
        rows, above, below = y.reach(start, stop)
        part: npt.NDArray[Any] = rgba[rows, columns]
        if any(lacks := (above, below, left, right)):
            part = cv2.copyMakeBorder(part, *lacks, cv2.BORDER_CONSTANT)
        elif opaque:  # in 8 bit: alpha divides nothing. At a rim that lacks pixels, 8 bit has too few levels of colour.
            out[start:stop] = cv2.resize(part, (width, stop - start), interpolation=cv2.INTER_AREA)
            continue
        means = cv2.resize(_premultiplied(part), (width, stop - start), interpolation=cv2.INTER_AREA)
        out[start:stop] = _straight(means.astype(np.float32), 255 * 255)


def _by_products(rgba: Rgba, opaque: bool, x: _Side, y: _Side, out: Rgba) -> None:
    height, width = out.shape[:2]
    columns, across = x.means().matrix(0, width)
    down = y.means()
    step = max(1, STRIP_PIXELS // (down.taps.shape[1] * across.shape[1]))
    for start in range(0, height, step):
        rows, weights = down.matrix(start, start + step)
        part = rgba[rows, columns]
        plane = (part if opaque else _premultiplied(part)).astype(np.float32)
        lines = (weights @ plane.reshape(len(plane), -1)).reshape(-1, across.shape[1], 4)
        # The second product runs over columns, so the strip is turned, and turned back when it is 8 bit.
        turned = np.ascontiguousarray(cv2.transpose(lines)).reshape(across.shape[1], -1)
        means = (across @ turned).reshape(width, -1, 4)
        out[start : start + step] = cv2.transpose(_straight(means, 255 if opaque else 255 * 255))


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
