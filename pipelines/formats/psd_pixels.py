"""From stored PSD channels to 8-bit sRGB with straight alpha: depths, colour modes, ICC profiles, the merged picture.

psd-tools' own conversions truncate (16 and 32 bit), drop the alpha of CMYK and remove the white of a merged picture
after its ICC conversion; here values are rounded, alpha is kept and the white goes first. 32-bit documents are
linear light.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms
from psd_tools import PSDImage
from psd_tools.api.utils import get_transparency_index, has_transparency
from psd_tools.compression import PSDDecompressionWarning
from psd_tools.constants import ChannelID, ColorMode, Compression, Resource

from pipelines.errors import Rejected
from pipelines.formats import icc
from pipelines.formats.limits import ReadLimits, unreadable
from schemas.compositing import Rgba
from schemas.ledger import Code

Plane = npt.NDArray[np.uint8]
_COLOURS = {ColorMode.RGB: 3, ColorMode.CMYK: 4, ColorMode.LAB: 3}
_ALPHA_NAMES = (Resource.ALPHA_IDENTIFIERS, Resource.ALPHA_NAMES_UNICODE, Resource.ALPHA_NAMES_PASCAL)
_ICC_MODES = {ColorMode.RGB: "RGB", ColorMode.GRAYSCALE: "L", ColorMode.CMYK: "CMYK"}
_XYZ_TO_RGB = (
    (3.1338561, -1.6168667, -0.4906146),
    (-0.9787684, 1.9161415, 0.0334540),
    (0.0719453, -0.2289914, 1.4052427),
)


@dataclass(frozen=True)
class Colours:
    """How a document's stored colours become sRGB; ``transform`` is littleCMS's, None where none is needed."""

    mode: ColorMode
    depth: int
    version: int
    transform: Any = None
    palette: npt.NDArray[np.uint8] | None = None

    @classmethod
    def of(cls, psd: PSDImage) -> Colours:
        palette = None
        if psd.color_mode is ColorMode.INDEXED:
            table = np.frombuffer(psd._record.color_mode_data.value, np.uint8)
            palette = np.zeros((256, 3), np.uint8)
            full = table[: table.size // 3 * 3].reshape(3, -1).T[:256]
            palette[: len(full)] = full
        profile = psd.image_resources.get_data(Resource.ICC_PROFILE)
        pil_mode = _ICC_MODES.get(psd.color_mode)
        transform = icc.transform(bytes(profile), pil_mode) if profile and pil_mode and psd.depth != 32 else None
        return cls(psd.color_mode, psd.depth, psd.version, transform, palette)

    @property
    def count(self) -> int:
        """Colour channels of the mode."""
        return _COLOURS.get(self.mode, 1)

    def plane(self, data: bytes, width: int, height: int, linear: bool = True) -> Plane:
        """One stored channel as uint8 ``[height, width]``. ``linear``: of a 32-bit document, whether to encode as
        sRGB.
        """
        if self.depth == 8:
            return np.frombuffer(data, np.uint8, width * height).reshape(height, width)
        if self.depth == 16:
            wide = np.frombuffer(data, ">u2", width * height).astype(np.uint32)
            return ((wide * 255 + 32_767) // 65_535).astype(np.uint8).reshape(height, width)
        if self.depth == 32:
            light = np.nan_to_num(np.frombuffer(data, ">f4", width * height).astype(np.float32)).clip(0, 1)
            value = _encode(light) if linear else light
            return np.rint(value * 255).astype(np.uint8).reshape(height, width)
        bits = np.frombuffer(data, np.uint8).reshape(height, -1)
        return ((1 - np.unpackbits(bits, axis=1, count=width)) * 255).astype(np.uint8)  # a set bit is black

    def rgb(self, planes: Sequence[Plane]) -> npt.NDArray[np.uint8]:
        """Colour planes ``[height, width]`` in the document's mode as sRGB ``[height, width, 3]``."""
        if self.palette is not None:
            return self.palette[planes[0]]
        if self.mode is ColorMode.LAB:
            return _lab(planes)
        if self.transform is None and self.mode is not ColorMode.CMYK:
            return np.stack([planes[i % len(planes)] for i in range(3)] if self.count == 3 else [planes[0]] * 3, axis=2)
        if self.mode is ColorMode.CMYK:  # stored as what is left of white; Pillow wants ink
            image = Image.fromarray(255 - np.stack(planes[:4], axis=2), "CMYK")
        elif self.count == 1:
            image = Image.fromarray(np.ascontiguousarray(planes[0]), "L")
        else:
            image = Image.fromarray(np.stack(planes[:3], axis=2), "RGB")
        converted = ImageCms.applyTransform(image, self.transform) if self.transform else image.convert("RGB")
        assert converted is not None
        return np.array(converted)


