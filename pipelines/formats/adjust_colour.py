"""Adjustments that mix the channels of RGB colours: hue and saturation, balance, filters, mixers, selective colour.

"Measured" is what the Patchy project measured in Photoshop 2026 (github.com/SethRobinson/Patchy,
docs/adjustments-calibration.md). Where Photoshop's formula is neither published nor measured, the nearest published
reimplementation is followed; the docstring says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines import srgb
from pipelines.formats.adjustments import GRID, Apply, Table, look_up, luminosity, per_channel, table_of
from pipelines.formats.tree import Colours

Plane = npt.NDArray[np.float32]
"""float32 ``[...]``, one value a pixel."""
_STRONGEST = 128.0
"""The chroma factor of saturation 1 (measured)."""
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)


def with_luminosity(colours: Colours, wanted: Colours) -> Colours:
    """Colours ``[..., 3]`` moved along gray to a luminosity ``[...]``, then drawn towards it where they leave 0..1
    (the SetLum of the PDF blend modes).
    """
    moved = colours + (wanted - luminosity(colours))[..., None]
    gray = np.clip(wanted, 0, 1)[..., None]
    high, low = (end[..., None] for end in _ends(moved))
    down = np.where(low < 0, gray / np.maximum(gray - low, 1e-6), 1)
    up = np.where(high > 1, (1 - gray) / np.maximum(high - gray, 1e-6), 1)
    return np.clip(gray + (moved - gray) * np.minimum(down, up), 0, 1).astype(np.float32)


def _ends(colours: Colours) -> tuple[Colours, Colours]:
    """The largest and smallest channel of ``[..., 3]``; numpy's own reductions are slow over a short axis."""
    r, g, b = colours[..., 0], colours[..., 1], colours[..., 2]
    return np.maximum(np.maximum(r, g), b), np.minimum(np.minimum(r, g), b)


def _sorted(colours: Colours) -> tuple[Colours, Colours, Colours]:
    """The smallest, middle and largest channel of ``[..., 3]``."""
    r, g, b = colours[..., 0], colours[..., 1], colours[..., 2]
    low, high = np.minimum(r, g), np.maximum(r, g)
    return np.minimum(low, b), np.maximum(low, np.minimum(high, b)), np.maximum(high, b)


def _hue(colours: Colours, high: Plane, low: Plane) -> Plane:
    """Degrees 0..360; 0 for grays."""
    r, g, b = colours[..., 0], colours[..., 1], colours[..., 2]
    chroma = np.maximum(high - low, np.float32(1e-9))
    red = (g - b) / chroma
    red = np.where(red < 0, red + 6, red)
    sector = np.where(high == r, red, np.where(high == g, (b - r) / chroma + 2, (r - g) / chroma + 4))
    return np.where(high > low, sector * 60, 0).astype(np.float32)


def _from_hue(hue: Plane) -> Plane:
    """``[..., 3]``: the pure colours of hues 0..360 degrees."""
    sector, pure = hue / 60, np.empty((*hue.shape, 3), np.float32)
    for i, start in enumerate((0, 4, 2)):
        ramp = sector + np.float32(start)
        ramp = np.where(ramp >= 6, ramp - 6, ramp)
        pure[..., i] = np.clip(np.abs(ramp - 3) - 1, 0, 1)
    return pure


@dataclass(frozen=True)
class HueRange:
    """Colours by hue (degrees): none up to ``start``, all from ``full`` to ``fade``, none from ``end``. They are
    turned by ``hue`` degrees; saturation and lightness -1..1.
    """

    start: float
    full: float
    fade: float
    end: float
    hue: float = 0.0
    saturation: float = 0.0
    lightness: float = 0.0

    def weight(self, hue: Plane) -> Plane:
        """0..1 of hues in degrees."""
        up, down = (self.full - self.start) % 360, (self.fade - self.start) % 360
        stop = (self.end - self.start) % 360
        at = (hue - self.start) % 360
        rise = np.where(at >= up, 1.0, at / max(up, 1e-6))
        fall = np.where(at <= down, 1.0, np.clip((stop - at) / max(stop - down, 1e-6), 0, 1))
        return np.asarray(rise * fall, np.float32)


