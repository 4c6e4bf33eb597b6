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

from pipelines.formats.limits import unreadable
from pipelines.formats.psd_pixels import Colours
from schemas.compositing import Rgba
from schemas.geometry import Box

Plane = npt.NDArray[np.float32]
MITRE = 1.5


def drawn_box(layer: Any) -> Box:
    """The box of a fill or shape without pixels: its path grown by its stroke; the whole document without a path."""
    visible = Box(0, 0, layer._psd.width, layer._psd.height)
    if not layer.has_vector_mask() or layer.vector_mask is None or layer.vector_mask.disabled:
        return visible
    if layer.vector_mask.initial_fill_rule:
        return visible
    left, top, right, bottom = layer.vector_mask.bbox
    if not all(math.isfinite(side) for side in (left, top, right, bottom)):
        return visible
    width, height = visible.width, visible.height
    reach = math.ceil(_stroke_width(layer) * MITRE) + 1
    return Box(
        math.floor(left * width) - reach,
        math.floor(top * height) - reach,
        math.ceil(right * width) + reach,
        math.ceil(bottom * height) + reach,
    )


def draw(layer: Any, box: Box, colours: Colours) -> Rgba:
    """The layer's own paint on ``box``, uint8 ``[height, width, 4]``."""
    with unreadable(f"fill of layer {layer.name[:80]!r}"):
        viewport = (box.x0, box.y0, box.x1, box.y1)
        color, shape = create_fill(layer, viewport)
        path = None
        if layer.has_vector_mask() and layer.vector_mask is not None and not layer.vector_mask.disabled:
            path = draw_vector_mask(layer, viewport)[..., 0].astype(np.float32)
        alpha = np.zeros((box.height, box.width), np.float32)
        rgb = np.zeros((box.height, box.width, 3), np.float32)
        if color is not None:
            alpha = np.ones_like(alpha) if shape is None else shape[..., 0].astype(np.float32)
            alpha = alpha if path is None else alpha * path
            rgb = _rgb(color, colours)
        if path is not None and _stroke_width(layer) > 0:
            rgb, alpha = _stroked(layer, box, colours, rgb, alpha)
        pixels = np.concatenate([rgb, alpha[..., None] * 255], axis=2)
        out: Rgba = np.rint(pixels).clip(0, 255).astype(np.uint8)
        out[out[..., 3] == 0] = 0
        return out


def _stroked(layer: Any, box: Box, colours: Colours, rgb: Plane, alpha: Plane) -> tuple[Plane, Plane]:
    """The vector stroke over what is there: Photoshop paints it in normal mode whatever its own mode says."""
    descriptor = layer.stroke._data
    viewport = (box.x0, box.y0, box.x1, box.y1)
    color, _ = create_fill_desc(layer, descriptor.get("strokeStyleContent"), viewport, viewport)
    if color is None:
        return rgb, alpha
    coverage = draw_stroke(layer, viewport)[..., 0].astype(np.float32)
    over = (coverage * float(descriptor.get("strokeStyleOpacity", 100.0)) / 100)[..., None]
    under = alpha[..., None] * (1 - over)
    total = over + under
    mixed = np.divide(_rgb(color, colours) * over + rgb * under, total, out=np.zeros_like(rgb), where=total > 0)
    return mixed.astype(np.float32), total[..., 0].astype(np.float32)


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
