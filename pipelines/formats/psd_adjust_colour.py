"""The parameters of Photoshop's colour adjustments, from parsed blocks to functions on the document's colours.

Each takes the block's data and the document's colours, gives None where the colour mode has no such adjustment, and
may raise what broken data raises (``psd_adjust`` catches it).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from psd_tools.constants import ColorMode
from psd_tools.psd.descriptor import Descriptor, Double, Integer, List

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
    selective_inks,
    vibrance,
)
from pipelines.formats.adjustments import Apply, drawn, number, per_channel
from pipelines.formats.psd_adjust_space import in_rgb, through_rgb
from pipelines.formats.psd_colours import Colours
from pipelines.formats.psd_descriptors import MAX_ITEMS
from pipelines.formats.psd_gradients import ramp
from pipelines.formats.psd_swatches import colour_of, of_lab
from pipelines.formats.style import Colour

_OLD_DEGREES = 1.8
"""Photoshop 4 counted hues -100..100."""
_STEP = 4.25
"""Steps of the 8-bit colour wheel in a degree (measured in Photoshop 2026 by the Patchy project,
docs/adjustments-calibration.md).
"""
_FULL = 65535
_KEYS = {
    0: (b"redFloat", b"greenFloat", b"blueFloat"),
    1: (b"H   ", b"Strt", b"Brgh"),
    2: (b"Cyn ", b"Mgnt", b"Ylw ", b"Blck"),
    7: (b"Lmnc", b"A   ", b"B   "),
    8: (b"Gry ",),
}
_WEIGHT_KEYS = ((b"Rd  ", 40), (b"Yllw", 60), (b"Grn ", 40), (b"Cyn ", 60), (b"Bl  ", 20), (b"Mgnt", 80))


def _is_rgb(colours: Colours) -> bool:
    return colours.mode is ColorMode.RGB


def hue_saturation_of(data: Any, colours: Colours, degrees: float = 1.0) -> Apply | None:
    """``hue2``: overall or colorized, and six ranges of hues."""
    if in_rgb(colours) is None:
        return None
    if int(data.enable) == 1:
        hue, saturation, lightness = _turn(data.colorization, degrees)
        return through_rgb(colorize(hue, saturation, _whole(lightness, colours)), colours)
    ranges = []
    for ends, settings in list(data.items)[:6]:
        start, full, fade, end = (number(value, -32768, 32767) for value in ends)
        ranges.append(HueRange(start, full, fade, end, *_turn(settings, degrees)))
    hue, saturation, lightness = _turn(data.master, degrees)
    if colours.depth == 8:
        hue = math.floor(hue * _STEP + 0.5) / _STEP
    return through_rgb(hue_saturation(hue, saturation, _whole(lightness, colours), ranges), colours)


def _whole(lightness: float, colours: Colours) -> float:
    """A share of lightness as 8-bit documents have it: cut to a code (measured, as ``_STEP``)."""
    return math.trunc(lightness * 255 + math.copysign(1e-6, lightness)) / 255 if colours.depth == 8 else lightness


def old_hue_saturation_of(data: Any, colours: Colours) -> Apply | None:
    """``hue ``, which Photoshop 4 wrote."""
    return hue_saturation_of(data, colours, _OLD_DEGREES)


def _turn(settings: Any, degrees: float) -> tuple[float, float, float]:
    hue, saturation, lightness = settings
    return number(hue, -360, 360) * degrees, number(saturation, -100, 100) / 100, number(lightness, -100, 100) / 100


def balance_of(data: Any, colours: Colours) -> Apply | None:
    """``blnc``."""
    if in_rgb(colours) is None:
        return None
    tones = [
        [number(value, -100, 100) / 100 for value in tone] for tone in (data.shadows, data.midtones, data.highlights)
    ]
    if [len(tone) for tone in tones] != [3, 3, 3]:
        raise ValueError("three channels each")
    return through_rgb(colour_balance(tones, bool(data.luminosity)), colours)


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
    return black_white(weights, _wanted(colour_of(data.get(b"tintColor"), colours)) if tinted else None)


def _wanted(colour: Colour | None) -> Colour:
    if colour is None:
        raise ValueError("no colour")
    return colour


def photo_filter_of(data: Any, colours: Colours) -> Apply | None:
    """``phfl``: version 2 has a colour of any kind, version 3 CIELAB in hundredths."""
    shown = in_rgb(colours)
    if shown is None:
        return None
    if data.xyz is None:
        colour = _wanted(colour_of(_stored(int(data.color_space), data.color_components), shown))
    else:
        signed = [(int(value) + (1 << 31)) % (1 << 32) - (1 << 31) for value in data.xyz]
        if not 0 <= signed[0] <= 10_000 or max(map(abs, signed[1:])) > 12_800:
            return None
        colour = of_lab([value / 100 for value in signed], shown)
    return through_rgb(photo_filter(colour, number(data.density, 0, 100) / 100, bool(data.luminosity)), colours)


def _stored(space: int, values: Sequence[int]) -> Descriptor:
    """A colour structure (space 0 RGB, 1 HSB, 2 CMYK, 7 Lab, 8 gray) as the colour object of a descriptor."""
    levels = [number(value, -32768, _FULL) for value in values]
    if space == 7:
        levels = [(level - _FULL - 1 if level > 32767 else level) / 100 for level in levels]
    elif space == 2:  # stored as what is left of white
        levels = [100 - level / _FULL * 100 for level in levels]
    elif space in (0, 1, 8):
        full = {0: (1, 1, 1), 1: (360, 100, 100), 8: (_FULL / 100,)}[space]
        levels = [level / _FULL * most for level, most in zip(levels, full, strict=False)]
    else:
        raise ValueError("an unknown colour space")
    return _descriptor(dict(zip(_KEYS[space], map(Double, levels), strict=False)))


def _descriptor(values: Mapping[bytes, Any]) -> Descriptor:
    found = Descriptor()
    for key, value in values.items():
        found[key] = value
    return found


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
    if in_rgb(colours) is None:
        return None
    plates = [[number(value, -100, 100) / 100 for value in plate] for plate in list(data.data)[1:10]]
    if [len(plate) for plate in plates] != [4] * 9:
        raise ValueError("nine records of four")
    return (selective_colour if _is_rgb(colours) else selective_inks)(plates, int(data.method) == 0)


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
    stops = data.color_stops
    if colours.mode is ColorMode.LAB or int(data.mode) == 1 or not 1 <= len(stops) <= MAX_ITEMS:
        return None
    marks: list[Any] = [
        _descriptor(
            {
                b"Clr ": _stored(int(stop.mode), stop.color),
                b"Lctn": Integer(int(stop.location)),
                b"Mdpn": Integer(int(stop.midpoint)),
            }
        )
        for stop in stops
    ]
    problems: list[str] = []
    method = bytes(getattr(data.method, "value", data.method))
    smooth = Integer(int(data.interpolation))
    levels = ramp(_descriptor({b"Clrs": List(marks), b"Intr": smooth}), colours, problems, method)[:, :-1]
    if problems:
        return None
    levels = levels[::-1] if data.is_reversed else levels
    return per_channel([drawn(levels[:, 0].tolist())]) if colours.count == 1 else gradient_map(levels)
