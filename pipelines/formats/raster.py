"""Image files inside documents: PNG and WebP to RGBA in sRGB with their header checked first, and back to PNG."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable

import numpy as np
from PIL import Image

from pipelines.errors import Rejected
from pipelines.formats import icc
from pipelines.formats.limits import ReadLimits, first_line, unreadable
from schemas.compositing import Rgba
from schemas.ledger import Code

FORMATS = ("PNG", "WEBP")


def opened(data: bytes, formats: tuple[str, ...]) -> Image.Image:
    """The header read, the pixels not yet; raises what Pillow does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Image.open(io.BytesIO(data), formats=formats)


def size_of(data: bytes, name: str, formats: tuple[str, ...] = FORMATS) -> tuple[int, int]:
    """(width, height) from an image's header; raises Rejected(UNREADABLE | TOO_LARGE)."""
    try:
        with opened(data, formats) as image:
            return image.size
    except Image.DecompressionBombError as error:
        raise Rejected(Code.TOO_LARGE, f"{name}: {first_line(error)}") from None
    except (OSError, ValueError, SyntaxError) as error:
        raise Rejected(Code.UNREADABLE, f"{name}: {first_line(error)}") from None


def decode(data: bytes, name: str, limits: ReadLimits, formats: tuple[str, ...] = FORMATS) -> Rgba:
    """An image file as uint8 ``[height, width, 4]``; raises Rejected(UNREADABLE | TOO_LARGE)."""
    width, height = size_of(data, name, formats)
    limits.check_layer(name, 0, 0, width, height)
    with unreadable(name), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with opened(data, formats) as image:
            return np.array(icc.rgba(eight_bit(image)))


def eight_bit(image: Image.Image) -> Image.Image:
    """16-bit gray as 8-bit gray (Pillow would cut it off at 255); everything else as it is."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, dtype=np.float64)
        return Image.fromarray(np.rint(values / 257).clip(0, 255).astype(np.uint8), "L")
    return image


def gray(data: bytes, name: str, limits: ReadLimits) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """A mask file as uint8 ``[height, width]``: its alpha where it has one, else its gray."""
    width, height = size_of(data, name)
    limits.check_layer(name, 0, 0, width, height)
    with unreadable(name), opened(data, FORMATS) as image:
        has_alpha = "A" in image.getbands() or "transparency" in image.info
        band = image.convert("RGBA").getchannel("A") if has_alpha else eight_bit(image).convert("L")
        return np.array(band, dtype=np.uint8).reshape(height, width)


def png(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], level: int = 3) -> bytes:
    """Lossless PNG of uint8 ``[height, width, 4]`` or ``[height, width]``."""
    out = io.BytesIO()
    mode = "RGBA" if pixels.ndim == 3 else "L"
    Image.fromarray(np.ascontiguousarray(pixels), mode).save(out, "PNG", compress_level=level)
    return out.getvalue()


def lazily(data: bytes, name: str, limits: ReadLimits) -> Callable[[], Rgba]:
    """``decode`` when called: what a Leaf keeps of an image file is its compressed bytes."""
    return lambda: decode(data, name, limits)