def _gain(saturation: float) -> float:
    """How much is added to a chroma factor of 1 (measured at -1, -0.5, 0, 0.5 and 1; within 0.3 % between)."""
    return saturation if saturation <= 0 else 1 / max(1 - saturation, 1 / _STRONGEST) - 1


def _lighten(colours: Colours, lightness: float) -> Colours:
    return colours * (1 - abs(lightness)) + max(lightness, 0.0)


def _saturate(colours: Colours, gain: Colours | float) -> Colours:
    """The HSL saturation times ``gain``, at most 1."""
    high, low = _ends(colours)
    middle, chroma = (high + low) / 2, high - low
    most = 2 * np.minimum(middle, 1 - middle)
    factor = np.minimum(chroma * gain, most) / np.maximum(chroma, 1e-9)
    return np.asarray(middle[..., None] + (colours - middle[..., None]) * factor[..., None])


def hue_saturation(hue: float, saturation: float, lightness: float, ranges: Sequence[HueRange] = ()) -> Apply:
    """Degrees, and shares -1..1. Lightness first, then the ranges' lightness (towards a colour's own largest or
    smallest channel), then all turns of hue together, and one chroma factor: the overall one times 1 plus what the
    ranges add. Ranges go by the hue before any turn (all measured).
    """
    ranges = [each for each in ranges if each.hue or each.saturation or each.lightness]
    overall = 1 + _gain(saturation)

    def apply(colours: Colours) -> Colours:
        out = _lighten(np.asarray(colours, np.float32), lightness)
        high, low = _ends(out)
        turn: Colours = np.full(high.shape, hue, np.float32)
        gain, light = np.ones_like(high), np.zeros_like(high)
        where = _hue(out, high, low) if ranges or hue % 360 else high
        for each in ranges:
            weight = each.weight(where)
            turn = turn + weight * each.hue
            gain = gain + weight * _gain(each.saturation)
            light = np.clip(light + weight * each.lightness, -1, 1)
        if ranges:
            towards = np.where(light[..., None] > 0, high[..., None] - out, out - low[..., None])
            out = out + light[..., None] * towards
            high, low = _ends(out)
        if ranges or hue % 360:
            out = low[..., None] + (high - low)[..., None] * _from_hue(np.asarray((where + turn) % 360, np.float32))
        if ranges or saturation:
            out = _saturate(out, overall * np.maximum(gain, 0))
        return np.clip(out, 0, 1).astype(np.float32)

    return apply


def colorize(hue: float, saturation: float, lightness: float) -> Apply:
    """One hue (degrees) and HSL saturation 0..1 for all; lightness -1..1 moves the HSL lightness (measured; the hues
    between the six pure ones differ by up to 5 levels in ways that have no formula).
    """
    pure = _from_hue(np.asarray(hue % 360, np.float32)) - 0.5

    def apply(colours: Colours) -> Colours:
        colours = np.asarray(colours, np.float32)
        high, low = _ends(colours)
        middle = _lighten((high + low) / 2, lightness)[..., None]
        chroma = 2 * np.minimum(middle, 1 - middle) * min(max(saturation, 0), 1)
        return np.clip(middle + chroma * pure, 0, 1).astype(np.float32)

    return apply


def _balance_table(shadows: float, midtones: float, highlights: float) -> Table:
    ends = 0.25 * (shadows * (1 - GRID) ** 2 + highlights * GRID**2)
    return table_of(GRID**2 ** (-midtones / 2) + ends)


