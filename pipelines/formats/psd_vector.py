"""Fills and shapes that a PSD stores without pixels: the box, the shape's coverage, and the line of its pen."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from psd_tools.api.layers import FillLayer, ShapeLayer
from psd_tools.composite.utils import has_fill
from psd_tools.constants import StrokeAlignment

from pipelines.formats.limits import unreadable
from pipelines.formats.psd_colours import Colours
from pipelines.formats.psd_paints import paint_of_descriptor, paint_of_fill
from pipelines.formats.psd_path import beyond, components, has_path, path_box, path_coverage
from pipelines.formats.psd_pen import MAX_MITRE, Pen, line_coverage, reach_of
from pipelines.formats.style import Paint, PathStroke, Solid
from pipelines.formats.tree import Pixels
from schemas.geometry import Box

MAX_PEN = 2_000.0
_MAX_DASHES = 16
_TRACE = 1 / 512


def is_drawn(layer: Any) -> bool:
    """Whether a layer is a fill or a shape."""
    return isinstance(layer, FillLayer | ShapeLayer) or has_fill(layer)


def fill_of(layer: Any, colours: Colours) -> tuple[Paint | None, list[str]]:
    """The paint of a fill or shape, and what of it cannot be drawn; None where it is switched off."""
    if layer.stroke is not None and b"fillEnabled" in layer.stroke._data and not layer.stroke.fill_enabled:
        return None, []
    return paint_of_fill(layer, colours)


def drawn_box(layer: Any) -> Box:
    """The box of a fill or shape without pixels: its path grown by its pen; the whole document without a path or where
    it shows what lies beyond the path.
    """
    box = path_box(layer)
    if box is None or beyond(layer):
        return Box(0, 0, layer._psd.width, layer._psd.height)
    reach = 0
    if pen_width(layer) and layer.stroke.line_alignment is not StrokeAlignment.INNER:
        reach = math.ceil(reach_of(components(layer), _pen_style(layer))) + 1
    return Box(box.x0 - reach, box.y0 - reach, box.x1 + reach, box.y1 + reach)


def is_cut(layer: Any, stored: Box) -> bool:
    """Whether the stored pixels of a shape end at the document's edge although its path goes on: Photoshop stores all
    of it, other programs need not.
    """
    path = path_box(layer) if is_drawn(layer) else None
    if path is None or beyond(layer):
        return False
    width, height = layer._psd.width, layer._psd.height
    return (
        (stored.x0 == 0 and path.x0 < -1)
        or (stored.y0 == 0 and path.y0 < -1)
        or (stored.x1 == width and path.x1 > width + 1)
        or (stored.y1 == height and path.y1 > height + 1)
    )


def shape_pixels(layer: Any, box: Box, fill: Paint | None, colours: Colours) -> Pixels:
    """The shape that a paint fills as the alpha of ``[height, width, channels + 1]``, in its colour where it is one."""
    out = np.zeros((box.height, box.width, colours.channels + 1), np.uint8)
    if fill is None:
        return out
    if isinstance(fill, Solid):
        out[..., :-1] = np.rint(np.array(fill.colour) * 255).clip(0, 255)
    out[..., -1] = path_coverage(layer, box) if has_path(layer) else 255
    return out


def pen_of(
    layer: Any, box: Box, colours: Colours, *, filled: bool, laid: Box | None = None
) -> tuple[Callable[[], PathStroke | None] | None, list[str]]:
    """The pen line of a shape on ``box``, drawn when asked for, and what of it cannot be; None without one. ``laid``:
    the box of the whole line where ``box`` is a part of it.
    """
    if pen_width(layer) <= 0 or not has_path(layer) or box.empty:
        return None, []
    if beyond(layer) and layer.stroke.line_alignment is StrokeAlignment.INNER:
        return None, []  # Photoshop draws no line inside a shape without bounds
    paint, problems = paint_of_descriptor(layer.stroke._data.get(b"strokeStyleContent"), layer, colours)
    return (None if paint is None else partial(_pen, layer, box, paint, filled, laid)), problems


def _pen(layer: Any, box: Box, paint: Paint, filled: bool, laid: Box | None) -> PathStroke:
    """Photoshop paints it in normal mode whatever its own mode says. On one side of the path only, it is a pen twice as
    wide, of which that side shows.
    """
    pen, side = _pen_style(layer), layer.stroke.line_alignment
    with unreadable(f"stroke of layer {layer.name[:80]!r}"):
        shape = path_coverage(layer, box).astype(np.float32) / np.float32(255)
        covered = line_coverage(components(layer), pen, box, shape)
        if side is StrokeAlignment.OUTER:
            covered = covered * (shape < 1 - _TRACE)
        if side is StrokeAlignment.INNER:
            covered = covered * (shape > _TRACE) if filled else np.minimum(covered, shape)
    percent = layer.stroke.opacity
    opacity = min(1.0, max(0.0, percent / 100)) if percent is not None and math.isfinite(percent) else 1.0
    coverage = np.rint(covered * 255).clip(0, 255).astype(np.uint8)
    inner = filled and side is StrokeAlignment.INNER
    return PathStroke(coverage=coverage, paint=paint, inner=inner, opacity=opacity, laid=laid)


def _pen_style(layer: Any) -> Pen:
    stroke, width = layer.stroke, pen_width(layer)
    sided = stroke.line_alignment in (StrokeAlignment.INNER, StrokeAlignment.OUTER)
    dashes = [_number(item) * width for item in list(stroke.line_dash_set or ())[:_MAX_DASHES]]
    usable = all(math.isfinite(dash) and dash >= 0 for dash in dashes)
    limit = stroke.miter_limit
    return Pen(
        width=2 * width if sided else width,
        join=stroke.line_join_type,
        cap=stroke.line_cap_type,
        mitre=min(limit, MAX_MITRE) if limit is not None and math.isfinite(limit) and limit >= 1 else MAX_MITRE,
        dashes=tuple(dashes) if usable else (),
        dash_offset=stroke.line_dash_offset * width if math.isfinite(stroke.line_dash_offset) else 0.0,
    )


def _number(item: Any) -> float:
    value = getattr(item, "value", item)
    return float(value) if isinstance(value, int | float) else math.nan


def pen_width(layer: Any) -> float:
    """Width of the pen in px; 0 where it has none."""
    if layer.stroke is None or not layer.stroke.enabled:
        return 0.0
    width = layer.stroke.line_width
    return min(width, MAX_PEN) if math.isfinite(width) and width > 0 else 0.0
