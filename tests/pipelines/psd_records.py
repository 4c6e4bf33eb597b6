"""PSD files built record by record, for what our own writer does not say: colour modes, depths, paths, parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from psd_tools.constants import BlendMode, ChannelID, Clipping, ColorMode, Compression, Resource, Tag
from psd_tools.psd import PSD
from psd_tools.psd.descriptor import Bool, Descriptor, DescriptorBlock, Double, Enumerated, UnitFloat
from psd_tools.psd.header import FileHeader
from psd_tools.psd.image_data import ImageData
from psd_tools.psd.image_resources import ImageResource, ImageResources, VersionInfo
from psd_tools.psd.layer_and_mask import (
    ChannelData,
    ChannelDataList,
    ChannelImageData,
    ChannelInfo,
    LayerAndMaskInformation,
    LayerInfo,
    LayerRecord,
    LayerRecords,
    MaskData,
)
from psd_tools.psd.tagged_blocks import TaggedBlock
from psd_tools.psd.vector import (
    ClosedKnotLinked,
    ClosedPath,
    InitialFillRule,
    OpenKnotLinked,
    OpenPath,
    VectorMaskSetting,
)
from psd_tools.psd.vector import Path as Records
from psd_tools.terminology import Unit

from schemas.geometry import Box

Plane = npt.NDArray[Any]
PIXELS = (ChannelID.CHANNEL_0, ChannelID.CHANNEL_1, ChannelID.CHANNEL_2, ChannelID.CHANNEL_3)


@dataclass
class Spec:
    """One layer record; ``planes`` by channel id as stored, the mask channels in the box of ``mask``."""

    name: str = "layer"
    box: Box = Box(0, 0, 0, 0)
    planes: Mapping[int, Plane] = field(default_factory=dict)
    blocks: Mapping[Tag, Any] = field(default_factory=dict)
    mask: MaskData | None = None
    mode: BlendMode = BlendMode.NORMAL
    clipped: bool = False
    opacity: int = 255


def rgba(box: Box, colour: Sequence[int], alpha: Plane | int = 255) -> dict[int, Plane]:
    """The planes of one colour."""
    shape = (box.height, box.width)
    planes: dict[int, Plane] = {
        int(key): np.full(shape, value, np.uint8) for key, value in zip(PIXELS, colour, strict=False)
    }
    planes[int(ChannelID.TRANSPARENCY_MASK)] = np.broadcast_to(np.asarray(alpha, np.uint8), shape)
    return planes


def save(
    path: Path,
    size: tuple[int, int],
    layers: Sequence[Spec],
    *,
    mode: ColorMode = ColorMode.RGB,
    depth: int = 8,
    merged: Sequence[Plane] = (),
    profile: bytes | None = None,
    declared_alpha: bool = False,
) -> Path:
    """Write a PSD of ``size`` (width, height); without ``merged`` planes it says that it has no merged picture."""
    count = {ColorMode.RGB: 3, ColorMode.LAB: 3, ColorMode.CMYK: 4}.get(mode, 1)
    stored = list(merged) or [np.zeros((size[1], size[0]), np.uint8)] * count
    header = FileHeader(version=1, width=size[0], height=size[1], depth=depth, channels=len(stored), color_mode=mode)
    entries = [_entry(spec, depth) for spec in layers]
    records: Any = [record for record, _ in entries]
    channels: Any = [data for _, data in entries]
    info = LayerInfo(
        layer_count=-len(entries) if declared_alpha else len(entries),
        layer_records=LayerRecords(records),
        channel_image_data=ChannelImageData(channels),
    )
    data = ImageData(compression=Compression.RAW)
    data.set_data([plane.tobytes() for plane in stored], header)
    version: Any = VersionInfo(version=1, has_composite=bool(merged), writer="t", reader="t", file_version=1)
    resources: Any = [(Resource.VERSION_INFO, ImageResource(key=Resource.VERSION_INFO, data=version))]
    if profile is not None:
        resources.append((Resource.ICC_PROFILE, ImageResource(key=Resource.ICC_PROFILE, data=profile)))
    psd = PSD(
        header=header,
        image_resources=ImageResources(resources),
        layer_and_mask_information=LayerAndMaskInformation(layer_info=info),
        image_data=data,
    )
    with path.open("wb") as out:
        psd.write(out)
    return path


def _entry(spec: Spec, depth: int) -> tuple[LayerRecord, ChannelDataList]:
    record = LayerRecord(
        name=spec.name,
        blend_mode=spec.mode,
        opacity=spec.opacity,
        clipping=Clipping.NON_BASE if spec.clipped else Clipping.BASE,
    )
    record.top, record.left, record.bottom, record.right = spec.box.y0, spec.box.x0, spec.box.y1, spec.box.x1
    if spec.mask is not None:
        record.mask_data = spec.mask
    for tag, value in spec.blocks.items():
        record.tagged_blocks[tag] = TaggedBlock(key=tag, data=value)
    planes = dict(spec.planes) or {int(key): np.zeros((0, 0), np.uint8) for key in (-1, 0, 1, 2)}
    channels: list[ChannelData] = []
    for plane in planes.values():
        channel = ChannelData(Compression.RAW, b"")
        if plane.size:
            channel.set_data(np.ascontiguousarray(plane).tobytes(), plane.shape[1], plane.shape[0], depth, 1)
        channels.append(channel)
    record.channel_info = [
        ChannelInfo(id=ChannelID(key), length=len(channel.data) + 2)
        for key, channel in zip(planes, channels, strict=True)
    ]
    stored: Any = channels
    return record, ChannelDataList(stored)


def path_block(
    size: tuple[int, int],
    *paths: Sequence[tuple[float, float]],
    operations: Sequence[int] = (),
    closed: bool = True,
    fill: int = 0,
    invert: bool = False,
    disable: bool = False,
    bend: float = 0.0,
) -> VectorMaskSetting:
    """A vector mask of polygons in px; ``bend``: how far their edges' first handles are from their ends."""
    records: list[Any] = [InitialFillRule(fill)]  # type: ignore[call-arg]
    knot, kind = (ClosedKnotLinked, ClosedPath) if closed else (OpenKnotLinked, OpenPath)
    for points, operation in zip(paths, [*operations, *[1] * len(paths)], strict=False):
        places = [(y / size[1], x / size[0]) for x, y in points]
        knots: Any = [knot((y, x), (y, x), (y + bend / size[1], x)) for y, x in places]
        records.append(kind(items=knots, operation=operation))  # type: ignore[call-arg]
    stored: Any = records
    return VectorMaskSetting(version=3, path=Records(stored), flags=invert + 4 * disable)  # type: ignore[call-arg]


