"""Image members: lossless encoding and bounded decoding of RGBA crops.

The default is lossless WebP with ``exact=True`` (without it the colour under transparency is thrown away); PNG for
designs over WebP's side limit of 16,383 px or for readers without WebP. A decoder checks the header's size before it
allocates.
"""

from __future__ import annotations

import io
import warnings
from enum import StrEnum

import numpy as np
from PIL import Image, UnidentifiedImageError

from schemas.compositing import Rgba
from schemas.errors import ImageError

WEBP_MAX_SIDE = 16_383
MAX_PIXELS = 178_956_970
"""Of one picture: where Pillow takes a file for a decompression bomb. Nothing larger is encoded either."""
DEFAULT_EFFORT = 1
_WEBP_QUALITY = (0, 20, 20, 20, 50, 75, 100)  # of the search, by effort; see infra/bench/results for what it buys


class Codec(StrEnum):
    """The image codec of a dataset; the value is the file extension of its members."""

    WEBP = "webp"
    PNG = "png"


def encode(pixels: Rgba, codec: Codec = Codec.WEBP, effort: int = DEFAULT_EFFORT) -> bytes:
    """Encode ``uint8 [height, width, 4]`` without loss. ``effort`` is WebP's method, 0..6; PNG's level is one more.

    Raises:
        ImageError: the picture is empty, over MAX_PIXELS or over the codec's side limit.
    """
    height, width = pixels.shape[:2]
    if height == 0 or width == 0:
        raise ImageError(f"an image of {width} x {height} px cannot be stored")
    if width * height > MAX_PIXELS:
        raise ImageError(f"an image of {width} x {height} px is over the limit of {MAX_PIXELS} px")
    if codec is Codec.WEBP and max(width, height) > WEBP_MAX_SIDE:
        raise ImageError(f"{width} x {height} px is over WebP's limit of {WEBP_MAX_SIDE} px a side; use the png codec")
    out = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(pixels), "RGBA")
    if codec is Codec.WEBP:
        image.save(out, "WEBP", lossless=True, exact=True, quality=_WEBP_QUALITY[effort], method=effort)
    else:
        image.save(out, "PNG", compress_level=effort + 1)
    return out.getvalue()


def decode(data: bytes, *, size: tuple[int, int] | None = None, max_pixels: int = MAX_PIXELS) -> Rgba:
    """Decode a WebP or PNG member to ``uint8 [height, width, 4]``.

    ``size`` is the (width, height) its record says. Nothing is allocated before size and ``max_pixels`` are checked.

    Raises:
        ImageError: not WebP or PNG, damaged, over the limit, or of another size.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=("WEBP", "PNG"))
        if size is not None and image.size != size:
            raise ImageError(f"image is {image.width} x {image.height} px, its record says {size[0]} x {size[1]}")
        if image.width * image.height > max_pixels:
            raise ImageError(f"image of {image.width} x {image.height} px is over the limit of {max_pixels} px")
        return np.array(image.convert("RGBA"))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageError(f"damaged image: {error}") from None
