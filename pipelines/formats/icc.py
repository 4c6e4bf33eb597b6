"""Embedded ICC profiles: littleCMS transforms to sRGB and back, relative colorimetric with black point compensation."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from pipelines.errors import Rejected
from schemas.ledger import Code

_ERRORS = (ImageCms.PyCMSError, OSError, ValueError, TypeError, OverflowError)
MAX_BYTES = 4 << 20
"""Of a profile: the largest of presses and printers are half of it, and what was built from it is kept."""
_KEPT = 8
_STEPS = 9
_SAME = 1  # levels


def transform(profile: bytes, mode: str) -> Any:
    """The transform of Pillow's ``RGB``, ``L`` or ``CMYK`` to sRGB; None for a profile that is sRGB in effect (within
    one level) and for one of no use: its colours are taken as they are, as viewers do. Raises Rejected(TOO_LARGE).
    """
    _check(profile)
    return _to_srgb(profile, mode)


def inverse(profile: bytes, mode: str) -> Any:
    """The transform of sRGB to the profile's ``RGB``, ``L`` or ``CMYK``; None for a profile of no use. Raises
    Rejected(TOO_LARGE).
    """
    _check(profile)
    return _from_srgb(profile, mode)


def _check(profile: bytes) -> None:
    if len(profile) > MAX_BYTES:
        raise Rejected(Code.TOO_LARGE, f"its colour profile has {len(profile)} bytes; the limit is {MAX_BYTES}")


@lru_cache(maxsize=_KEPT)
def _to_srgb(profile: bytes, mode: str) -> Any:
    built = _built(profile, mode, to_srgb=True)
    return None if built is not None and mode == "RGB" and _changes_nothing(built) else built


@lru_cache(maxsize=_KEPT)
def _from_srgb(profile: bytes, mode: str) -> Any:
    return _built(profile, mode, to_srgb=False)


def _built(profile: bytes, mode: str, *, to_srgb: bool) -> Any:
    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        srgb = ImageCms.createProfile("sRGB")
        source, target = ((own, mode), (srgb, "RGB")) if to_srgb else ((srgb, "RGB"), (own, mode))
        return ImageCms.buildTransform(
            source[0],
            target[0],
            source[1],
            target[1],
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except _ERRORS:
        return None


def _changes_nothing(built: Any) -> bool:
    """Whether a transform of RGB keeps a cube of colours within one level."""
    levels = np.linspace(0, 255, _STEPS).astype(np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(_STEPS, -1, 3)
    try:
        converted = ImageCms.applyTransform(Image.fromarray(cube), built)
    except _ERRORS:
        return True
    return int(np.abs(np.asarray(converted, np.int16) - cube).max()) <= _SAME


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