def colour_balance(tones: Sequence[Sequence[float]], preserve: bool) -> Apply:
    """``tones``: shadows, midtones, highlights, each (red, green, blue) -1..1. ``preserve``: the luminosity stays.
    Photoshop's formula is not published; its midtones are known to act as gammas of 0.7 to 1.4 on the channels.
    """
    shadows, midtones, highlights = tones
    mapped = per_channel([_balance_table(shadows[i], midtones[i], highlights[i]) for i in range(3)])
    if not any(any(tone) for tone in tones):
        return lambda colours: colours
    return _preserving(mapped) if preserve else mapped


def _preserving(mapped: Apply) -> Apply:
    return lambda colours: with_luminosity(mapped(colours), luminosity(colours))


def black_white(weights: Sequence[float], tint: Sequence[float] | None = None) -> Apply:
    """``weights`` of red, yellow, green, cyan, blue, magenta (1 keeps). Gray is the smallest channel, plus what the
    middle one adds in its secondary colour, plus what the largest adds in its primary (published, within a level).
    """
    primary = np.array([weights[0], weights[2], weights[4]], np.float32)
    opposite = np.array([weights[3], weights[5], weights[1]], np.float32)  # of the channel that is smallest

    def apply(colours: Colours) -> Colours:
        colours = np.asarray(colours, np.float32)
        low, middle, high = _sorted(colours)
        gray = low + (high - middle) * primary[colours.argmax(axis=-1)]
        gray = np.clip(gray + (middle - low) * opposite[colours.argmin(axis=-1)], 0, 1)
        if tint is None:
            return np.repeat(gray[..., None], 3, axis=-1).astype(np.float32)
        return with_luminosity(np.broadcast_to(np.asarray(tint, np.float32), colours.shape), gray)

    return apply


def photo_filter(colour: Sequence[float], density: float, preserve: bool) -> Apply:
    """Light through a filter of ``colour`` (0..1): a multiplication by it, ``density`` 0..1 of the way."""
    through = (1 - density + density * np.asarray(colour, np.float32)).astype(np.float32)
    return _preserving(lambda colours: colours * through) if preserve else lambda colours: colours * through


def channel_mixer(matrix: Sequence[Sequence[float]], constants: Sequence[float]) -> Apply:
    """``matrix``: a row an output channel, 1 keeps; ``constants`` are added. One row: all channels get its value."""
    weights, constant = np.asarray(matrix, np.float32), np.asarray(constants, np.float32)

    def apply(colours: Colours) -> Colours:
        mixed = np.clip(np.asarray(colours, np.float32) @ weights.T + constant, 0, 1)
        return np.broadcast_to(mixed, np.shape(colours)).astype(np.float32)

    return apply


def gradient_map(ramp: npt.NDArray[np.float32]) -> Apply:
    """``ramp``: float32 ``[n, channels]`` of colours, evenly spaced over the luminosities 0..1."""
    tables = [table_of(np.interp(GRID, np.linspace(0, 1, len(ramp)), plane)) for plane in ramp.T]

    def apply(colours: Colours) -> Colours:
        bright = luminosity(colours)
        return np.stack([look_up(table, bright) for table in tables], axis=-1)

    return apply


SELECTIVE = ("reds", "yellows", "greens", "cyans", "blues", "magentas", "whites", "neutrals", "blacks")


def selective_colour(plates: Sequence[Sequence[float]], relative: bool) -> Apply:
    """``plates``: for each of ``SELECTIVE`` the change of cyan, magenta, yellow, black, -1..1.

    The published analysis of Photoshop's filter: a range's strength is how far the colour is in it, a change of black
    acts on all three, relative changes scale with the ink that is there.
    """
    active = [(i, np.asarray(plate, np.float32)) for i, plate in enumerate(plates) if any(plate)]

    def apply(colours: Colours) -> Colours:
        colours = np.asarray(colours, np.float32)
        low, middle, high = _sorted(colours)
        out = colours
        for i, plate in active:
            strength = _strength(i, colours, low, middle, high)[..., None]
            change = (-1 - plate[:3]) * plate[3] - plate[:3]
            scaled = change * (1 - colours) if relative else np.broadcast_to(change, colours.shape)
            out = out + np.clip(scaled, -colours, 1 - colours) * strength
        return np.clip(out, 0, 1).astype(np.float32)

    return apply


