"""A layer's advanced blending, fill and artboard as the blocks of a PSD layer record."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from psd_tools.constants import Tag
from psd_tools.psd.descriptor import DescriptorBlock, Integer
from psd_tools.psd.layer_and_mask import LayerBlendingRanges, LayerRecord
from psd_tools.psd.tagged_blocks import ChannelBlendingRestrictionsSetting, ReferencePoint, TaggedBlock

from pipelines.errors import UsageError
from pipelines.formats.psd_write_effects import effects_block
from pipelines.formats.psd_write_paint import Items, Paints, described, listed, number, rgb, text
from pipelines.formats.style import Blending, Gradient, Range, Solid
from pipelines.formats.tree import Leaf, Node
from schemas.geometry import Box

_KNOCKOUT = {"none": 0, "shallow": 1, "deep": 2}
_FULL = (0, 65535)
_CHANNELS = 3


def add_looks(record: LayerRecord, node: Node, paints: Paints) -> None:
    """Add what a node's style, fill opacity and blending need; what says nothing is not written."""
    blocks = record.tagged_blocks
    if node.style:
        _put(record, Tag.OBJECT_BASED_EFFECTS_LAYER_INFO, effects_block(node.style, paints, node.name))
        origin: Any = [0.0, 0.0]
        _put(record, Tag.REFERENCE_POINT, ReferencePoint(origin))  # type: ignore[call-arg]
    if node.fill_opacity < 1:
        blocks.set_data(Tag.BLEND_FILL_OPACITY, round(node.fill_opacity * 255))
    look = node.blending
    if not look.clipped_as_group:
        blocks.set_data(Tag.BLEND_CLIPPING_ELEMENTS, 0)
    if look.interior_as_group:
        blocks.set_data(Tag.BLEND_INTERIOR_ELEMENTS, 1)
    if look.knockout != "none":
        blocks.set_data(Tag.KNOCKOUT_SETTING, _KNOCKOUT[look.knockout])
    if look.mask_hides_effects:
        blocks.set_data(Tag.LAYER_MASK_AS_GLOBAL_MASK, 1)
    if look.channels is not None:
        withheld: Any = [channel for channel, written in enumerate(look.channels) if not written]
        _put(record, Tag.CHANNEL_BLENDING_RESTRICTIONS_SETTING, ChannelBlendingRestrictionsSetting(withheld))  # type: ignore[call-arg]
    if look.own or look.below:
        record.blending_ranges = _ranges(look, node.name)


def _put(record: LayerRecord, tag: Tag, data: Any) -> None:
    record.tagged_blocks[tag] = TaggedBlock(key=tag, data=data)


def _ranges(look: Blending, layer: str) -> LayerBlendingRanges:
    """Blend-if: for gray and each channel, the layer's own range and that of what lies below, in 1/255."""
    pairs: dict[int | None, list[tuple[int, int]]] = {None: [_FULL, _FULL]}
    pairs |= {channel: [_FULL, _FULL] for channel in range(_CHANNELS)}
    for place, ranges in enumerate((look.own, look.below)):
        for one in ranges:
            if one.channel not in pairs:
                raise UsageError(f"layer {layer!r}: a PSD in RGB has no channel {one.channel} to blend by")
            pairs[one.channel][place] = _range(one)
    channels = [pairs[channel] for channel in range(_CHANNELS)]
    return LayerBlendingRanges(pairs[None], [*channels, [_FULL, _FULL]])


def _range(one: Range) -> tuple[int, int]:
    """Two values of two bytes: where it starts and is whole, where it is whole and ends."""
    first, second = ((round(255 * start) << 8) | round(255 * end) for start, end in (one.low, one.high))
    return first, second


def add_fill(record: LayerRecord, leaf: Leaf, shape: Box, visible: Box, paints: Paints) -> None:
    """Make the record a fill layer, whose paint is the leaf's; ``shape`` is the box of what it fills."""
    if isinstance(leaf.fill, Gradient):
        aligned = shape == visible or leaf.fill.kind == "shape-burst"
        gradient = leaf.fill if aligned else _on_document(leaf.fill, shape, visible)
        _put(record, Tag.GRADIENT_FILL_SETTING, _block(paints.laid(gradient), b"null"))
    elif leaf.fill is not None:
        tag = Tag.SOLID_COLOR_SHEET_SETTING if isinstance(leaf.fill, Solid) else Tag.PATTERN_FILL_SETTING
        _put(record, tag, _block(paints.paint(leaf.fill), b"null"))


def _on_document(gradient: Gradient, box: Box, visible: Box) -> Gradient:
    """A gradient with the length and the centre it has on ``box``, laid on the document: a fill layer has no box."""
    if not gradient.aligned or box.empty:
        return gradient
    x, y = ((getattr(box, f"{axis}0") + getattr(box, f"{axis}1")) / 2 for axis in "xy")
    x, y = x + gradient.offset[0] * box.width, y + gradient.offset[1] * box.height
    offset = x / visible.width - 0.5, y / visible.height - 0.5
    scale = gradient.scale * _length(box, gradient.angle) / _length(visible, gradient.angle)
    return replace(gradient, aligned=False, offset=offset, scale=scale)


def _length(box: Box, angle: float) -> float:
    """How much of the line through the box's centre at ``angle`` lies in it: a gradient's length (observed)."""
    cos, sin = abs(math.cos(math.radians(angle))), abs(math.sin(math.radians(angle)))
    return min(box.width / cos if cos > 1e-9 else math.inf, box.height / sin if sin > 1e-9 else math.inf)


def add_artboard(record: LayerRecord, box: Box) -> None:
    """Make a group an artboard that clips at ``box`` and paints nothing itself."""
    sides = [(b"Top ", box.y0), (b"Left", box.x0), (b"Btom", box.y1), (b"Rght", box.x1)]
    items: Items = [
        (b"artboardRect", described(b"classFloatRect", [(key, number(side)) for key, side in sides])),
        (b"guideIndeces", listed([])),
        (b"artboardPresetName", text("")),
        (b"Clr ", rgb((1, 1, 1))),
        (b"artboardBackgroundType", Integer(3)),  # type: ignore[call-arg]
    ]
    _put(record, Tag.ARTBOARD_DATA1, _block(items, b"artboard"))


def _block(items: Items, class_id: bytes) -> DescriptorBlock:
    stored: Any = items
    return DescriptorBlock(items=stored, name="\0", classID=class_id)  # type: ignore[call-arg]
