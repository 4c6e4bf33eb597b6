"""The PSD layer tree as Nodes: kinds, boxes, opacity, blend modes, groups, artboards, adjustments."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from psd_tools.api.layers import FillLayer, Group, ShapeLayer, TypeLayer
from psd_tools.constants import BlendMode, ChannelID, Clipping, Tag

from pipelines.formats import tree
from pipelines.formats.blending import FROM_PSD
from pipelines.formats.limits import ReadLimits
from pipelines.formats.psd_adjust import adjustment_of
from pipelines.formats.psd_artboard import artboard_of
from pipelines.formats.psd_blending import blending_of
from pipelines.formats.psd_colours import Colours
from pipelines.formats.psd_effects import Light, style_of
from pipelines.formats.psd_masks import mask_of
from pipelines.formats.psd_path import has_path, path_box
from pipelines.formats.psd_pixels import layer_pixels
from pipelines.formats.psd_text import text_of
from pipelines.formats.psd_vector import drawn_box, fill_of, is_cut, is_drawn, pen_of, shape_pixels
from schemas.design import LayerKind
from schemas.geometry import Box, union

_MARGIN = 128
"""px: of what is cut off, as much is left beside what can show: scaling blends neighbours, and a cut is found there."""


class Reader:
    """Turns the layers of one document into nodes."""

    def __init__(self, psd: Any, colours: Colours, limits: ReadLimits) -> None:
        self.psd, self.colours, self.limits = psd, colours, limits
        self.light = Light.of(psd)
        dx, dy = (int(side * (tree.REACH - 1)) + _MARGIN for side in (psd.width, psd.height))
        self.reach = Box(-dx, -dy, psd.width + dx, psd.height + dy)
        self._mask_pixels = 0

    def nodes(self, parent: Any) -> tuple[tree.Node, ...]:
        """The children of a document or group, bottom to top."""
        return tuple(self._node(layer) for layer in parent)

    def _node(self, layer: Any) -> tree.Node:
        record = layer._record
        size = max(0, record.right - record.left), max(0, record.bottom - record.top)
        self.limits.check_layer(layer.name, record.left, record.top, *size)
        if isinstance(layer, Group):
            return self._group(layer)
        adjustment = adjustment_of(layer, self.colours)
        if adjustment is not None:
            return self._adjustment(layer, *adjustment)
        return self._leaf(layer)

    def _adjustment(self, layer: Any, kind: str, apply: Callable[[Any], Any] | None) -> tree.Adjustment:
        common = self._common(layer, Box(0, 0, self.psd.width, self.psd.height))
        if apply is None:
            common["undrawn"] = (*common["undrawn"], f"adjustment:{kind}")
            return tree.Adjustment(**common, kind=kind)
        return tree.Adjustment(**common, kind=kind, apply=apply)

    def _leaf(self, layer: Any) -> tree.Leaf:
        record = layer._record
        box = Box(record.left, record.top, record.right, record.bottom)
        paint: dict[str, Any] = {}
        problems: list[str] = []
        if layer.has_pixels() and not box.empty and not is_cut(layer, box):
            paint, problems = self._stored(layer, box)
        elif is_drawn(layer):
            whole = drawn_box(layer)
            box = whole.intersect(self.reach)
            paint, problems = self._drawn(layer, box, whole)
        if not paint or box.empty:
            box = Box(0, 0, 0, 0)
            paint = {"pixels": partial(np.zeros, (0, 0, self.colours.channels + 1), np.uint8)}
        common = self._common(layer, box, alone=not paint.get("endless"))
        common["undrawn"] = (*common["undrawn"], *problems)
        mask = common["mask"]
        if paint.get("fill") is not None and mask is not None and mask.outside == 0 and not has_path(layer):
            box = box.intersect(mask.box)  # a gradient is laid on what the mask leaves
            paint["pixels"] = partial(shape_pixels, layer, box, paint["fill"], self.colours)
        text = text_of(layer, self.colours) if isinstance(layer, TypeLayer) else None
        return tree.Leaf(**common, **paint, kind=_kind(layer), box=box, text=text)

    def _stored(self, layer: Any, box: Box) -> tuple[dict[str, Any], list[str]]:
        """The paint of a layer with pixels: they are what Photoshop drew, a shape's pen line included."""
        channels = zip(layer._record.channel_info, layer._channels, strict=False)
        present = {int(info.id) for info, data in channels if data.data}
        if not present.issuperset(range(self.colours.count)):
            return {}, ["missing colour channels"]
        paint: dict[str, Any] = {"pixels": partial(layer_pixels, layer, self.colours)}
        if is_drawn(layer) and layer.has_clip_layers():  # the pen line lies above what is clipped to the layer
            filled = fill_of(layer, self.colours)[0] is not None
            paint["stroke"], _ = pen_of(layer, box, self.colours, filled=filled)
        return paint, []

    def _drawn(self, layer: Any, box: Box, whole: Box) -> tuple[dict[str, Any], list[str]]:
        """The paint of a fill or shape that is stored as words alone; ``box`` is what matters of the ``whole``."""
        self.limits.check_layer(layer.name, box.x0, box.y0, box.width, box.height)
        fill, problems = fill_of(layer, self.colours)
        cut = box != whole
        stroke, of_stroke = pen_of(layer, box, self.colours, filled=fill is not None, laid=whole if cut else None)
        paint = {
            "pixels": partial(shape_pixels, layer, box, fill, self.colours),
            "fill": fill,
            "stroke": stroke,
            "endless": fill is not None and not has_path(layer),
            "laid": path_box(layer) if cut else None,
        }
        return paint, [*problems, *of_stroke]

    def _group(self, group: Any) -> tree.Group:
        children = self.nodes(group)
        board = artboard_of(group, self.colours)
        common = self._common(group, _content(children, self.psd))
        isolated = group.blend_mode is not BlendMode.PASS_THROUGH or bool(common["style"])
        if board is None:
            return tree.Group(**common, children=children, isolated=isolated)
        box, ground = board
        self.limits.check_layer(group.name, box.x0, box.y0, box.width, box.height)
        part = box.intersect(self.reach)
        if ground is not None and not part.empty:
            codes = np.rint(np.array((*ground, 1.0)) * 255).astype(np.uint8)
            pixels = partial(np.full, (part.height, part.width, len(codes)), codes, np.uint8)
            name = f"{common['name']} background"
            children = (tree.Leaf(name=name, kind=LayerKind.FILL, box=part, pixels=pixels), *children)
        return tree.Group(**common, children=children, isolated=True, clip=box)

    def _mask(self, layer: Any, content: Box, *, alone: bool) -> tree.Mask | None:
        """The mask of a layer that can be seen. ``alone``: nothing beyond ``content`` is painted through it."""
        if not layer.is_visible():
            return None
        content = content.intersect(self.reach)
        near = Box(content.x0 - _MARGIN, content.y0 - _MARGIN, content.x1 + _MARGIN, content.y1 + _MARGIN)
        mask = mask_of(layer, self.colours, self.limits, content, near if alone else self.reach)
        if mask is not None:
            self._mask_pixels += mask.box.area
            self.limits.check_masks(self._mask_pixels)
        return mask

    def _common(self, layer: Any, box: Box, *, alone: bool = False) -> dict[str, Any]:
        """The fields that all nodes share; ``alone`` as in ``_mask``, but for effects."""
        through = layer.blend_mode is BlendMode.PASS_THROUGH
        style, names, style_problems = style_of(layer, self.colours, self.light)
        blending, blending_problems = blending_of(layer, self.colours)
        return {
            "name": layer.name.rstrip("\0"),
            "visible": bool(layer.visible),
            "opacity": layer.opacity / 255,
            "fill_opacity": _fill_opacity(layer),
            "blend_mode": "normal" if through else FROM_PSD[layer.blend_mode.value],
            "clipped": layer._record.clipping is Clipping.NON_BASE,  # Layer.clipping says False for groups
            "mask": self._mask(layer, box, alone=alone and not style),
            "effects": names,
            "style": style,
            "blending": blending,
            "undrawn": (*style_problems, *blending_problems),
        }


