"""The parameters of Photoshop's colour adjustments, from parsed blocks to functions on RGB colours.

Each takes the block's data and the document's colours, gives None where the colour mode has no such adjustment, and
may raise what broken data raises (``psd_adjust`` catches it).
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from psd_tools.constants import ColorMode

from pipelines.formats import adjust_lookup
from pipelines.formats.adjust_colour import (
    HueRange,
    black_white,
    channel_mixer,
    colorize,
    colour_balance,
    gradient_map,
    hue_saturation,
    photo_filter,
    selective_colour,
    vibrance,
)
from pipelines.formats.adjustments import Apply, drawn, number, per_channel
from pipelines.formats.psd_colours import Colours, encode

_OLD_DEGREES = 1.8
"""Photoshop 4 counted hues -100..100."""
_PLACES = 4096
_MOST_STOPS = 1024
_FULL = 65535
_XYZ_TO_RGB = np.array(
    [[3.1338561, -1.6168667, -0.4906146], [-0.9787684, 1.9161415, 0.0334540], [0.0719453, -0.2289914, 1.4052427]]
)
_WHITE = (0.9642, 1.0, 0.8249)
_WEIGHT_KEYS = ((b"Rd  ", 40), (b"Yllw", 60), (b"Grn ", 40), (b"Cyn ", 60), (b"Bl  ", 20), (b"Mgnt", 80))


def _is_rgb(colours: Colours) -> bool:
    return colours.mode is ColorMode.RGB


def hue_saturation_of(data: Any, colours: Colours, degrees: float = 1.0) -> Apply | None:
    """``hue2``: overall or colorized, and six ranges of hues."""
    if not _is_rgb(colours):
        return None
    if int(data.enable) == 1:
        hue, saturation, lightness = _turn(data.colorization, degrees)
        return colorize(hue, saturation, lightness)
    ranges = []
    for ends, settings in list(data.items)[:6]:
        start, full, fade, end = (number(value, -32768, 32767) for value in ends)
        ranges.append(HueRange(start, full, fade, end, *_turn(settings, degrees)))
    return hue_saturation(*_turn(data.master, degrees), ranges)


def old_hue_saturation_of(data: Any, colours: Colours) -> Apply | None:
    """``hue ``, which Photoshop 4 wrote."""
    return hue_saturation_of(data, colours, _OLD_DEGREES)


def _turn(settings: Any, degrees: float) -> tuple[float, float, float]:
    hue, saturation, lightness = settings
    return number(hue, -360, 360) * degrees, number(saturation, -100, 100) / 100, number(lightness, -100, 100) / 100


def balance_of(data: Any, colours: Colours) -> Apply | None:
    """``blnc``."""
    if not _is_rgb(colours):
        return None
    tones = [
        [number(value, -100, 100) / 100 for value in tone] for tone in (data.shadows, data.midtones, data.highlights)
    ]
    if [len(tone) for tone in tones] != [3, 3, 3]:
        raise ValueError("three channels each")
    return colour_balance(tones, bool(data.luminosity))


def vibrance_of(data: Any, colours: Colours) -> Apply | None:
    """``vibA``."""
    if not _is_rgb(colours):
        return None
    return vibrance(number(data.get(b"vibrance", 0), -100, 100) / 100, number(data.get(b"Strt", 0), -100, 100) / 100)


def black_white_of(data: Any, colours: Colours) -> Apply | None:
    """``blwh``."""
    if not _is_rgb(colours):
        return None
    weights = [number(data.get(key, default), -1000, 1000) / 100 for key, default in _WEIGHT_KEYS]
    tinted = bool(number(data.get(b"useTint", 0), 0, 1))
    return black_white(weights, _described(data[b"tintColor"]) if tinted else None)


def _described(colour: Any) -> tuple[float, float, float]:
    """A descriptor's colour as RGB 0..1."""
    if b"Rd  " in colour:
        red, green, blue = (number(colour[key], 0, 255) / 255 for key in (b"Rd  ", b"Grn ", b"Bl  "))
        return red, green, blue
    if b"H   " in colour:
        saturation, value = (number(colour[key], 0, 100) / 100 for key in (b"Strt", b"Brgh"))
        return colorsys.hsv_to_rgb(number(colour[b"H   "], -3600, 3600) / 360 % 1, saturation, value)
    if b"Lmnc" in colour:
        return _lab([number(colour[key], -128, 128) for key in (b"Lmnc", b"A   ", b"B   ")])
    gray = 1 - number(colour[b"Gry "], 0, 100) / 100
    return gray, gray, gray


