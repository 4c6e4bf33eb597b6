"""The paints of fill layers, shapes, their strokes, and of effects."""

from __future__ import annotations

from typing import Any

from psd_tools.constants import Tag
from psd_tools.psd.descriptor import Descriptor

from pipelines.formats.psd_colours import Colours
from pipelines.formats.psd_descriptors import child
from pipelines.formats.psd_gradients import gradient
from pipelines.formats.psd_patterns import pattern
from pipelines.formats.psd_swatches import colour_of
from pipelines.formats.style import Paint, Solid

_FILLS = (
    Tag.SOLID_COLOR_SHEET_SETTING,
    Tag.PATTERN_FILL_SETTING,
    Tag.GRADIENT_FILL_SETTING,
    Tag.VECTOR_STROKE_CONTENT_DATA,
)


def paint_of_fill(layer: Any, colours: Colours) -> tuple[Paint | None, list[str]]:
    """The paint of a fill layer or a filled shape, and what of it cannot be drawn; None without one."""
    found = (layer.tagged_blocks.get_data(tag) for tag in _FILLS)
    data = next((item for item in found if isinstance(item, Descriptor)), None)
    return (None, []) if data is None else paint_of_descriptor(data, layer, colours)


def paint_of_descriptor(data: Any, layer: Any, colours: Colours) -> tuple[Paint | None, list[str]]:
    """The paint of a fill's or a stroke's content, told by what it holds: a gradient, a pattern or a colour."""
    problems: list[str] = []
    if not isinstance(data, Descriptor):
        return None, ["fill without paint"]
    if child(data, b"Grad") is not None:
        return gradient(data, colours, problems), problems
    if child(data, b"Ptrn") is not None:
        return pattern(data, layer, colours, problems), problems
    colour = colour_of(data.get(b"Clr "), colours)
    if colour is None:
        return None, ["fill without paint"]
    return Solid(colour), problems
