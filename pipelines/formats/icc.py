"""Embedded ICC profiles: the littleCMS transform to sRGB, relative colorimetric with black point compensation."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image, ImageCms


def transform(profile: bytes, mode: str) -> Any:
    """The transform of Pillow's ``RGB``, ``L`` or ``CMYK`` to sRGB; None for sRGB itself and a profile of no use."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if mode == "RGB" and "srgb" in ImageCms.getProfileDescription(source).lower():
            return None
        return ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None  # a broken profile: the colours are taken as they are, as viewers do


def rgba(image: Image.Image) -> Image.Image:
    """An 8-bit image as ``RGBA`` in sRGB, its alpha untouched."""
    plain = image.convert("RGBA")
    profile = image.info.get("icc_profile")
    mode = {"L": "L", "LA": "L", "1": "L", "CMYK": "CMYK"}.get(image.mode, "RGB")
    found = transform(profile, mode) if profile else None
    if found is None:
        return plain
    source = plain.convert("RGB") if mode == "RGB" else image.convert(mode)
    converted = ImageCms.applyTransform(source, found)
    assert converted is not None
    converted.putalpha(plain.getchannel("A"))
    return converted