def photo_filter_of(data: Any, colours: Colours) -> Apply | None:
    """``phfl``: version 2 has a colour of any kind, version 3 a Lab colour in hundredths or a 16.16 fixed-point XYZ."""
    if not _is_rgb(colours):
        return None
    if data.xyz is None:
        colour = _stored(int(data.color_space), data.color_components)
    else:
        first, second, third = (int(value) - (1 << 32 if int(value) >= 1 << 31 else 0) for value in data.xyz)
        if first <= 10_000 and max(abs(second), abs(third)) <= 12_800:
            colour = _lab([first / 100, second / 100, third / 100])
        else:
            colour = _xyz([value / 65536 for value in (first, second, third)])
    return photo_filter(colour, number(data.density, 0, 100) / 100, bool(data.luminosity))


def _stored(space: int, values: Sequence[int]) -> tuple[float, float, float]:
    """A colour structure (space 0 RGB, 1 HSB, 2 CMYK, 7 Lab, 8 gray) as RGB 0..1."""
    first, second, third, fourth = (number(value, -32768, _FULL) for value in values)
    if space == 0:
        return first / _FULL, second / _FULL, third / _FULL
    if space == 1:
        return colorsys.hsv_to_rgb(first / _FULL % 1, second / _FULL, third / _FULL)
    if space == 2:  # what is left of white
        black = fourth / _FULL
        return first / _FULL * black, second / _FULL * black, third / _FULL * black
    if space == 7:
        a, b = (value - 65536 if value > 32767 else value for value in (second, third))
        return _lab([first / 100, a / 100, b / 100])
    if space == 8:
        gray = 1 - min(max(first / 10_000, 0), 1)
        return gray, gray, gray
    raise ValueError("an unknown colour space")


def _lab(lab: Sequence[float]) -> tuple[float, float, float]:
    """CIELAB of D50 as sRGB 0..1."""
    fy = (min(max(lab[0], 0), 100) + 16) / 116
    steps = (fy + lab[1] / 500, fy, fy - lab[2] / 200)
    powers = [step**3 if step > 6 / 29 else 3 * (6 / 29) ** 2 * (step - 4 / 29) for step in steps]
    return _xyz([power * white for power, white in zip(powers, _WHITE, strict=True)])


