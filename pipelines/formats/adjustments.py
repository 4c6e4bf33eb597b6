"""Adjustments that act on each channel alone: tables from parameters, and functions on colours 0..1 from tables.

Every function here takes plain numbers and gives an ``Apply``: colours ``[..., channels]`` to the same shape, 0..1.
Formulas marked "observed" were confirmed on previews that Photoshop saved; those marked "measured" were measured in
Photoshop 2026 by the Patchy project (github.com/SethRobinson/Patchy, docs/adjustments-calibration.md and, for the toe
of Levels, docs/high-bit-depth.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines import srgb
from pipelines.formats.tree import Colours, PerChannel

Apply = Callable[[Colours], Colours]
Values = npt.NDArray[Any]
Table = npt.NDArray[np.float32]
"""float32 ``[STEPS + 1]``: what each level becomes, evenly spaced over 0..1."""

STEPS = 255 * 16
"""A multiple of 255, so that all 8-bit codes fall on an entry."""
GRID = np.linspace(0, 1, STEPS + 1)
IDENTITY: Table = GRID.astype(np.float32)
WEIGHTS = np.array([0.3, 0.59, 0.11], np.float32)
"""Photoshop's luminosity of red, green and blue codes."""
_GAMMA = (0.01, 9.99)
_MIDDLE = 127 / 255
_STOP = 110.0
"""Brightness that doubles dark colours (measured)."""
_FINE = np.linspace(0, 1, (1 << 15) + 1)
"""Where curves are sampled that are then inverted."""


def number(value: Any, low: float, high: float) -> float:
    """A number of a file, clipped. Raises ValueError or TypeError where it is none."""
    found = float(getattr(value, "value", value))
    if not math.isfinite(found):
        raise ValueError("not a finite number")
    return min(max(found, low), high)


def table_of(values: npt.ArrayLike) -> Table:
    """Values at the entries of ``GRID``, clipped to 0..1."""
    return np.clip(np.asarray(values, np.float64), 0, 1).astype(np.float32)


def to_codes(table: Table) -> Table:
    """Rounded to 8-bit codes, as Photoshop keeps the tables of 8-bit documents (observed)."""
    return table if table is IDENTITY else (np.rint(table * 255) / 255).astype(np.float32)


def of_light(table: Table) -> Table:
    """A table of linear light as one of sRGB codes."""
    if table is IDENTITY:
        return table
    return table_of(srgb.encode(np.interp(srgb.decode(GRID), GRID, table).clip(0, 1)))


def look_up(table: Table, colours: Colours) -> Colours:
    """Each value's entry: exact for 8-bit codes."""
    index = np.rint(np.asarray(colours, np.float32) * np.float32(STEPS)).astype(np.int32)
    return np.asarray(table.take(index, mode="clip"))


def per_channel(tables: Sequence[Table]) -> Apply:
    """One table a channel, or a single one for all."""
    only = tables[0]
    if all(table is only for table in tables):
        return PerChannel(lambda colours: look_up(only, colours))

    def apply(colours: Colours) -> Colours:
        return np.stack([look_up(table, colours[..., i]) for i, table in enumerate(tables)], axis=-1)

    return PerChannel(apply)


def after(first: Table, second: Table) -> Table:
    """``second`` applied to what ``first`` gives."""
    if first is IDENTITY:
        return second
    return first if second is IDENTITY else table_of(np.interp(first, GRID, second))


def luminosity(colours: Colours) -> Colours:
    """float32 ``[...]`` of red, green and blue ``[..., 3]``, or of inks ``[..., 4]``, each as what is left of white:
    that of the first three, times what black leaves (measured).
    """
    colours = np.asarray(colours, np.float32)
    bright = colours[..., :3] @ WEIGHTS
    return bright * colours[..., 3] if colours.shape[-1] == 4 else bright


def levels(black: float, white: float, low: float, high: float, gamma: float) -> Table:
    """Input ``black``..``white`` (0..1) to output ``low``..``high`` with a midtone ``gamma`` (observed)."""
    span = white - black
    inside = np.clip((GRID - black) / (span if abs(span) > 1e-9 else 1.0), 0, 1)
    return table_of(_midtones(inside, min(max(gamma, _GAMMA[0]), _GAMMA[1])) * (high - low) + low)


def _midtones(values: Values, gamma: float) -> Values:
    """``values ** (1 / gamma)``; for gammas above 1 a cubic toe leaves black with the slope 2^gamma and meets the
    power, with its slope, at 2^(-gamma - 1 / (gamma - 1)) (measured).
    """
    power = values ** (1 / gamma)
    end = 2.0 ** max(-gamma - 1 / (gamma - 1), -1000.0) if gamma > 1 else 0.0
    if end < 1e-6:
        return power
    there = end ** (1 / gamma)
    return np.where(values < end, _hermite(values / end, 0, there, end * 2**gamma, there / gamma), power)


def _hermite(at: Values, start: float, end: float, leaving: float, arriving: float) -> Values:
    """The cubic over 0..1 from ``start`` to ``end`` with these slopes there."""
    bend, rest = start - end, end - start
    return start + at * (leaving + at * (3 * rest - 2 * leaving - arriving + at * (2 * bend + leaving + arriving)))


