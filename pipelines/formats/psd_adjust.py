"""Photoshop's adjustment layers as functions on the document's colours, from the tagged blocks that psd-tools parsed.

A block that is broken, or an adjustment that makes no sense in the document's colour mode, has a name but no function.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from psd_tools.api.layers import AdjustmentLayer, PixelLayer
from psd_tools.constants import ColorMode, Tag

from pipelines import srgb
from pipelines.formats import psd_adjust_colour as colour
from pipelines.formats.adjustments import (
    IDENTITY,
    INVERSE,
    Apply,
    Table,
    after,
    curve,
    drawn,
    exposure,
    legacy_brightness_contrast,
    levels,
    modern_brightness_contrast,
    number,
    of_light,
    per_channel,
    posterize,
    threshold,
    to_codes,
)
from pipelines.formats.psd_colours import Colours

_Reader = Callable[[Any, Colours], Apply | None]
_BROKEN = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, struct.error)
_NO_CHANNELS = (ColorMode.BITMAP, ColorMode.INDEXED)
_SIGNED = 32768
_MIDDLE = 128
_DOT_GAIN = 1.75


def adjustment_of(layer: Any, colours: Colours) -> tuple[str, Apply | None] | None:
    """None where the layer is no adjustment layer; else its kind and its function, None where there is none."""
    if not isinstance(layer, AdjustmentLayer | PixelLayer) or layer.has_pixels():
        return None  # old adjustments appear as layers without pixels
    for tag, (kind, read) in _READERS.items():
        if tag in layer.tagged_blocks:
            return kind, _read(read, layer.tagged_blocks, tag, colours)
    return (type(layer).__name__.lower(), None) if isinstance(layer, AdjustmentLayer) else None


def _read(read: _Reader, blocks: Any, tag: Tag, colours: Colours) -> Apply | None:
    if colours.mode in _NO_CHANNELS:
        return None
    try:
        data = (blocks.get_data(Tag.CONTENT_GENERATOR_EXTRA_DATA), blocks.get_data(tag))
        return read(data if read is _brightness else data[1], colours)
    except _BROKEN:
        return None


def _is_gray(colours: Colours) -> bool:
    return colours.count == 1


def _channels(tables: dict[int, Table], colours: Colours) -> Apply:
    """Tables by Photoshop's channel number: 0 for all channels together, applied last, then one each. Gray and Lab
    documents have no such 0.
    """
    if _is_gray(colours):
        return per_channel([_stored(tables.get(1, IDENTITY), colours)])
    together = IDENTITY if colours.mode is ColorMode.LAB else tables.get(0, IDENTITY)
    if all(i == 0 or table is IDENTITY for i, table in tables.items()):
        return per_channel([_stored(together, colours)])
    each = (after(tables.get(i + 1, IDENTITY), together) for i in range(colours.channels))
    return per_channel([_stored(table, colours) for table in each])


def _stored(table: Table, colours: Colours) -> Table:
    """As Photoshop keeps a table: codes for 8-bit documents; of linear light in 32-bit documents (measured in
    Photoshop 2026 by the Patchy project, docs/high-bit-depth.md).
    """
    return to_codes(table) if colours.depth == 8 else of_light(table) if colours.depth == 32 else table


def _levels(data: Any, colours: Colours) -> Apply:
    tables = {}
    for i, record in enumerate(list(data)[: colours.channels + 1]):
        ends = (record.input_floor, record.input_ceiling, record.output_floor, record.output_ceiling)
        black, white, low, high = (number(end, 0, 255) / 255 for end in ends)
        gamma = number(record.gamma, 0, 65535) / 100
        plain = (black, white, low, high, gamma) == (0, 1, 0, 1, 1)
        tables[i] = IDENTITY if plain else levels(black, white, low, high, gamma)
    return _channels(tables, colours)


def _curves(data: Any, colours: Colours) -> Apply:
    if data.extra is not None:
        stored = {int(item.channel_id): item.points for item in data.extra}
    else:
        numbers = [i for i in range(32) if data.count_map >> i & 1] if data.version == 1 else range(len(data.data))
        stored = dict(zip(numbers, data.data, strict=False))
    wanted = range(colours.channels + 1)
    tables = {i: _curve(points) for i, points in stored.items() if i in wanted}
    if colours.depth == 8:  # rounded between the two stages as well, unlike levels (measured, as above)
        tables = {i: to_codes(table) for i, table in tables.items()}
    return _channels(tables, colours)


def _curve(points: Any) -> Table:
    """256 levels drawn by hand, or (output, input) points."""
    if len(points) == 256 and isinstance(points[0], int):
        return drawn([number(level, 0, 255) / 255 for level in points])
    pairs = [(number(x, 0, 255) / 255, number(y, 0, 255) / 255) for y, x in points]
    return IDENTITY if all(x == y for x, y in pairs) and {0.0, 1.0} <= dict(pairs).keys() else curve(pairs)


def _exposure(data: Any, colours: Colours) -> Apply | None:
    if colours.mode in (ColorMode.CMYK, ColorMode.LAB):
        return None
    stops, offset, gamma = (number(value, -100, 100) for value in (data.exposure, data.offset, data.gamma))
    if colours.depth == 32:
        return per_channel([of_light(exposure(stops, offset, gamma, 1.0))])
    return per_channel([exposure(stops, offset, gamma, _light(colours))])


def _light(colours: Colours) -> float:
    """The power of codes that is linear light, by the middle of the gray axis. Gray without a profile is taken as
    Photoshop's own setting, 20 % dot gain.
    """
    if colours.space.convert is None:
        return _DOT_GAIN if _is_gray(colours) else 2.2
    shown = colours.space.convert(np.full((1, 1, 3), _MIDDLE, np.uint8))[0, 0, 1] / 255
    light = float(srgb.decode(np.array(shown)))
    return min(max(math.log(max(light, 1e-4)) / math.log(_MIDDLE / 255), 1.0), 3.0)


def _brightness(data: tuple[Any, Any], colours: Colours) -> Apply:
    """The descriptor where there is one, else the old block, which psd-tools reads without signs."""
    modern, old = data
    if modern is not None and b"Brgh" in modern:
        shift, contrast = number(modern[b"Brgh"], -255, 255), number(modern[b"Cntr"], -255, 255)
        legacy = bool(modern.get(b"useLegacy", False))
    else:
        values = ((int(value) + _SIGNED) % (2 * _SIGNED) - _SIGNED for value in (old.brightness, old.contrast))
        shift, contrast = (number(value, -255, 255) for value in values)
        legacy = True
    table = (legacy_brightness_contrast if legacy else modern_brightness_contrast)(shift, contrast)
    table = to_codes(table) if colours.depth == 8 else table
    lightness_only = colours.mode is ColorMode.LAB
    return per_channel([table, IDENTITY, IDENTITY] if lightness_only else [table])


def _posterize(data: Any, colours: Colours) -> Apply | None:
    return (
        None
        if colours.mode is ColorMode.LAB
        else per_channel([posterize(int(number(data, 0, 65535)), colours.depth == 8)])
    )


def _threshold(data: Any, colours: Colours) -> Apply | None:
    if colours.mode is ColorMode.LAB:
        return None
    return threshold(int(number(data, 0, 65535)), not _is_gray(colours), colours.depth == 8)


def _invert(data: Any, colours: Colours) -> Apply:
    return per_channel([INVERSE])


_READERS: dict[Tag, tuple[str, _Reader]] = {
    Tag.BRIGHTNESS_AND_CONTRAST: ("brightness-contrast", _brightness),
    Tag.LEVELS: ("levels", _levels),
    Tag.CURVES: ("curves", _curves),
    Tag.EXPOSURE: ("exposure", _exposure),
    Tag.VIBRANCE: ("vibrance", colour.vibrance_of),
    Tag.HUE_SATURATION: ("hue-saturation", colour.hue_saturation_of),
    Tag.HUE_SATURATION_V4: ("hue-saturation", colour.old_hue_saturation_of),
    Tag.COLOR_BALANCE: ("color-balance", colour.balance_of),
    Tag.BLACK_AND_WHITE: ("black-and-white", colour.black_white_of),
    Tag.PHOTO_FILTER: ("photo-filter", colour.photo_filter_of),
    Tag.CHANNEL_MIXER: ("channel-mixer", colour.mixer_of),
    Tag.COLOR_LOOKUP: ("color-lookup", colour.lookup_of),
    Tag.INVERT: ("invert", _invert),
    Tag.POSTERIZE: ("posterize", _posterize),
    Tag.THRESHOLD: ("threshold", _threshold),
    Tag.GRADIENT_MAP: ("gradient-map", colour.gradient_map_of),
    Tag.SELECTIVE_COLOR: ("selective-color", colour.selective_of),
    Tag.CONTENT_GENERATOR_EXTRA_DATA: ("brightness-contrast", _brightness),
}
