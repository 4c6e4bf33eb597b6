"""The shape of a layer as its effects see it: alpha on a crop of any place, and pieces cut to what can be seen."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.flatten.blur import blurred, kernel_width, rounded
from pipelines.flatten.distance import dilated, eroded
from pipelines.flatten.drawn import Piece
from pipelines.flatten.levels import to_bytes
from pipelines.flatten.paint import code_of, paint_pixels
from pipelines.formats.style import Colour, Paint, Solid
from schemas.geometry import Box

Plane = npt.NDArray[np.float32]
Alpha = npt.NDArray[np.uint8]


def grown(box: Box, by: float) -> Box:
    """``box`` with a border of ``by`` px, rounded up; an empty box stays."""
    n = math.ceil(by)
    return box if box.empty else Box(box.x0 - n, box.y0 - n, box.x1 + n, box.y1 + n)


def reach_of(size: float) -> int:
    """How many px beyond the shape a soft effect of ``size`` px may reach."""
    return max(2, rounded(size)) + 1


@dataclass(frozen=True, eq=False)
class Shape:
    """``alpha`` uint8 ``[h, w]`` at ``box``; nothing beyond ``reach`` can be seen."""

    alpha: Alpha
    box: Box
    document: Box
    reach: Box
    channels: int

    def seen(self, by: float = 0, dx: int = 0, dy: int = 0) -> Box:
        """What can be seen of the box grown by ``by`` and moved."""
        return grown(self.box, by).shift(dx, dy).intersect(self.reach)

    def over(self, region: Box) -> Alpha:
        """The alpha in ``region``, which may lie anywhere."""
        if self.box.contains(region):
            return self.alpha[region.within(self.box).slices]
        out = np.zeros((region.height, region.width), np.uint8)
        part = self.box.intersect(region)
        if not part.empty:
            out[part.within(region).slices] = self.alpha[part.within(self.box).slices]
        return out

    def soft(self, out: Box, size: float, spread: float = 0.0, *, inner: bool = False) -> Plane:
        """The shape grown by the share ``spread`` of ``size`` in whole px and blurred by the rest, in ``out``: 0..1.

        ``inner``: what is outside the shape is grown and blurred instead.
        """
        radius = rounded(size * spread)
        region = grown(out, reach_of(size))
        alpha = self.over(region)
        solid = eroded(alpha, radius) if inner else dilated(alpha, radius)
        level = blurred(solid, kernel_width(size) - radius)[out.within(region).slices]
        return 1 - level if inner else level

    def painted(
        self, name: str, paint: Paint, levels: Plane, opacity: float, out: Box, blend_mode: str, laid: Box
    ) -> Piece:
        """A piece of ``paint``, laid out on ``laid``, in ``out`` with ``levels`` as alpha."""
        if isinstance(paint, Solid):
            return self.coloured(name, paint.colour, levels, opacity, out, blend_mode)
        pixels = paint_pixels(paint, out, laid, self.document, self.channels)
        pixels[..., -1] = to_bytes(levels * (pixels[..., -1] * np.float32(1 / 255)), opacity)
        return Piece(name, pixels, out, blend_mode)

    def coloured(self, name: str, colour: Colour, levels: Plane, opacity: float, out: Box, blend_mode: str) -> Piece:
        """A piece of one colour in ``out`` with ``levels`` as alpha."""
        pixels = np.empty((out.height, out.width, self.channels + 1), np.uint8)
        pixels[..., :-1] = code_of(colour, self.channels)
        pixels[..., -1] = to_bytes(levels, opacity)
        return Piece(name, pixels, out, blend_mode)
