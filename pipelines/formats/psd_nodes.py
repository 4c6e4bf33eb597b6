"""The PSD layer tree as Nodes: kinds, boxes, opacity, blend modes, groups, artboards, and what is not drawn."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from psd_tools.api.layers import AdjustmentLayer, Artboard, FillLayer, Group, ShapeLayer, TypeLayer
from psd_tools.composite.utils import has_fill
from psd_tools.constants import BlendMode, ChannelID, Clipping, Tag

from pipelines.formats import tree
from pipelines.formats.blending import FROM_PSD
from pipelines.formats.limits import ReadLimits
from pipelines.formats.psd_effects import effects_of
from pipelines.formats.psd_masks import mask_of
from pipelines.formats.psd_pixels import Colours, layer_pixels
from pipelines.formats.psd_text import text_of
from pipelines.formats.psd_vector import draw, drawn_box
from schemas.compositing import Rgba
from schemas.design import LayerKind
from schemas.geometry import Box

_BURNS = ("color-burn", "linear-burn", "color-dodge", "linear-dodge")
_FILL_IS_NOT_OPACITY = frozenset((*_BURNS, "vivid-light", "linear-light", "hard-mix", "difference"))
_FULL_RANGE = ((0, 65535), (0, 65535))
_LEGACY_ADJUSTMENTS = {Tag.BRIGHTNESS_AND_CONTRAST: "brightness-contrast", Tag.SELECTIVE_COLOR: "selective-color"}
_ARTBOARD_TAGS = (Tag.ARTBOARD_DATA1, Tag.ARTBOARD_DATA2, Tag.ARTBOARD_DATA3)


def nodes_of(parent: Any, colours: Colours, limits: ReadLimits) -> tuple[tree.Node, ...]:
    """The children of a document or group, bottom to top."""
    return tuple(_node(layer, colours, limits) for layer in parent)


def _node(layer: Any, colours: Colours, limits: ReadLimits) -> tree.Node:
    record = layer._record
    limits.check_layer(layer.name, record.left, record.top, *_size(record))
    if isinstance(layer, Group):
        return _group(layer, colours, limits)
    box, pixels, problem = _pixels(layer, colours, limits)
    common = _common(layer, colours, limits, box)
    if problem:
        common["undrawn"] = (*common["undrawn"], problem)
    text = text_of(layer, colours) if isinstance(layer, TypeLayer) else None
    return tree.Leaf(**common, kind=_kind(layer), box=box, pixels=pixels, text=text)


def _size(record: Any) -> tuple[int, int]:
    return max(0, record.right - record.left), max(0, record.bottom - record.top)


def _pixels(layer: Any, colours: Colours, limits: ReadLimits) -> tuple[Box, Callable[[], Rgba], str | None]:
    """A layer's box, its pixels when asked for, and what of it cannot be drawn."""
    empty = Box(0, 0, 0, 0), _nothing
    adjustment = _adjustment(layer)
    if adjustment:
        return *empty, f"adjustment:{adjustment}"
    record = layer._record
    stored = Box(record.left, record.top, record.right, record.bottom)
    if layer.has_pixels() and not stored.empty:
        present = {int(info.id) for info, data in zip(record.channel_info, layer._channels, strict=False) if data.data}
        if not present.issuperset(range(colours.count)):
            return *empty, "missing colour channels"
        return stored, partial(layer_pixels, layer, colours), None
    if isinstance(layer, FillLayer | ShapeLayer) or has_fill(layer):
        box = drawn_box(layer)
        limits.check_layer(layer.name, box.x0, box.y0, box.width, box.height)
        return (box, partial(draw, layer, box, colours), None) if not box.empty else (*empty, None)
    return *empty, None


def _nothing() -> Rgba:
    return np.zeros((0, 0, 4), np.uint8)


def _adjustment(layer: Any) -> str | None:
    if isinstance(layer, AdjustmentLayer):
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", type(layer).__name__).lower()
    if not layer.has_pixels() and not isinstance(layer, FillLayer):
        for tag, name in _LEGACY_ADJUSTMENTS.items():
            if tag in layer.tagged_blocks:
                return name
    return None


def _kind(layer: Any) -> LayerKind:
    if isinstance(layer, TypeLayer):
        return LayerKind.TEXT
    if isinstance(layer, ShapeLayer):
        return LayerKind.SHAPE
    if isinstance(layer, FillLayer | AdjustmentLayer):
        return LayerKind.SHAPE if layer.has_vector_mask() else LayerKind.FILL
    bottom = layer.parent is layer._psd and layer._psd[0] is layer
    opaque = all(info.id != ChannelID.TRANSPARENCY_MASK for info in layer._record.channel_info)
    return LayerKind.BACKGROUND if bottom and opaque and layer.has_pixels() else LayerKind.IMAGE