def selective_inks(plates: Sequence[Sequence[float]], relative: bool) -> Apply:
    """The same of inks ``[..., 4]``, each as what is left of white: every plate changes its own ink. A guess: the
    ranges are those of the first three, darkened by black.
    """
    active = [(i, np.asarray(plate, np.float32)) for i, plate in enumerate(plates) if any(plate)]

    def apply(left: Colours) -> Colours:
        left = np.asarray(left, np.float32)
        shown = left[..., :3] * left[..., 3:]
        low, middle, high = _sorted(shown)
        out = left
        for i, plate in active:
            strength = _strength(i, shown, low, middle, high)[..., None]
            out = out - plate * (1 - left if relative else 1) * strength
        return np.clip(out, 0, 1).astype(np.float32)

    return apply


def _strength(i: int, colours: Colours, low: Colours, middle: Colours, high: Colours) -> Colours:
    """0..1 ``[...]``: how far colours are in range ``i`` of ``SELECTIVE``."""
    if SELECTIVE[i] == "whites":
        return np.maximum(2 * low - 1, 0)
    if SELECTIVE[i] == "blacks":
        return np.maximum(1 - 2 * high, 0)
    if SELECTIVE[i] == "neutrals":
        return np.asarray(1 - np.abs(high - 0.5) - np.abs(low - 0.5))
    channel = {0: 0, 2: 1, 4: 2, 3: 0, 5: 1, 1: 2}[i]
    if i % 2 == 0:  # a primary: its channel is the largest
        return np.where(colours[..., channel] == high, high - middle, 0)
    return np.where(colours[..., channel] == low, middle - low, 0)


def vibrance(amount: float, saturation: float) -> Apply:
    """Both -1..1: dull colours gain more, or lose more, than vivid ones; then chroma about the luminosity times
    1 + saturation. Photoshop's formula is not published.
    """

    def apply(colours: Colours) -> Colours:
        colours = np.asarray(colours, np.float32)
        out = _livelier(colours, amount) if amount > 0 else _duller(colours, -amount)
        gray = luminosity(out)[..., None]
        return np.asarray(np.clip(gray + (out - gray) * (1 + saturation), 0, 1), np.float32)

    return apply


def _duller(colours: Colours, amount: float) -> Colours:
    high, low = _ends(colours)
    vivid = (high - low) / np.maximum(high, 1e-6)
    gray = luminosity(colours)[..., None]
    return np.asarray(gray + (colours - gray) * (1 - amount * (1 - vivid))[..., None])


def _livelier(colours: Colours, amount: float) -> Colours:
    """The largest channel moves to white, the smallest to black, less where red leads (skin); the linear light's
    luminance stays (a published reading of the filter).
    """
    high, low = _ends(colours)
    chroma = high - low
    between = np.abs(colours[..., 1] - colours[..., 2]) / np.maximum(chroma, 1e-6)
    skin = np.where(colours[..., 0] == high, (1 + np.minimum(between, 1)) / 2, 1)
    push = amount * skin * (2 - chroma)
    spread = colours * (1 + push * (1 - chroma))[..., None] - (low * push)[..., None]
    wanted = srgb.decode(colours) @ _LUMINANCE
    light = srgb.decode(np.clip(spread, 0, 1))
    light = light * (wanted / np.maximum(light @ _LUMINANCE, 1e-6))[..., None]
    over = (1 - wanted) / np.maximum(_ends(light)[0] - wanted, 1e-6)
    gray = wanted[..., None]
    return np.asarray(srgb.encode((gray + (light - gray) * np.minimum(over, 1)[..., None]).clip(0, 1)))
