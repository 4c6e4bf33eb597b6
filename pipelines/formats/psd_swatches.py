"""Colours of descriptors and of Photoshop 5 and 6 effects, in the document's own channels.

RGB documents take RGB values as they are: they are codes of the document's profile. In 32-bit documents they are
linear light.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import Any

import numpy as np
from psd_tools.constants import ColorMode
from psd_tools.psd.descriptor import Descriptor

from pipelines.formats.psd_colours import Colours
from pipelines.formats.psd_descriptors import finite
from pipelines.formats.style import Colour
from pipelines.srgb import encode

BLACK = (0.0, 0.0, 0.0)
_D50 = (0.9642, 1.0, 0.8249)
_XYZ_TO_RGB = (
    (3.1338561, -1.6168667, -0.4906146),
    (-0.9787684, 1.9161415, 0.0334540),
    (0.0719453, -0.2289914, 1.4052427),
)
"""XYZ of D50 to linear sRGB (Bradford)."""
_RGB = (b"Rd  ", b"Grn ", b"Bl  ")
_RGB_FLOAT = (b"redFloat", b"greenFloat", b"blueFloat")
_HSB = (b"H   ", b"Strt", b"Brgh")
_CMYK = (b"Cyn ", b"Mgnt", b"Ylw ", b"Blck")
_GRAY = (b"Gry ",)
_LAB = (b"Lmnc", b"A   ", b"B   ")


def colour_of(descriptor: Any, colours: Colours) -> Colour | None:
    """A colour object (``RGBC``, ``HSBC``, ``CMYC``, ``Grsc``, ``LbCl``, or a book's with any of their components) in
    the document's channels 0..1; None where it says no colour.
    """
    if not isinstance(descriptor, Descriptor):
        return None
    if (found := _read(descriptor, _RGB_FLOAT)) is not None:
        return of_rgb(found, colours)
    if (found := _read(descriptor, _RGB)) is not None:
        return of_rgb([value / 255 for value in found], colours)
    if (found := _read(descriptor, _CMYK)) is not None:
        return of_cmyk([1 - value / 100 for value in found], colours)
    if (found := _read(descriptor, _GRAY)) is not None:
        return of_gray(1 - found[0] / 100, colours)  # percent of black
    if (found := _read(descriptor, _LAB)) is not None:
        return of_lab(found, colours)
    if (found := _read(descriptor, _HSB)) is not None:
        hue, saturation, brightness = found
        return of_rgb(colorsys.hsv_to_rgb((hue / 360) % 1, _unit(saturation / 100), _unit(brightness / 100)), colours)
    return None


def of_rgb(rgb: Sequence[float], colours: Colours) -> Colour:
    """An RGB colour 0..1 in the document's channels."""
    levels = [_unit(value) for value in rgb]
    if colours.depth == 32:
        levels = [float(value) for value in encode(np.array(levels, np.float32))]
    return colours.codes(levels)


def of_gray(level: float, colours: Colours) -> Colour:
    """A gray, 0 black .. 1 white: of a gray document its own code."""
    level = _unit(level)
    if colours.count == 1 and colours.palette is None and colours.depth != 32:
        return (level, level, level)
    return of_rgb((level, level, level), colours)


def of_cmyk(left: Sequence[float], colours: Colours) -> Colour:
    """Cyan, magenta, yellow and black, each as what is left of white, 0..1."""
    cyan, magenta, yellow, black = (_unit(value) for value in left)
    if colours.mode is ColorMode.CMYK:
        return cyan, magenta, yellow, black
    return colours.codes((cyan * black, magenta * black, yellow * black))


def of_lab(lab: Sequence[float], colours: Colours) -> Colour:
    """CIELAB of D50: L 0..100, a and b -128..127."""
    lightness, a, b = min(100.0, max(0.0, lab[0])), *(min(127.0, max(-128.0, value)) for value in lab[1:3])
    if colours.mode is ColorMode.LAB:
        return lightness / 100, (a + 128) / 255, (b + 128) / 255
    fy = (lightness + 16) / 116
    f = np.array([fy + a / 500, fy, fy - b / 200])
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * _D50
    light = (np.array(_XYZ_TO_RGB) @ xyz).clip(0, 1).astype(np.float32)
    return colours.codes([float(value) for value in encode(light)])


def _read(descriptor: Descriptor, keys: tuple[bytes, ...]) -> list[float] | None:
    found = [finite(descriptor.get(key)) for key in keys]
    values = [value for value in found if value is not None]
    return values if len(values) == len(keys) else None


def _unit(value: float) -> float:
    return min(1.0, max(0.0, value))