def _content(children: tuple[tree.Node, ...], psd: Any) -> Box:
    """The box that holds what a group may paint."""
    boxes = [Box(0, 0, psd.width, psd.height)]
    for child in children:
        if isinstance(child, tree.Group):
            boxes.append(child.clip or _content(child.children, psd))
        elif isinstance(child, tree.Leaf):
            boxes.append(child.box)
    return union(box for box in boxes if not box.empty)


def _fill_opacity(layer: Any) -> float:
    value = layer.tagged_blocks.get_data(Tag.BLEND_FILL_OPACITY, 255)
    return min(255, max(0, int(getattr(value, "value", value)))) / 255


def _kind(layer: Any) -> LayerKind:
    if isinstance(layer, TypeLayer):
        return LayerKind.TEXT
    if isinstance(layer, ShapeLayer):
        return LayerKind.SHAPE
    if isinstance(layer, FillLayer):
        return LayerKind.SHAPE if layer.has_vector_mask() else LayerKind.FILL
    bottom = layer.parent is layer._psd and layer._psd[0] is layer
    opaque = all(info.id != ChannelID.TRANSPARENCY_MASK for info in layer._record.channel_info)
    return LayerKind.BACKGROUND if bottom and opaque and layer.has_pixels() else LayerKind.IMAGE
