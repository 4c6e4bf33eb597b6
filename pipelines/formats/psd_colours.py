"""A PSD document's own colours: the space it is composed in, stored planes to its 8-bit codes, and sRGB to codes.

Indexed documents become RGB while they are read, duotones and bitmaps gray. 32-bit documents are linear light and are
composed as such, though they are kept as the sRGB codes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms
from psd_tools import PSDImage
from psd_tools.constants import ColorMode, Resource

from pipelines.formats import icc
from pipelines.formats.tree import Space
from pipelines.srgb import decode, encode

Plane = npt.NDArray[np.uint8]
Codes = npt.NDArray[np.uint8]
_STORED = {ColorMode.RGB: 3, ColorMode.CMYK: 4, ColorMode.LAB: 3}
_PIL = {ColorMode.RGB: "RGB", ColorMode.INDEXED: "RGB", ColorMode.CMYK: "CMYK", ColorMode.LAB: "LAB"}
_LUMA = (0.2126, 0.7152, 0.0722)
_RGB_TO_XYZ = np.array(
    [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
)
"""Linear sRGB to XYZ of D50 (Bradford)."""
_XYZ_TO_RGB = np.linalg.inv(_RGB_TO_XYZ).astype(np.float32)
_WHITE = np.array([0.9642, 1.0, 0.8249], np.float32)
_ROWS = 256
_SIXTEEN = ((np.arange(65536, dtype=np.uint32) * 255 + 32_767) // 65_535).astype(np.uint8)
_SIXTEEN = _SIXTEEN[np.arange(65536, dtype=np.uint16).byteswap()]
"""16-bit values, read with their bytes swapped, as 8-bit codes."""


@dataclass(frozen=True)
class Colours:
    """How a document stores colours. ``profile``: its ICC profile where it counts."""

    mode: ColorMode
    depth: int
    version: int
    space: Space
    palette: npt.NDArray[np.uint8] | None = None
    profile: bytes | None = None

    @classmethod
    def of(cls, psd: PSDImage) -> Colours:
        palette = None
        if psd.color_mode is ColorMode.INDEXED:
            table = np.frombuffer(psd._record.color_mode_data.value, np.uint8)
            palette = np.zeros((256, 3), np.uint8)
            full = table[: table.size // 3 * 3].reshape(3, -1).T[:256]
            palette[: len(full)] = full
        stored = psd.image_resources.get_data(Resource.ICC_PROFILE)
        profile = bytes(stored) if stored and psd.depth != 32 and psd.color_mode is not ColorMode.LAB else None
        space = replace(space_of(psd.color_mode, profile), linear=psd.depth == 32)
        return cls(psd.color_mode, psd.depth, psd.version, space, palette, profile)

    @property
    def count(self) -> int:
        """Colour planes that the file stores."""
        return _STORED.get(self.mode, 1)

    @property
    def channels(self) -> int:
        """Colour channels of the codes: 4 for CMYK, else 3."""
        return self.space.channels

    def plane(self, data: bytes, width: int, height: int, linear: bool = True) -> Plane:
        """One stored channel as uint8 ``[height, width]``. ``linear``: of a 32-bit document, whether to encode as
        sRGB.
        """
        if self.depth == 8:
            return np.frombuffer(data, np.uint8, width * height).reshape(height, width)
        if self.depth == 16:
            codes: Plane = _SIXTEEN[np.frombuffer(data, "<u2", width * height)]
            return codes.reshape(height, width)
        if self.depth == 32:
            light = np.nan_to_num(np.frombuffer(data, ">f4", width * height).astype(np.float32)).clip(0, 1)
            value = encode(light) if linear else light
            levels: Plane = np.rint(value * 255).astype(np.uint8)
            return levels.reshape(height, width)
        bits = np.frombuffer(data, np.uint8).reshape(height, -1)
        return ((1 - np.unpackbits(bits, axis=1, count=width)) * 255).astype(np.uint8)  # a set bit is black

    def fill(self, out: Codes, planes: Sequence[Plane]) -> None:
        """Write stored planes ``[h, w]`` as codes into ``out`` ``[h, w, channels or more]``."""
        if self.palette is not None:
            out[..., :3] = self.palette[planes[0]]
            return
        for channel in range(self.channels):
            out[..., channel] = planes[channel if self.count > 1 else 0]

    def rgb(self, planes: Sequence[Plane]) -> npt.NDArray[np.uint8]:
        """Stored planes ``[h, w]`` as sRGB ``[h, w, 3]``."""
        codes = np.empty((*planes[0].shape, self.channels), np.uint8)
        self.fill(codes, planes)
        return codes if self.space.convert is None else self.space.convert(codes)

    def codes(self, rgb: Sequence[float]) -> tuple[float, ...]:
        """An RGB colour 0..1 as the document's codes 0..1. RGB documents take it as it is: colours of descriptors are
        their own; elsewhere it is sRGB.
        """
        red, green, blue = (min(1.0, max(0.0, float(value))) for value in rgb)
        if (self.channels == 3 and self.count == 3 and self.mode is not ColorMode.LAB) or self.palette is not None:
            return red, green, blue
        if self.mode is ColorMode.LAB:
            return _to_lab((red, green, blue))
        cmyk = self.mode is ColorMode.CMYK
        back = icc.inverse(self.profile, "CMYK" if cmyk else "L") if self.profile else None
        if back is not None:
            level = np.rint(np.array([[[red, green, blue]]]) * 255).astype(np.uint8)
            found = np.asarray(ImageCms.applyTransform(Image.fromarray(level), back)) / 255.0
            return tuple(1 - float(ink) for ink in found[0, 0]) if cmyk else (float(found[0, 0]),) * 3
        if cmyk:
            return red, green, blue, 1.0
        light = float((np.array(_LUMA) * decode(np.array((red, green, blue)))).sum())
        return (red,) * 3 if red == green == blue else (float(encode(np.array(light, np.float32))),) * 3


def space_of(mode: ColorMode, profile: bytes | None) -> Space:
    """The space of a colour mode with a profile, or without one."""
    kind = _PIL.get(mode, "L")
    built = icc.transform(profile, kind) if profile else None
    if mode is ColorMode.LAB:
        return Space("Lab", 3, _from_lab)
    if mode is ColorMode.CMYK:
        return Space("CMYK", 4, partial(_shown, partial(_from_cmyk, built)))
    if built is None:
        return Space("gray" if kind == "L" else "sRGB")
    return Space(
        "gray" if kind == "L" else "RGB", 3, partial(_shown, partial(_from_gray if kind == "L" else _from_rgb, built))
    )


Convert = Callable[[Codes], Codes]


def _shown(convert: Convert, codes: Codes) -> Codes:
    """Pillow has no pictures without pixels."""
    return convert(np.ascontiguousarray(codes)) if codes.size else np.zeros((*codes.shape[:2], 3), np.uint8)


def _applied(image: Image.Image, built: Any) -> Codes:
    found: Codes = np.asarray(ImageCms.applyTransform(image, built))
    return found


def _from_rgb(built: Any, codes: Codes) -> Codes:
    return _applied(Image.fromarray(codes), built)


def _from_gray(built: Any, codes: Codes) -> Codes:
    return _applied(Image.fromarray(np.ascontiguousarray(codes[..., 0])), built)


def _from_cmyk(built: Any, codes: Codes) -> Codes:
    image = Image.frombytes("CMYK", (codes.shape[1], codes.shape[0]), (255 - codes).tobytes())  # Pillow wants ink
    return np.asarray(image.convert("RGB")) if built is None else _applied(image, built)


def _from_lab(codes: Codes) -> Codes:
    """8-bit CIELAB (D50; L 0..255, a and b offset by 128) as sRGB."""
    out = np.empty(codes.shape, np.uint8)
    for top in range(0, len(codes), _ROWS):
        lightness, a, b = (codes[top : top + _ROWS, :, i].astype(np.float32) for i in range(3))
        fy = (lightness * (100 / 255) + 16) / 116
        f = np.stack([fy + (a - 128) / 500, fy, fy - (b - 128) / 200], axis=2)
        xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * _WHITE
        light = (xyz @ _XYZ_TO_RGB.T).clip(0, 1).astype(np.float32)
        out[top : top + _ROWS] = np.rint(encode(light) * 255).astype(np.uint8)
    return out


def _to_lab(rgb: tuple[float, float, float]) -> tuple[float, ...]:
    xyz = _RGB_TO_XYZ @ decode(np.array(rgb)) / _WHITE
    fx, fy, fz = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    lab = (116 * fy - 16) / 100, (500 * (fx - fy) + 128) / 255, (200 * (fy - fz) + 128) / 255
    return tuple(min(1.0, max(0.0, float(value))) for value in lab)