def _xyz(xyz: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = encode(np.clip(_XYZ_TO_RGB @ np.array(xyz), 0, 1).astype(np.float32)).clip(0, 1)
    return float(red), float(green), float(blue)


def mixer_of(data: Any, colours: Colours) -> Apply | None:
    """``mixr``: for each output channel four weights and a constant, in percent. Gray from one row where monochrome."""
    count = {ColorMode.RGB: 3, ColorMode.CMYK: 4}.get(colours.mode)
    if count is None or (data.monochrome and count == 4):
        return None
    rest = np.frombuffer(bytes(data.unknown), ">i2", len(data.unknown) // 2)
    rows = 1 if data.monochrome else count
    table = np.array([*data.data, *rest][: 5 * rows], np.float64).reshape(rows, 5) / 100
    return channel_mixer(table[:, :count].tolist(), table[:, 4].tolist())


def selective_of(data: Any, colours: Colours) -> Apply | None:
    """``selc``: the first of ten records is not used."""
    if not _is_rgb(colours):
        return None
    plates = [[number(value, -100, 100) / 100 for value in plate] for plate in list(data.data)[1:10]]
    if [len(plate) for plate in plates] != [4] * 9:
        raise ValueError("nine records of four")
    return selective_colour(plates, int(data.method) == 0)


def lookup_of(data: Any, colours: Colours) -> Apply | None:
    """``clrL``: the table file it carries, else the device link that Photoshop made from it."""
    if not _is_rgb(colours):
        return None
    found = data.get(b"LUT3DFileData")
    table = None
    if found is not None:
        table = _file(bytes(found.value), _enum(data.get(b"LUTFormat")), _enum(data.get(b"tableOrder")))
    return adjust_lookup.lookup(table or adjust_lookup.device_link(bytes(data[b"profile"].value)))


def _enum(value: Any) -> bytes:
    return bytes(value.enum) if value is not None else b""


def _file(data: bytes, kind: bytes, order: bytes) -> adjust_lookup.Lookup | None:
    try:
        if b"3DL" in kind:
            return adjust_lookup.three_dl(data, order.startswith(b"bgr"))
        return adjust_lookup.cube(data, not order.startswith(b"rgb"))
    except ValueError:
        return None


def gradient_map_of(data: Any, colours: Colours) -> Apply | None:
    """``grdm``: a gradient over the luminosity; noise gradients are not drawn."""
    if colours.mode is not ColorMode.RGB and colours.count != 1:
        return None
    if int(data.mode) == 1 or not 1 <= len(data.color_stops) <= _MOST_STOPS:
        return None
    places = [number(stop.location, 0, _PLACES) for stop in data.color_stops]
    middles = [number(stop.midpoint, 1, 99) / 100 for stop in data.color_stops]
    codes = [colours.codes(_stored(int(stop.mode), stop.color)) for stop in data.color_stops]
    smooth = number(data.interpolation, 0, _PLACES) / _PLACES
    drawn_ramp = ramp(np.array(places) / _PLACES, np.array(middles), np.array(codes, np.float64), smooth)
    drawn_ramp = drawn_ramp[::-1] if data.is_reversed else drawn_ramp
    return gradient_map(drawn_ramp) if _is_rgb(colours) else per_channel([drawn(drawn_ramp[:, 0].tolist())])


def ramp(
    places: npt.NDArray[np.float64],
    middles: npt.NDArray[np.float64],
    codes: npt.NDArray[np.float64],
    smooth: float,
    count: int = 1024,
) -> npt.NDArray[np.float32]:
    """``count`` evenly spaced colours of stops at ``places`` 0..1 with colours ``codes`` ``[stops, channels]``.

    ``middles``: how far from the stop before (0..1) the mixture is even. ``smooth`` 0..1: from straight lines to
    Catmull-Rom.
    """
    order = np.argsort(places, kind="stable")
    places, middles, codes = places[order], middles[order], codes[order]
    at = np.clip(np.linspace(0, 1, count), places[0], places[-1])
    i = np.clip(np.searchsorted(places, at, side="right") - 1, 0, max(len(places) - 2, 0))
    j = np.minimum(i + 1, len(places) - 1)
    share = np.clip((at - places[i]) / np.maximum(places[j] - places[i], 1e-9), 0, 1)
    middle = middles[j]
    share = np.where(share < middle, share / middle / 2, 0.5 + (share - middle) / (1 - middle) / 2)[:, None]
    before, behind = codes[np.maximum(i - 1, 0)], codes[np.minimum(j + 1, len(places) - 1)]
    a, b = codes[i], codes[j]
    straight = a + (b - a) * share
    bent = (
        a
        + share
        * ((b - before) + share * (2 * before - 5 * a + 4 * b - behind + share * (3 * (a - b) + behind - before)))
        / 2
    )
    return np.asarray(np.clip(straight + (bent - straight) * smooth, 0, 1), np.float32)
