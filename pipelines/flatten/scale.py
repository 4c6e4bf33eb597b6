"""Scaling a whole document down before anything is drawn, so that work and memory follow the wanted size.

Pixels are resampled premultiplied, on the grid of the scaled visible box: a layer's new box is the smallest whole-
pixel box around the scaled one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipelines.flatten.scale_style import scaled_paint, scaled_style
from pipelines.flatten.stack import StackLayer
from pipelines.formats.style import PathStroke
from pipelines.formats.tree import Document, Group, Leaf, Mask, Node, Pixels
from schemas.compositing import Rgba
from schemas.design import Text
from schemas.geometry import Box

_FILTER = Image.Resampling.HAMMING  # no ringing: a scaled alpha never leaves 0..255
_Region = tuple[float, float, float, float]


def resized(pixels: Pixels, width: int, height: int) -> Pixels:
    """``uint8 [h, w, channels + 1]`` at another size, resampled premultiplied."""
    if pixels.shape[:2] == (height, width):
        return pixels
    return _resampled(pixels, width, height, None)


def fitted(pixels: Pixels, long_side: int) -> Pixels:
    """``pixels`` scaled down to at most ``long_side`` px on the long side."""
    height, width = pixels.shape[:2]
    factor = long_side / max(width, height, 1)
    if factor >= 1:
        return pixels
    return resized(pixels, max(1, round(width * factor)), max(1, round(height * factor)))


def scaled_size(width: int, height: int, max_side: int) -> tuple[int, int]:
    """A visible size (width, height) as ``at_most`` scales it."""
    factor = max_side / max(width, height, 1)
    return (width, height) if factor >= 1 else (max(1, round(width * factor)), max(1, round(height * factor)))


def at_most(document: Document, max_side: int) -> tuple[Document, float]:
    """The document with a visible long side of at most ``max_side`` px, and the factor (1.0: as it is)."""
    factor = max_side / max(document.width, document.height)
    if factor >= 1:
        return document, 1.0
    width, height = scaled_size(document.width, document.height, max_side)
    grid = _Grid(width / document.width, height / document.height)
    source = document.render

    def render() -> Rgba | None:
        drawn = source() if source is not None else None
        return None if drawn is None else resized(drawn, width, height)

    scaled = replace(
        document,
        width=width,
        height=height,
        nodes=tuple(grid.node(node) for node in document.nodes),
        preview=None if document.preview is None else resized(document.preview, width, height),
        render=None if source is None else render,
    )
    return scaled, factor


def shrunk(layers: Sequence[StackLayer], document: Document, scaled: Document) -> list[StackLayer]:
    """The layers of a document, uint8 ``[h, w, 4]``, as those of its scaled copy."""
    grid = _Grid(scaled.width / document.width, scaled.height / document.height)
    return [
        replace(
            layer,
            pixels=grid.resample(layer.pixels, layer.box, 0),
            box=grid.box(layer.box),
            text=grid.text(layer.text),
        )
        for layer in layers
    ]


def _resampled(pixels: npt.NDArray[np.uint8], width: int, height: int, region: _Region | None) -> Pixels:
    """``pixels [h, w]`` or ``[h, w, channels + 1]``, of ``region``. Pillow weighs by alpha three channels at a time."""
    if pixels.ndim == 2:
        return np.array(Image.fromarray(pixels, "L").resize((width, height), _FILTER, box=region))
    channels = pixels.shape[2] - 1
    if channels == 3:
        return np.array(
            Image.fromarray(np.ascontiguousarray(pixels), "RGBA").resize((width, height), _FILTER, box=region)
        )
    out = np.empty((height, width, channels + 1), np.uint8)
    for first in range(0, channels, 3):
        three = [min(first + i, channels - 1) for i in range(3)]
        image = Image.fromarray(np.ascontiguousarray(pixels[..., [*three, channels]]), "RGBA")
        drawn = np.asarray(image.resize((width, height), _FILTER, box=region))
        out[..., three] = drawn[..., :3]
        out[..., channels] = drawn[..., 3]
    return out


class _Grid:
    """Maps document pixels to scaled ones."""

    def __init__(self, sx: float, sy: float) -> None:
        self.sx, self.sy = sx, sy

    def box(self, box: Box) -> Box:
        if box.empty:
            return Box(0, 0, 0, 0)
        x0, y0 = math.floor(box.x0 * self.sx), math.floor(box.y0 * self.sy)
        return Box(x0, y0, max(x0 + 1, math.ceil(box.x1 * self.sx)), max(y0 + 1, math.ceil(box.y1 * self.sy)))

    def node(self, node: Node) -> Node:
        node = replace(node, mask=self.mask(node.mask), style=scaled_style(node.style, self.sx, self.sy))
        if isinstance(node, Group):
            clip = None if node.clip is None else self.box(node.clip)
            return replace(node, clip=clip, children=tuple(self.node(child) for child in node.children))
        if isinstance(node, Leaf):
            return replace(
                node,
                box=self.box(node.box),
                laid=None if node.laid is None else self.box(node.laid),
                pixels=self._drawn(node.pixels, node.box),
                fill=None if node.fill is None else scaled_paint(node.fill, self.sx, self.sy),
                stroke=None if node.stroke is None else self._stroked(node.stroke, node.box),
                text=self.text(node.text),
            )
        return node

    def mask(self, mask: Mask | None) -> Mask | None:
        if mask is None or mask.box.empty:
            return mask
        return replace(mask, box=self.box(mask.box), pixels=self.resample(mask.pixels, mask.box, mask.outside))

    def text(self, text: Text | None) -> Text | None:
        if text is None:
            return None
        runs = tuple(
            run.model_copy(
                update={
                    "size": None if run.size is None else run.size * self.sy,
                    "leading": None if run.leading is None else run.leading * self.sy,
                    "baseline_shift": None if run.baseline_shift is None else run.baseline_shift * self.sy,
                }
            )
            for run in text.runs
        )
        return text.model_copy(update={"runs": runs})

    def _drawn(self, pixels: Callable[[], Pixels], box: Box) -> Callable[[], Pixels]:
        return lambda: pixels() if box.empty else self.resample(pixels(), box, 0)

    def _stroked(self, stroke: Callable[[], PathStroke | None], box: Box) -> Callable[[], PathStroke | None]:
        def scaled() -> PathStroke | None:
            drawn = stroke()
            if drawn is None or box.empty:
                return drawn
            paint = scaled_paint(drawn.paint, self.sx, self.sy)
            laid = None if drawn.laid is None else self.box(drawn.laid)
            return replace(drawn, coverage=self.resample(drawn.coverage, box, 0), paint=paint, laid=laid)

        return scaled

    def resample(self, pixels: npt.NDArray[np.uint8], box: Box, outside: int) -> npt.NDArray[np.uint8]:
        """``pixels`` of ``box``, padded with ``outside`` to whole target pixels and resampled."""
        target = self.box(box)
        left, top = box.x0 - target.x0 / self.sx, box.y0 - target.y0 / self.sy  # px of padding, fractional
        pad_x, pad_y = math.ceil(left), math.ceil(top)
        span_x, span_y = target.width / self.sx, target.height / self.sy
        more_x = max(0, math.ceil(pad_x - left + span_x) - pad_x - box.width)
        more_y = max(0, math.ceil(pad_y - top + span_y) - pad_y - box.height)
        pads = [(pad_y, more_y), (pad_x, more_x), *[(0, 0)] * (pixels.ndim - 2)]
        padded = np.pad(pixels, pads, constant_values=outside)
        region = (pad_x - left, pad_y - top, pad_x - left + span_x, pad_y - top + span_y)
        limited = (region[0], region[1], min(region[2], padded.shape[1]), min(region[3], padded.shape[0]))
        return _resampled(padded, target.width, target.height, limited)
