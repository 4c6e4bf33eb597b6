"""Fills and shapes that a PSD stores without pixels, drawn through psd-tools: the fill inside the path, the stroke on
it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from psd_tools.composite.paint import create_fill, create_fill_desc
from psd_tools.composite.vector import draw_stroke, draw_vector_mask
from psd_tools.constants import StrokeAlignment

from pipelines.formats.limits import unreadable
from pipelines.formats.psd_pixels import Colours
from schemas.compositing import Rgba
from schemas.geometry import Box

Plane = npt.NDArray[np.float32]
MITRE = 1.5


def drawn_box(layer: Any) -> Box:
    """The box of a fill or shape without pixels: its path grown by its stroke; the whole document without a path."""
    box = _path_box(layer)
    if box is None:
        return Box(0, 0, layer._psd.width, layer._psd.height)
    reach = math.ceil(_stroke_width(layer) * MITRE)
    return Box(box.x0 - reach, box.y0 - reach, box.x1 + reach, box.y1 + reach)


def _path_box(layer: Any) -> Box | None:
    """The whole pixels that a layer's path touches: what a gradient is laid out on; None without a bounded path."""
    mask = layer.vector_mask if layer.has_vector_mask() else None
    if mask is None or mask.disabled or mask.initial_fill_rule:
        return None
    left, top, right, bottom = mask.bbox
    if not all(math.isfinite(side) for side in (left, top, right, bottom)):
        return None
    width, height = layer._psd.width, layer._psd.height
    box = Box(math.floor(left * width), math.floor(top * height), math.ceil(right * width), math.ceil(bottom * height))
    return None if box.empty else box


def draw(layer: Any, box: Box, colours: Colours) -> Rgba:
    """The layer's own paint on ``box``, uint8 ``[height, width, 4]``."""
    with unreadable(f"fill of layer {layer.name[:80]!r}"):
        viewport = (box.x0, box.y0, box.x1, box.y1)
        path = None
        if layer.has_vector_mask() and layer.vector_mask is not None and not layer.vector_mask.disabled:
            path = draw_vector_mask(layer, viewport)[..., 0].astype(np.float32)
        alpha = np.zeros((box.height, box.width), np.float32)
        rgb = np.zeros((box.height, box.width, 3), np.float32)
        laid = _path_box(layer) or box
        color, shape = create_fill(layer, (laid.x0, laid.y0, laid.x1, laid.y1))
        if color is not None:
            inside = laid.intersect(box)
            part, of_fill = inside.within(box).slices, inside.within(laid).slices
            alpha[part] = 1.0 if shape is None else shape[(*of_fill, 0)]
            rgb[part] = _rgb(color, colours)[of_fill]
            alpha = alpha if path is None else alpha * path
        if path is not None and _stroke_width(layer) > 0:
            rgb, alpha = _stroked(layer, box, colours, rgb, alpha, path)
        pixels = np.concatenate([rgb, alpha[..., None] * 255], axis=2)
        out: Rgba = np.rint(pixels).clip(0, 255).astype(np.uint8)
        out[out[..., 3] == 0] = 0
        return out


def _stroked(layer: Any, box: Box, colours: Colours, rgb: Plane, alpha: Plane, path: Plane) -> tuple[Plane, Plane]:
    """The vector stroke over the fill: Photoshop paints it in normal mode whatever its own mode says."""
    descriptor = layer.stroke._data
    viewport = (box.x0, box.y0, box.x1, box.y1)
    laid = _path_box(layer) or box
    anchor = (laid.x0, laid.y0, laid.x1, laid.y1)
    color, _ = create_fill_desc(layer, descriptor.get("strokeStyleContent"), viewport, anchor)
    if color is None:
        return rgb, alpha
    pen = draw_stroke(layer, viewport, path[..., None])[..., 0].astype(np.float32)
    over = pen * np.float32(float(descriptor.get("strokeStyleOpacity", 100.0)) / 100)
    if layer.stroke.line_alignment is StrokeAlignment.INNER and alpha.any():
        total = alpha  # an inner stroke lies on the fill and keeps its edge
        mixed = _rgb(color, colours) * over[..., None] + rgb * (1 - over[..., None])
        return mixed.astype(np.float32), total
    if layer.stroke.line_alignment is StrokeAlignment.INNER:
        over = np.minimum(over, path)
    under = alpha * (1 - over)
    total = over + under
    paint = _rgb(color, colours) * over[..., None] + rgb * under[..., None]
    mixed = np.divide(paint, total[..., None], out=np.zeros_like(rgb), where=total[..., None] > 0)
    return mixed.astype(np.float32), total.astype(np.float32)


def _stroke_width(layer: Any) -> float:
    """Width of the vector stroke in px; 0 where it has none."""
    if layer.stroke is None or not layer.stroke.enabled:
        return 0.0
    width = float(layer.stroke._data.get("strokeStyleLineWidth", 1.0))
    return width if math.isfinite(width) and width > 0 else 0.0


def _rgb(color: npt.NDArray[Any], colours: Colours) -> Plane:
    """psd-tools' float colours 0..1 in the document's mode as sRGB 0..255, float32 ``[height, width, 3]``."""
    levels = np.rint(np.asarray(color, np.float32) * 255).clip(0, 255).astype(np.uint8)
    planes = [np.ascontiguousarray(levels[..., i % levels.shape[2]]) for i in range(colours.count)]
    if colours.palette is not None:
        return levels[..., :3].astype(np.float32)
    return colours.rgb(planes).astype(np.float32)
