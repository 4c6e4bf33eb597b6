"""Adjustments made for RGB colours, applied to CMYK documents through the document's own conversion to sRGB and back.

What Photoshop does to inks there is not published; colours that the adjustment leaves alone keep their inks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from PIL import Image, ImageCms
from psd_tools.constants import ColorMode

from pipelines.formats import icc
from pipelines.formats.adjustments import Apply
from pipelines.formats.psd_colours import Colours
from pipelines.formats.tree import SRGB
from pipelines.formats.tree import Colours as Values

_SAME = 0.5 / 255
_Back = Callable[[Values, Values], Values]


def in_rgb(colours: Colours) -> Colours | None:
    """The colours that an adjustment for RGB works with: the document's own, sRGB of a CMYK one, None of others."""
    if colours.mode is ColorMode.CMYK:
        return replace(colours, mode=ColorMode.RGB, space=SRGB, profile=None)
    return colours if colours.mode is ColorMode.RGB else None


def through_rgb(adjust: Apply, colours: Colours) -> Apply:
    """``adjust`` for RGB, on the document's codes."""
    convert = colours.space.convert
    if colours.mode is not ColorMode.CMYK or convert is None:
        return adjust
    built = icc.inverse(colours.profile, "CMYK") if colours.profile else None
    back: _Back = _with_black if built is None else lambda inks, rgb: _separated(built, rgb)

    def apply(values: Values) -> Values:
        inks = np.asarray(values, np.float32)
        row = inks.reshape(1, -1, 4)
        rgb = (convert(np.rint(row * 255).astype(np.uint8)) / np.float32(255)).astype(np.float32)
        after = adjust(rgb)
        changed = (np.abs(after - rgb) > _SAME).any(axis=-1)
        out = row.copy()
        out[changed] = back(row[changed], after[changed])
        return out.reshape(inks.shape)

    return apply


def _separated(built: object, rgb: Values) -> Values:
    """sRGB ``[n, 3]`` as inks by the profile."""
    if not len(rgb):
        return np.zeros((0, 4), np.float32)
    image = Image.fromarray(np.rint(rgb * 255).astype(np.uint8)[None])
    inks = np.asarray(ImageCms.applyTransform(image, built))[0]  # type: ignore[arg-type]
    left: Values = (1 - inks / np.float32(255)).astype(np.float32)
    return left


def _with_black(inks: Values, rgb: Values) -> Values:
    """sRGB ``[n, 3]`` as inks whose products with black it is; black stays where it can."""
    black = np.maximum(inks[:, 3:], rgb.max(axis=-1, keepdims=True))
    return np.concatenate([rgb / np.maximum(black, np.float32(1e-6)), black], axis=-1).astype(np.float32)
