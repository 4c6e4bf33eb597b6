"""Writing PSD and PSB: pixel layers, fill layers and groups with masks, clipping, blend modes, effects and blending
options that stay editable, and a merged picture with alpha.

The record is built from psd-tools' low-level structures, so nothing is composited again and no clock or random id
gets in: the same document gives the same bytes. Colours are written in sRGB. Text and shapes become pixel layers: the
format's own text needs a layout engine.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from psd_tools.constants import BlendMode, ChannelID, Clipping, ColorMode, Compression, Resource, SectionDivider, Tag
from psd_tools.psd import PSD
from psd_tools.psd.header import FileHeader
from psd_tools.psd.image_data import ImageData
from psd_tools.psd.image_resources import ImageResource, ImageResources, VersionInfo
from psd_tools.psd.layer_and_mask import (
    ChannelData,
    ChannelDataList,
    ChannelImageData,
    ChannelInfo,
    GlobalLayerMaskInfo,
    LayerAndMaskInformation,
    LayerFlags,
    LayerInfo,
    LayerRecord,
    LayerRecords,
    MaskData,
)
from psd_tools.psd.patterns import Patterns
from psd_tools.psd.tagged_blocks import TaggedBlock, TaggedBlocks

from pipelines.errors import UsageError
from pipelines.formats.blending import PSD as BLEND_KEYS
from pipelines.formats.psd_write_blending import add_artboard, add_fill, add_looks
from pipelines.formats.psd_write_paint import Paints
from pipelines.formats.tree import Document, Group, Leaf, Mask, Node
from pipelines.formats.unsaid import refuse
from schemas.compositing import Rgba
from schemas.geometry import Box

Plane = npt.NDArray[np.uint8]
PSD_MAX_SIDE = 30_000
NAME_MAX = 255
_CHANNELS = (ChannelID.TRANSPARENCY_MASK, ChannelID.CHANNEL_0, ChannelID.CHANNEL_1, ChannelID.CHANNEL_2)
_Entry = tuple[LayerRecord, ChannelDataList]


def write(document: Document, path: Path) -> None:
    """Write ``document`` as PSD, or as PSB where the suffix says so. Opacity is stored in 1/255.

    Raises:
        UsageError: what a PSD cannot say: adjustments (the tree has no parameters), a shape's pen, an unknown blend
            mode, no preview, too large a side.
    """
    preview = document.preview
    if preview is None or preview.shape != (document.height, document.width, 4):
        raise UsageError("a PSD stores a merged picture: give the document a preview of its size")
    version = 2 if path.suffix.lower() == ".psb" else 1
    if version == 1 and max(document.width, document.height) > PSD_MAX_SIDE:
        raise UsageError(f"a PSD has at most {PSD_MAX_SIDE} px a side: write a .psb")
    writer = _Writer(document, version)
    entries = list(writer.entries(document.nodes))
    records: Any = [record for record, _ in entries]
    channels: Any = [stored for _, stored in entries]
    info = LayerInfo(
        layer_count=-len(entries),  # negative: the merged picture's fourth channel is its alpha
        layer_records=LayerRecords(records),
        channel_image_data=ChannelImageData(channels),
    )
    header = FileHeader(
        version=version,
        width=document.width,
        height=document.height,
        depth=8,
        channels=4,
        color_mode=ColorMode.RGB,
    )
    merged = ImageData(compression=Compression.RLE)
    merged.set_data([plane.tobytes() for plane in _matted(preview)], header)
    psd = PSD(
        header=header,
        image_resources=_resources(),
        layer_and_mask_information=LayerAndMaskInformation(
            layer_info=info, global_layer_mask_info=GlobalLayerMaskInfo(), tagged_blocks=_patterns(writer.paints)
        ),
        image_data=merged,
    )
    with path.open("wb") as out:
        psd.write(out)


def _resources() -> ImageResources:
    """The one resource a reader needs: that the merged picture is real."""
    version: Any = VersionInfo(version=1, has_composite=True, writer="Acetate", reader="Acetate", file_version=1)
    resources: Any = [(Resource.VERSION_INFO, ImageResource(key=Resource.VERSION_INFO, data=version))]
    return ImageResources(resources)


def _matted(pixels: Rgba) -> tuple[Plane, ...]:
    """The four planes of a merged picture: Photoshop stores the colour over white."""
    alpha = pixels[..., 3]
    a = alpha.astype(np.float32) / 255
    planes = tuple(np.rint(pixels[..., i] * a + 255 * (1 - a)).astype(np.uint8) for i in range(3))
    return (*planes, alpha)


def _patterns(paints: Paints) -> TaggedBlocks:
    """The blocks of the whole file: the patterns that layers name."""
    blocks = TaggedBlocks()
    if paints.patterns:
        stored: Any = list(paints.patterns.values())
        data: Any = Patterns(stored)  # type: ignore[call-arg]
        blocks[Tag.PATTERNS1] = TaggedBlock(key=Tag.PATTERNS1, data=data)
    return blocks


class _Writer:
    def __init__(self, document: Document, version: int) -> None:
        self.document = document
        self.version = version
        self.paints = Paints(document.space)

    def entries(self, nodes: Iterable[Node]) -> Iterable[_Entry]:
        """Layer records bottom to top; a group is its lower divider, its children and its own record."""
        for node in nodes:
            refuse(node, "a PSD", effects=True)
            if isinstance(node, Group):
                yield _divider()
                yield from self.entries(node.children)
                yield self.group(node)
            elif isinstance(node, Leaf):
                yield self.leaf(node)
            else:
                raise TypeError(f"a node is a Leaf or a Group, not {type(node).__name__}")

    def leaf(self, leaf: Leaf) -> _Entry:
        record = _record(leaf)
        add_looks(record, leaf, self.paints)
        box, mask = leaf.box, leaf.mask
        pixels = leaf.pixels()
        if pixels.shape != (box.height, box.width, self.document.space.channels + 1):
            raise UsageError(f"layer {leaf.name!r}: pixels {pixels.shape[1]} x {pixels.shape[0]} px, box {list(box)}")
        if leaf.fill is not None:
            alpha, visible = pixels[..., -1], self.document.visible
            add_fill(record, leaf, _bounds(alpha).shift(box.x0, box.y0), visible, self.paints)
            return _finish(record, _empty(), _shape(leaf, alpha, visible), self.version)
        record.top, record.left, record.bottom, record.right = box.y0, box.x0, box.y1, box.x1
        pixels = self.document.space.rgba(pixels)
        planes = (pixels[..., 3], pixels[..., 0], pixels[..., 1], pixels[..., 2])
        return _finish(record, [_channel(plane, self.version) for plane in planes], mask, self.version)

    def group(self, group: Group) -> _Entry:
        record = _record(group)
        add_looks(record, group, self.paints)
        if group.clip is not None:
            add_artboard(record, group.clip)
        through = not group.isolated and group.blend_mode == "normal"
        mode = BlendMode.PASS_THROUGH if through else BlendMode(BLEND_KEYS[group.blend_mode])
        record.tagged_blocks.set_data(Tag.SECTION_DIVIDER_SETTING, kind=SectionDivider.OPEN_FOLDER, blend_mode=mode)
        return _finish(record, _empty(), group.mask, self.version)


def _bounds(alpha: Plane) -> Box:
    """The box around what is not transparent."""
    rows, columns = np.flatnonzero(alpha.any(axis=1)), np.flatnonzero(alpha.any(axis=0))
    if not len(rows):
        return Box(0, 0, 0, 0)
    return Box(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def _shape(leaf: Leaf, alpha: Plane, visible: Box) -> Mask | None:
    """The mask that gives a fill layer, which covers all, the shape and the mask of ``leaf``."""
    box, mask = leaf.box, leaf.mask
    if box == box.union(visible) and bool((alpha == 255).all()):
        return mask
    if mask is None:
        return Mask(box, alpha, 0)
    shown = np.full(alpha.shape, mask.outside, np.uint8)
    part = mask.box.intersect(box)
    if not part.empty:
        shown[part.within(box).slices] = mask.pixels[part.within(mask.box).slices]
    return Mask(box, np.rint(alpha * (shown / np.float32(255))).astype(np.uint8), 0)


def _divider() -> _Entry:
    record = LayerRecord(name="</Layer group>")
    record.tagged_blocks.set_data(Tag.SECTION_DIVIDER_SETTING, kind=SectionDivider.BOUNDING_SECTION_DIVIDER)
    return _finish(record, _empty(), None, 1)


def _empty() -> list[ChannelData]:
    return [ChannelData(Compression.RAW, b"") for _ in _CHANNELS]


def _record(node: Node) -> LayerRecord:
    if node.blend_mode not in BLEND_KEYS:
        raise UsageError(f"layer {node.name!r}: a PSD has no blend mode {node.blend_mode!r}")
    name = node.name[:NAME_MAX]
    record = LayerRecord(
        name=name.encode("macroman", "replace").decode("macroman"),
        blend_mode=BlendMode(BLEND_KEYS[node.blend_mode]),
        opacity=round(node.opacity * 255),
        clipping=Clipping.NON_BASE if node.clipped else Clipping.BASE,
        flags=LayerFlags(visible=node.visible),
    )
    record.tagged_blocks.set_data(Tag.UNICODE_LAYER_NAME, name)
    return record


def _finish(record: LayerRecord, channels: list[ChannelData], mask: Mask | None, version: int) -> _Entry:
    """Add the user mask's channel, and the channels' ids and lengths."""
    ids = list(_CHANNELS)
    if mask is not None:
        if mask.outside not in (0, 255):
            raise UsageError(f"layer {record.name!r}: a PSD mask is 0 or 255 outside its box, not {mask.outside}")
        box = mask.box
        record.mask_data = MaskData(box.y0, box.x0, box.y1, box.x1, mask.outside)
        ids.append(ChannelID.USER_LAYER_MASK)
        channels.append(_channel(mask.pixels, version))
    record.channel_info = [
        ChannelInfo(id=key, length=len(channel.data) + 2) for key, channel in zip(ids, channels, strict=True)
    ]
    stored: Any = channels
    return record, ChannelDataList(stored)


def _channel(plane: Plane, version: int) -> ChannelData:
    height, width = plane.shape
    if plane.size == 0:
        return ChannelData(Compression.RAW, b"")
    channel = ChannelData(Compression.RLE)
    channel.set_data(np.ascontiguousarray(plane).tobytes(), width, height, 8, version)
    return channel
