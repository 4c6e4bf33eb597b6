"""The canvas: the union of the visible box and the layers' complete boxes, capped; and what of a layer overflows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pipelines.flatten.planes import alpha_bounds, cropped
from pipelines.flatten.stack import StackLayer
from schemas.compositing import Rgba
from schemas.design import Overflow
from schemas.geometry import Box, union


def reach(visible: Box, ratio: float) -> Box:
    """The box that no canvas of this visible box can leave."""
    dx, dy = int(visible.width * ratio) - visible.width, int(visible.height * ratio) - visible.height
    return Box(visible.x0 - dx, visible.y0 - dy, visible.x1 + dx, visible.y1 + dy)


def capped(visible: Box, content: Box, ratio: float) -> Box:
    """The union of both with each side at most ``ratio`` times the visible one; too much overflow is cut evenly."""
    x0, x1 = _cap(visible.x0, visible.x1, content.x0, content.x1, ratio)
    y0, y1 = _cap(visible.y0, visible.y1, content.y0, content.y1, ratio)
    return Box(x0, y0, x1, y1)


def _cap(start: int, end: int, low: int, high: int, ratio: float) -> tuple[int, int]:
    before, after = max(0, start - low), max(0, high - end)
    room = int((end - start) * ratio) - (end - start)
    if before + after > room:
        half = room // 2
        before = min(before, max(half, room - after))
        after = min(after, room - before)
    return start - before, end + after


def on_canvas(layers: Sequence[StackLayer], visible: Box, ratio: float) -> tuple[Box, Box, list[StackLayer]]:
    """(canvas, visible, layers), moved so that the canvas starts at 0, 0; what lies beyond the cap is cropped."""
    limit = capped(visible, union(layer.box for layer in layers), ratio)
    kept = [layer for layer in (cropped(layer, limit) for layer in layers) if layer is not None]
    whole = union([visible, *(layer.box for layer in kept)])
    dx, dy = -whole.x0, -whole.y0
    return whole.shift(dx, dy), visible.shift(dx, dy), [replace(layer, box=layer.box.shift(dx, dy)) for layer in kept]


def overflow(pixels: Rgba, box: Box, visible: Box) -> Overflow:
    """How far alpha > 0 reaches out of ``visible``, in px a side, and the share of all alpha that lies outside."""
    alpha = pixels[..., 3]
    drawn = alpha_bounds(alpha).shift(box.x0, box.y0)
    total = int(alpha.sum(dtype=np.int64))
    if total == 0 or visible.contains(drawn):
        return Overflow()
    inside = int(alpha[box.intersect(visible).within(box).slices].sum(dtype=np.int64))
    return Overflow(
        left=max(0, visible.x0 - drawn.x0),
        top=max(0, visible.y0 - drawn.y0),
        right=max(0, drawn.x1 - visible.x1),
        bottom=max(0, drawn.y1 - visible.y1),
        share=(total - inside) / total,
    )


def coverage(pixels: Rgba) -> float:
    """The mean alpha of a layer in its box, 0..1."""
    return float(pixels[..., 3].mean(dtype=np.float64)) / 255 if pixels.size else 0.0