def curve(points: Sequence[tuple[float, float]]) -> Table:
    """A natural cubic spline through (input, output) points 0..1, level beyond the first and last one (observed).

    Raises ValueError where fewer than two inputs differ.
    """
    knots = dict(sorted(points))
    x, y = np.array(list(knots)), np.array(list(knots.values()))
    if len(x) < 2:
        raise ValueError("a curve needs two points")
    bend = _second_derivatives(x, y)
    at = np.clip(GRID, x[0], x[-1])
    i = np.clip(np.searchsorted(x, at, side="right") - 1, 0, len(x) - 2)
    h = x[i + 1] - x[i]
    a, b = (x[i + 1] - at) / h, (at - x[i]) / h
    cubic = ((a**3 - a) * bend[i] + (b**3 - b) * bend[i + 1]) * h * h / 6
    return table_of(a * y[i] + b * y[i + 1] + cubic)


def drawn(values: Sequence[float]) -> Table:
    """Evenly spaced outputs 0..1, joined by lines."""
    return table_of(np.interp(GRID, np.linspace(0, 1, len(values)), values))


def _second_derivatives(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Of the natural spline at its knots: zero at both ends, continuous between."""
    n = len(x)
    h, slope = np.diff(x), np.diff(y) / np.diff(x)
    matrix, right = np.eye(n), np.zeros(n)
    for i in range(1, n - 1):
        matrix[i, i - 1 : i + 2] = h[i - 1], 2 * (h[i - 1] + h[i]), h[i]
        right[i] = 6 * (slope[i] - slope[i - 1])
    return np.asarray(np.linalg.solve(matrix, right))


def exposure(stops: float, offset: float, gamma: float, light: float = 2.2) -> Table:
    """In linear light, which is codes to the power ``light``: times 2^stops, plus offset, to 1/gamma (observed, and
    measured: plain powers, not the sRGB curve).
    """
    exposed = np.clip(GRID**light * 2.0 ** min(max(stops, -60), 60) + offset, 0, 1)
    return table_of(exposed ** (1 / (min(max(gamma, _GAMMA[0]), _GAMMA[1]) * light)))


def legacy_brightness_contrast(brightness: float, contrast: float) -> Table:
    """Both -100..100: levels added, and a slope about 127 (observed; measured at 127.5). Contrast comes first where
    it is negative; full contrast makes black of levels below 127, else white (measured).
    """
    shift, share = brightness / 255, min(max(contrast, -100), 100) / 100
    if share < 0:
        return table_of((GRID - _MIDDLE) * (1 + share) + _MIDDLE + shift)
    if share == 1:
        return table_of(GRID + shift >= 127 / 255 - 1e-9)
    return table_of((GRID + shift - _MIDDLE) / (1 - share) + _MIDDLE)


def modern_brightness_contrast(brightness: float, contrast: float) -> Table:
    """Brightness -150..150, then contrast -50..100 (measured: 449 of 452 curves to the byte).

    Brightness multiplies by 2^(brightness / 110) up to the middle, and a cubic bends from there to white; beyond 100
    that is done twice; darkening is the inverse. Contrast is a parabola below the middle and its mirror image above.
    """
    at: Values = GRID
    if brightness > 0:
        at = _brighter(at, min(brightness, 150.0))
    elif brightness < 0:
        at = np.interp(at, _brighter(_FINE, min(-brightness, 150.0)), _FINE)
    slope = 1 - 0.0076 * min(max(contrast, -100), 100)
    low = np.minimum(at, 1 - at)
    curved = (2 - 2 * slope) * low**2 + slope * low
    return table_of(np.where(at > 0.5, 1 - curved, curved))


def _brighter(values: Values, brightness: float) -> Values:
    """Brightness 0..200."""
    if brightness > 100:
        return _brighter(_brighter(values, 100), brightness - 100)
    gain = 2.0 ** (brightness / _STOP)
    middle = 0.5 / gain
    width = 1 - middle
    last = max(0.1, 1 / (1 + 12 * (gain - 1)))
    bent = _hermite((values - middle) / width, 0.5, 1, gain * width, last * width)
    return np.where(values < middle, values * gain, np.minimum(bent, 1))


INVERSE = table_of(1 - GRID)


def posterize(count: int, codes: bool = True) -> Table:
    """``count`` (2..255) equal input steps spread over 0..1; ``codes``: cut off to 8-bit codes (observed)."""
    count = min(max(count, 2), 255)
    share = 255 / 256 if codes else 65535 / 65536
    step = np.minimum(np.floor(GRID * share * count + 1e-6), count - 1) / (count - 1)
    return table_of(np.floor(step * 255 + 1e-6) / 255 if codes else step)


def threshold(level: int, colour: bool, rounded: bool = True) -> Apply:
    """White where the luminosity is at least ``level`` (0..255), else black; ``rounded`` to a whole level first.

    Of inks ``[..., 4]`` (each as what is left of white) the luminosity is rounded before black is taken in as well,
    and only black is printed (measured).
    """
    least = (level - (0.5 if rounded else 0.004)) / 255 - 1e-5

    def apply(colours: Colours) -> Colours:
        colours = np.asarray(colours, np.float32)
        inks = colours.shape[-1] == 4
        bright: Colours = luminosity(colours)[..., None] if colour or inks else colours
        if inks and rounded:
            bright = np.floor(luminosity(colours[..., :3]) * 255 + 0.501)[..., None] / 255 * colours[..., 3:]
        white = np.broadcast_to(bright >= least, colours.shape).astype(np.float32)
        if inks:
            white[..., :3] = 1
        return white

    return apply
