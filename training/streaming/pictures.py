"""Pictures out of members: WebP at libwebp's own speed, PNG through Pillow, the header always checked first."""

from __future__ import annotations

import struct
from typing import cast

import cv2
import numpy as np

from schemas import images
from schemas.compositing import Rgba
from schemas.errors import ImageError
from training.errors import DamageError
from training.streaming.jobs import Bytes

cv2.setNumThreads(1)  # the stream spreads pictures over its own processes and threads

_HEADER = 64
_PNG = b"\x89PNG\r\n\x1a\n"
_ANIMATED = 0x02
_OPENCV_LEAST = 32
"""Bytes of a WebP below which OpenCV refuses it; a picture of one colour can have fewer."""


def decode(data: Bytes, size: tuple[int, int], out: Rgba | None = None) -> tuple[Rgba, bool]:
    """Decode a WebP or PNG member of (width, height) px ``size``: ``uint8 [height, width, 4]``, and if it is opaque.

    The pixels are those of ``schemas.images.decode``. They are written to ``out`` where it is given.

    Raises:
        DamageError: not WebP or PNG, of another size, over ``images.MAX_PIXELS``, animated, of 16 bit, or damaged.
    """
    head = bytes(data[:_HEADER])
    webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    try:
        found = _webp_size(head) if webp else _png_size(head)
    except struct.error:
        raise DamageError("damaged image: it ends inside its header") from None
    if found != size:
        raise DamageError(f"image is {found[0]} x {found[1]} px, its record says {size[0]} x {size[1]}")
    if size[0] * size[1] > images.MAX_PIXELS:
        raise DamageError(f"image of {size[0]} x {size[1]} px is over the limit of {images.MAX_PIXELS} px")
    if webp and len(data) >= _OPENCV_LEAST:
        return _by_opencv(data, size, out)
    pixels, opaque = _by_pillow(data, size)
    if out is None:
        return pixels, opaque
    out[...] = pixels
    return out, opaque


def _webp_size(head: bytes) -> tuple[int, int]:
    kind = head[12:16]
    if kind == b"VP8L":
        mark, bits = struct.unpack_from("<BI", head, 20)
        if mark == 0x2F and bits >> 29 == 0:
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8 ":
        start, width, height = struct.unpack_from("<3s2H", head, 23)
        if start == b"\x9d\x01\x2a":
            return width & 0x3FFF, height & 0x3FFF
    elif kind == b"VP8X":
        flags, width, width_high, height, height_high = struct.unpack_from("<B3xHBHB", head, 20)
        if flags & _ANIMATED:
            raise DamageError("image is animated")
        return (width_high << 16 | width) + 1, (height_high << 16 | height) + 1
    raise DamageError("damaged image: WebP without a frame")


def _png_size(head: bytes) -> tuple[int, int]:
    if head[:8] != _PNG or head[12:16] != b"IHDR":
        raise DamageError("damaged image: neither WebP nor PNG")
    width, height, depth = struct.unpack_from(">IIB", head, 16)
    if depth > 8:
        raise DamageError(f"image has {depth} bits a channel, not 8")
    return width, height


def _by_opencv(data: Bytes, size: tuple[int, int], out: Rgba | None) -> tuple[Rgba, bool]:
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        pixels = None
    if pixels is None or pixels.ndim != 3 or pixels.shape[1::-1] != size or pixels.dtype != np.uint8:
        raise DamageError("damaged image: it does not decode")
    opaque = pixels.shape[2] == 3
    return cast(Rgba, cv2.cvtColor(pixels, cv2.COLOR_BGR2RGBA if opaque else cv2.COLOR_BGRA2RGBA, dst=out)), opaque


def _by_pillow(data: Bytes, size: tuple[int, int]) -> tuple[Rgba, bool]:
    try:
        pixels = images.decode(bytes(data), size=size)
    except ImageError as error:
        raise DamageError(str(error)) from None
    return pixels, bool(pixels[..., 3].min() == 255)