def _group(group: Any, colours: Colours, limits: ReadLimits) -> tree.Group:
    children = nodes_of(group, colours, limits)
    common = _common(group, colours, limits, Box(*(int(side) for side in group.bbox)))
    isolated = group.blend_mode is not BlendMode.PASS_THROUGH
    if isinstance(group, Artboard):
        box = Box(*(int(side) for side in group.bbox))
        limits.check_layer(group.name, box.x0, box.y0, box.width, box.height)
        background = _artboard_background(group, box)
        children = (background, *children) if background else children
        if common["mask"] is None:  # an artboard clips what lies in it
            common["mask"] = tree.Mask(box, np.full((box.height, box.width), 255, np.uint8), 0)
        isolated = True
    return tree.Group(**common, children=children, isolated=isolated)


def _artboard_background(artboard: Any, box: Box) -> tree.Leaf | None:
    """The colour under an artboard's layers (1 transparent, 2 white, 3 black, 4 its own) as a fill."""
    data = next((found for tag in _ARTBOARD_TAGS if (found := artboard.tagged_blocks.get_data(tag)) is not None), None)
    kind = int(data.get(b"artboardBackgroundType", 1)) if data is not None else 1
    colour = {2: (255, 255, 255), 3: (0, 0, 0)}.get(kind)
    own = data.get(b"Clr ") if data is not None and kind == 4 else None
    if own is not None:
        red, green, blue = (min(255, max(0, round(float(own.get(key, 0))))) for key in (b"Rd  ", b"Grn ", b"Bl  "))
        colour = (red, green, blue)
    if colour is None or box.empty:
        return None
    fill = np.array((*colour, 255), np.uint8)
    return tree.Leaf(
        name=f"{artboard.name} background",
        kind=LayerKind.FILL,
        box=box,
        pixels=lambda: np.broadcast_to(fill, (box.height, box.width, 4)).copy(),
    )


def _common(layer: Any, colours: Colours, limits: ReadLimits, box: Box) -> dict[str, Any]:
    """The fields that leaves and groups share."""
    through = layer.blend_mode is BlendMode.PASS_THROUGH
    blend_mode = "normal" if through else FROM_PSD[layer.blend_mode.value]
    effects = effects_of(layer)
    mask, mask_problems = mask_of(layer, colours, limits, box)
    fill = int(layer.tagged_blocks.get_data(Tag.BLEND_FILL_OPACITY, 255))
    opacity = layer.opacity / 255
    undrawn = [*effects, *mask_problems, *_advanced_blending(layer)]
    if fill < 255 and (effects or blend_mode in _FILL_IS_NOT_OPACITY):
        undrawn.append("fill-opacity")
    if not effects:
        opacity *= fill / 255
    return {
        "name": layer.name.rstrip("\0"),
        "visible": bool(layer.visible),
        "opacity": opacity,
        "blend_mode": blend_mode,
        "clipped": layer._record.clipping is Clipping.NON_BASE,  # Layer.clipping says False for groups
        "mask": mask,
        "effects": effects,
        "undrawn": tuple(undrawn),
    }


def _advanced_blending(layer: Any) -> list[str]:
    """Blending options of a layer that the tree has no words for."""
    found = []
    ranges = layer._record.blending_ranges
    stored = [*(ranges.composite_ranges or ()), *(pair for channel in ranges.channel_ranges or () for pair in channel)]
    pairs = [tuple(pair) for pair in stored]
    if any(pair != _FULL_RANGE[0] for pair in pairs):
        found.append("blend-if")
    blocks = layer.tagged_blocks
    if _flag(blocks, Tag.KNOCKOUT_SETTING, 0):
        found.append("knockout")
    if blocks.get_data(Tag.CHANNEL_BLENDING_RESTRICTIONS_SETTING):
        found.append("channel-restrictions")
    if not _flag(blocks, Tag.BLEND_CLIPPING_ELEMENTS, 1) and layer.has_clip_layers():
        found.append("clipped-layers-blend-alone")
    return found


def _flag(blocks: Any, tag: Tag, default: int) -> int:
    value = blocks.get_data(tag, default)
    return int(getattr(value, "value", value))
