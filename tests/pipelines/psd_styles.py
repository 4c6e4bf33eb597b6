"""Parts of PSD files for the tests of styles: layers, descriptors and the values in them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from psd_tools import PSDImage
from psd_tools.constants import ColorMode, Compression, Tag
from psd_tools.psd import patterns
from psd_tools.psd.descriptor import (
    Bool,
    Descriptor,
    DescriptorBlock2,
    Double,
    Enumerated,
    Integer,
    List,
    String,
    UnitFloat,
)
from psd_tools.psd.tagged_blocks import TaggedBlock, TaggedBlocks

from pipelines.formats.psd_colours import Colours
from pipelines.formats.psd_effects import Light, Style, style_of

LIGHT = Light(120, 40)


def document(mode: str = "RGB") -> PSDImage:
    """An empty document of 8 x 8 px."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return PSDImage.new(mode, (8, 8))


def layer(psd: PSDImage) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return psd.create_pixel_layer(Image.new("RGBA", (4, 4), (10, 20, 30, 255)))


def put(target: Any, tag: Tag, data: Any) -> None:
    target._record.tagged_blocks[tag] = TaggedBlock(key=tag, data=data)


def colours(mode: str = "RGB") -> Colours:
    return Colours.of(document(mode))


def made(class_id: bytes, **items: Any) -> Descriptor:
    """A descriptor; keys of fewer than four letters are filled with spaces, as in the format."""
    stored: Any = [(key.encode().ljust(4), value) for key, value in items.items()]
    return Descriptor(items=stored, classID=class_id)  # type: ignore[call-arg]


def number(value: float) -> Double:
    return Double(value)  # type: ignore[call-arg]


def whole(value: int) -> Integer:
    return Integer(value)  # type: ignore[call-arg]


def unit(value: float, name: bytes = b"#Pxl") -> UnitFloat:
    stored: Any = name
    return UnitFloat(value, stored)  # type: ignore[call-arg]


def flag(value: bool) -> Bool:
    return Bool(value)  # type: ignore[call-arg]


def chosen(kind: bytes, value: bytes) -> Enumerated:
    return Enumerated(kind, value)  # type: ignore[call-arg]


def mode(value: bytes) -> Enumerated:
    return chosen(b"BlnM", value)


def listed(*items: Any) -> List:
    return List(list(items))  # type: ignore[call-arg]


def rgb(red: float, green: float, blue: float) -> Descriptor:
    return made(b"RGBC", Rd=number(red), Grn=number(green), Bl=number(blue))


def curve(*points: tuple[float, float, bool]) -> Descriptor:
    """A contour of points (level, becomes, smooth)."""
    found = [made(b"CrPt", Hrzn=number(x), Vrtc=number(y), Cnty=flag(smooth)) for x, y, smooth in points]
    return made(b"ShpC", Crv=listed(*found))


def stops(
    *places: tuple[int, Any], clear: Sequence[tuple[int, float]] = (), mid: int = 50, smooth: float = 0
) -> Descriptor:
    """A gradient of (place, colour) and (place, opacity in per cent)."""
    coloured = [made(b"Clrt", Clr=colour, Lctn=whole(at), Mdpn=whole(mid)) for at, colour in places]
    opaque = [made(b"TrnS", Opct=unit(share, b"#Prc"), Lctn=whole(at), Mdpn=whole(50)) for at, share in clear]
    return made(
        b"Grdn",
        GrdF=chosen(b"GrdF", b"CstS"),
        Intr=number(smooth),
        Clrs=listed(*coloured),
        Trns=listed(*opaque),
    )


def effect(class_id: bytes, **items: Any) -> Descriptor:
    """An effect that is on."""
    return made(class_id, enab=flag(True), present=flag(True), **items)


def block(**items: Any) -> DescriptorBlock2:
    stored: Any = [(key.encode().ljust(4), value) for key, value in items.items()]
    return DescriptorBlock2(items=stored, name="\0", version=0)  # type: ignore[call-arg]


def styled(tag: Tag = Tag.OBJECT_BASED_EFFECTS_LAYER_INFO, mode: str = "RGB", **items: Any) -> Style:
    """The style of a layer with these effects."""
    psd = document(mode)
    target = layer(psd)
    put(target, tag, block(masterFXSwitch=flag(True), **items))
    return style_of(target, Colours.of(psd), LIGHT)


def tile(
    key: str, planes: Sequence[npt.NDArray[Any]], mode: ColorMode = ColorMode.RGB, alpha: npt.NDArray[Any] | None = None
) -> patterns.Pattern:
    """A stored pattern of planes ``[h, w]``, 8 or 16 bit."""
    height, width = planes[0].shape
    slots = [patterns.VirtualMemoryArray() for _ in range(26)]
    for place, plane in [*enumerate(planes), *([(25, alpha)] if alpha is not None else [])]:
        depth = plane.dtype.itemsize * 8
        data = plane.astype(plane.dtype.newbyteorder(">")).tobytes()
        slots[place].set_data((width, height), data, depth, Compression.RAW)
    memory = patterns.VirtualMemoryArrayList(rectangle=(0, 0, height, width), channels=slots)
    table = [(i, 255 - i, 7) for i in range(256)]
    return patterns.Pattern(
        image_mode=mode, point=(height, width), name="p\0", pattern_id=f"{key}\0", color_table=table, data=memory
    )


def carry(psd: PSDImage, *found: patterns.Pattern) -> None:
    """Put patterns into a document."""
    carried: Any = list(found)
    listing: Any = patterns.Patterns(carried)  # type: ignore[call-arg]
    blocks = TaggedBlocks()  # type: ignore[call-arg]
    blocks[Tag.PATTERNS2] = TaggedBlock(key=Tag.PATTERNS2, data=listing)
    psd._record.layer_and_mask_information.tagged_blocks = blocks


def named(key: str) -> Descriptor:
    return made(b"Ptrn", Nm=String("p\0"), Idnt=String(f"{key}\0"))  # type: ignore[call-arg]


CHECKER = np.array([[0, 255], [255, 0]], np.uint8)