def colour(red: float, green: float, blue: float) -> Descriptor:
    """An RGB colour 0..255."""
    return _filled(Descriptor(classID=b"RGBC"), {b"Rd  ": Double(red), b"Grn ": Double(green), b"Bl  ": Double(blue)})


def solid(red: float, green: float, blue: float) -> DescriptorBlock:
    """The block of a solid fill."""
    return _filled(DescriptorBlock(classID=b"null", version=16), {b"Clr ": colour(red, green, blue)})


def pen(
    width: float, align: str = "Center", *, filled: bool = True, join: str = "Miter", cap: str = "Butt"
) -> DescriptorBlock:
    """The block of a shape's stroke, black."""
    return _filled(
        DescriptorBlock(classID=b"strokeStyle", version=16),
        {
            b"strokeEnabled": Bool(True),
            b"fillEnabled": Bool(filled),
            b"strokeStyleLineWidth": UnitFloat(unit=Unit.Pixels, value=width),
            b"strokeStyleLineAlignment": _enum(b"strokeStyleLineAlignment", f"strokeStyleAlign{align}"),
            b"strokeStyleLineJoinType": _enum(b"strokeStyleLineJoinType", f"strokeStyle{join}Join"),
            b"strokeStyleLineCapType": _enum(b"strokeStyleLineCapType", f"strokeStyle{cap}Cap"),
            b"strokeStyleOpacity": UnitFloat(unit=Unit.Percent, value=100.0),
            b"strokeStyleContent": _filled(Descriptor(classID=b"solidColorLayer"), {b"Clr ": colour(0, 0, 0)}),
        },
    )


def _enum(kind: bytes, value: str) -> Enumerated:
    return Enumerated(typeID=kind, enum=value.encode())


def _filled(descriptor: Any, items: Mapping[bytes, Any]) -> Any:
    for key, value in items.items():
        descriptor[key] = value
    return descriptor
