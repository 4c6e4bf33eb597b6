"""What a limited child process does to open one file of a user: a design as a stack, a picture as pixels."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import ImageOps

from pipelines.errors import Rejected
from pipelines.flatten import FlattenConfig, Stack, lower
from pipelines.formats import ReadLimits, fetch, icc, raster, read
from pipelines.formats.limits import unreadable
from schemas.compositing import Rgba
from schemas.ledger import Code

PICTURES = ("PNG", "JPEG", "WEBP")
MIN_SIDE, MAX_SIDE = 16, 16_384
"""Px of a picture."""
MAX_PIXELS = 1 << 26
MAX_BYTES = 1 << 28
"""Of a picture's file."""


def design(path: Path, scratch: Path, config: FlattenConfig, limits: ReadLimits) -> Stack:
    """A PSD, PSB, OpenRaster file or layer folder as a stack; ``scratch``: an empty directory for its copy.

    Raises:
        Rejected: it cannot be read.
    """
    fetched = fetch(str(path), scratch, limits, {})
    return lower(read(fetched.path, fetched.format, limits), config)


def picture(path: Path) -> Rgba:
    """A PNG, JPEG or WebP file upright and in sRGB, uint8 ``[height, width, 4]``. Its header is checked first.

    Raises:
        Rejected: it is none, is animated or damaged, or is too small or too large.
    """
    if not path.is_file():
        raise Rejected(Code.NOT_FOUND, "there is no such file")
    if path.stat().st_size > MAX_BYTES:
        raise Rejected(Code.TOO_LARGE, f"it has over {MAX_BYTES:,} bytes")
    data = path.read_bytes()
    width, height = raster.size_of(data, "it is no usable picture", PICTURES)
    if min(width, height) < MIN_SIDE:
        raise Rejected(Code.TOO_SMALL, f"it is {width} x {height} px; a picture has at least {MIN_SIDE} px a side")
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        most = f"at most {MAX_SIDE:,} px a side and {MAX_PIXELS:,} px"
        raise Rejected(Code.TOO_LARGE, f"it is {width} x {height} px; a picture has {most}: scale it down")
    with unreadable("it is damaged"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with raster.opened(data, PICTURES) as image:
            # The further pictures of an MPO, as phones and cameras save a JPEG, are previews and depths.
            if image.format != "MPO" and getattr(image, "is_animated", False):
                raise Rejected(Code.UNSUPPORTED, "it is animated: save one frame of it")
            return np.array(icc.rgba(raster.eight_bit(ImageOps.exif_transpose(image))))