def layer_pixels(layer: Any, colours: Colours) -> Rgba:
    """A layer's own stored pixels, uint8 ``[height, width, 4]`` of its record's rectangle; opaque without an alpha
    channel.
    """
    record = layer._record
    width, height = record.right - record.left, record.bottom - record.top
    found = {int(info.id): data for info, data in zip(record.channel_info, layer._channels, strict=False)}
    with unreadable(f"pixels of layer {layer.name[:80]!r}"), strict_decompression():
        planes = [
            colours.plane(found[i].get_data(width, height, colours.depth, colours.version), width, height)
            for i in range(colours.count)
        ]
        out = np.empty((height, width, 4), np.uint8)
        out[..., :3] = colours.rgb(planes)
        alpha = found.get(ChannelID.TRANSPARENCY_MASK)
        out[..., 3] = 255
        if alpha is not None and alpha.data:
            stored = alpha.get_data(width, height, colours.depth, colours.version)
            out[..., 3] = colours.plane(stored, width, height, linear=False)
        return out


class strict_decompression(warnings.catch_warnings):  # type: ignore[type-arg]  # noqa: N801 - reads as a with statement
    """While it holds, a channel that psd-tools would replace by black is an error."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", PSDDecompressionWarning)


def merged(psd: PSDImage, colours: Colours, limits: ReadLimits) -> Rgba | None:
    """The merged picture the file carries, uint8 ``[height, width, 4]``; None where it says that it has none."""
    if not psd.has_preview():
        return None
    width, height = psd.width, psd.height
    limits.check_layer("merged picture", 0, 0, width, height)
    _check_length(psd)
    with unreadable("the merged picture"), strict_decompression():
        planes: Any = psd._record.image_data.get_data(psd._record.header)
    index = _alpha_index(psd, colours)
    colour = [colours.plane(planes[i], width, height) for i in range(min(colours.count, psd.channels))]
    out = np.empty((height, width, 4), np.uint8)
    out[..., 3] = 255
    if has_alpha(psd, colours):
        alpha = colours.plane(planes[index], width, height, linear=False)
        out[..., 3] = alpha
        if colours.mode in (ColorMode.RGB, ColorMode.GRAYSCALE):
            colour = [_without_white(plane, alpha) for plane in colour]
    out[..., :3] = colours.rgb(colour if len(colour) >= colours.count else colour[:1] * colours.count)
    out[out[..., 3] == 0] = 0
    return out


def has_alpha(psd: PSDImage, colours: Colours) -> bool:
    """Whether the merged picture has an alpha plane; without one it shows the document on white."""
    return colours.count <= _alpha_index(psd, colours) < psd.channels


def _alpha_index(psd: PSDImage, colours: Colours) -> int:
    """Which plane of the merged picture is its alpha; -1 where none is. A single extra plane without a name is: some
    programs write it and do not declare it."""
    index = get_transparency_index(psd) if has_transparency(psd) else -1
    named = any(psd.image_resources.get_data(key) for key in _ALPHA_NAMES)
    if index < 0 and psd.channels == colours.count + 1 and not named:
        return colours.count
    return index


def _check_length(psd: PSDImage) -> None:
    """Raises Rejected(UNREADABLE) where the merged picture's data ends early: psd-tools would go on with black."""
    stored, header = psd._record.image_data, psd._record.header
    rows = header.height * header.channels
    needed = rows * ((header.width * header.depth + 7) // 8)
    if stored.compression is Compression.RLE:
        counts = np.frombuffer(stored.data[: rows * 2 * header.version], ">u2" if header.version == 1 else ">u4")
        needed = (
            len(counts.tobytes()) + int(counts.sum(dtype=np.int64)) if len(counts) == rows else len(stored.data) + 1
        )
    if stored.compression in (Compression.RAW, Compression.RLE) and len(stored.data) < needed:
        raise Rejected(Code.UNREADABLE, "the file ends inside the merged picture")


def _without_white(plane: Plane, alpha: Plane) -> Plane:
    """The straight colour of a plane that is stored over white."""
    a = alpha.astype(np.float32)
    straight = (plane.astype(np.float32) + a - 255) * 255 / np.maximum(a, 1)
    return np.rint(straight).clip(0, 255).astype(np.uint8)


def _encode(light: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Linear light 0..1 as sRGB code values 0..1 (IEC 61966-2-1)."""
    encoded = np.where(light <= 0.0031308, light * 12.92, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055)
    return encoded.astype(np.float32)


def _lab(planes: Sequence[Plane]) -> npt.NDArray[np.uint8]:
    """8-bit CIELAB (D50; L 0..255, a and b offset by 128) as sRGB, adapted to D65 by Bradford."""
    lightness, a, b = (plane.astype(np.float32) for plane in planes[:3])
    fy = (lightness * (100 / 255) + 16) / 116
    f = np.stack([fy + (a - 128) / 500, fy, fy - (b - 128) / 200], axis=2)
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * np.array([0.9642, 1.0, 0.8249], np.float32)
    light = (xyz @ np.array(_XYZ_TO_RGB, np.float32).T).clip(0, 1).astype(np.float32)
    return np.rint(_encode(light) * 255).astype(np.uint8)
