"""Noise gradients: a random walk of colours."""

from __future__ import annotations

import colorsys
from typing import Any

import numpy as np
import numpy.typing as npt
from psd_tools.psd.descriptor import Descriptor

from pipelines.formats.psd_colours import Colours
from pipelines.formats.psd_descriptors import enum, finite, flag, items, number
from pipelines.formats.psd_swatches import of_lab, of_rgb

_STEPS = 256


def noise_ramp(stops: Descriptor, colours: Colours, steps: int) -> tuple[npt.NDArray[np.float32], bool]:
    """A noise gradient as float32 ``[steps, channels + 1]``, and whether it is random at all.

    Each component wanders between its bounds, the rougher the more. Photoshop's own sequence of random numbers is not
    known; where the bounds meet it is not needed.
    """
    low, high = (_bounds(stops, key, default) for key, default in ((b"Mnm ", 0.0), (b"Mxm ", 1.0)))
    wander = _wander(int(finite(stops.get(b"RndS")) or 0), number(stops, b"Smth", 2048.0, 0.0, 4096.0) / 4096)
    levels = low + (high - low) * wander
    shown = 4 if flag(stops, b"ShTr", False) else 3
    space = enum(stops, b"ClrS")
    at = np.linspace(0, _STEPS - 1, steps)
    table = np.empty((_STEPS, colours.channels + 1))
    table[:, :-1] = [_noise_colour(level, space, colours) for level in levels[:, :3]]
    table[:, -1] = levels[:, 3] if shown == 4 else 1.0
    columns = [np.interp(at, np.arange(_STEPS), column) for column in table.T]
    return np.stack(columns, axis=1).astype(np.float32), bool(np.any(low[:shown] != high[:shown]))


def _bounds(stops: Descriptor, key: bytes, default: float) -> npt.NDArray[Any]:
    found = [finite(item) for item in items(stops, key)[:4]]
    shares = [default if value is None else min(1.0, max(0.0, value / 100)) for value in found]
    return np.array([*shares, *[default] * (4 - len(shares))])


def _wander(seed: int, rough: float) -> npt.NDArray[Any]:
    """Four random walks 0..1, ``[_STEPS, 4]``: octaves of value noise, each ``rough`` times the one before."""
    random = np.random.Generator(np.random.PCG64(seed & 0xFFFFFFFF))
    at = np.linspace(0, 1, _STEPS)
    total, weight = np.zeros((_STEPS, 4)), 0.0
    for octave in range(6):
        knots = np.linspace(0, 1, 4 * 2**octave + 1)
        strength = rough**octave if octave else 1.0
        drawn = random.random((len(knots), 4))
        total += strength * np.stack([np.interp(at, knots, column) for column in drawn.T], axis=1)
        weight += strength
    return total / weight


def _noise_colour(level: npt.NDArray[Any], space: bytes, colours: Colours) -> tuple[float, ...]:
    """Components of a noise gradient, each as a share of its axis."""
    a, b, c = (float(value) for value in level)
    if space == b"LbCl":
        return of_lab((a * 100, b * 255 - 128, c * 255 - 128), colours)
    return of_rgb(colorsys.hsv_to_rgb(a % 1, b, c) if space == b"HSBl" else (a, b, c), colours)
