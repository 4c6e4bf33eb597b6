"""Smooth fields for pictures: fractal noise, ridge lines, gradients. All float32, vectorised, from a ``Dice``."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipelines.synth.dice import Dice
from pipelines.synth.palettes import Rgb

Field = npt.NDArray[np.float32]
"""float32 ``[height, width]``, mostly 0..1."""


def fractal(dice: Dice, width: int, height: int, *, cell: float = 0.3, octaves: int = 4, stretch: float = 1.0) -> Field:
    """Fractal value noise in 0..1.

    ``cell``: size of the largest features as a share of the longer side; ``stretch``: their width to height.
    """
    out = np.zeros((height, width), np.float32)
    weight = total = 1.0
    size = max(width, height) * cell
    for _ in range(octaves):
        grid = dice.numpy.random((int(height * stretch / size) + 3, int(width / size) + 3), np.float32)
        out += weight * _enlarged(grid, width, height)
        total += weight
        weight *= 0.5
        size = max(2.0, size * 0.5)
    low, high = float(out.min()), float(out.max())
    out -= np.float32(low)
    out /= np.float32(max(1e-6, high - low))
    return out


def _enlarged(grid: Field, width: int, height: int) -> Field:
    return np.asarray(Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC), np.float32)


def ridge(dice: Dice, width: int, *, cell: float = 0.3, octaves: int = 5) -> Field:
    """A line of heights in 0..1, float32 ``[width]``."""
    line: Field = fractal(dice, width, 2, cell=cell, octaves=octaves)[0]
    return line


def axes(width: int, height: int) -> tuple[Field, Field]:
    """Pixel centres as shares of the width ``[1, width]`` and height ``[height, 1]``."""
    x = (np.arange(width, dtype=np.float32) + np.float32(0.5)) / np.float32(width)
    y = (np.arange(height, dtype=np.float32) + np.float32(0.5)) / np.float32(height)
    return x[None, :], y[:, None]


def slope(width: int, height: int, degrees: float) -> Field:
    """0..1 along a direction (0: to the right, 90: down), corner to corner."""
    x, y = axes(width, height)
    across, down = width * math.cos(math.radians(degrees)), height * math.sin(math.radians(degrees))
    length = abs(across) + abs(down)
    out: Field = (x - np.float32(0.5)) * np.float32(across / length) + (y - np.float32(0.5)) * np.float32(down / length)
    out += np.float32(0.5)
    return out


def radial(width: int, height: int, cx: float = 0.5, cy: float = 0.5, radius: float = 0.7) -> Field:
    """0 at (``cx``, ``cy``), 1 at ``radius``; centre and radius as shares of the sides and of the longer side."""
    x, y = axes(width, height)
    distance = np.hypot((x - np.float32(cx)) * width, (y - np.float32(cy)) * height)
    out: Field = np.clip(distance / np.float32(radius * max(width, height)), 0, 1).astype(np.float32)
    return out


def ramp(field: Field, *stops: Rgb) -> npt.NDArray[np.float32]:
    """``field`` (0..1) through evenly spaced colours, float32 ``[..., 3]`` in 0..255."""
    table = np.array(stops, np.float32)
    at = np.linspace(0, 1, len(stops))
    steps = np.linspace(0, 1, 1024)
    lookup = np.stack([np.interp(steps, at, table[:, c]) for c in range(3)], axis=1).astype(np.float32)
    return lookup[(np.clip(field, 0, 1) * 1023).astype(np.int16)]


def tint(field: Field, *stops: Rgb) -> npt.NDArray[np.uint8]:
    """``ramp`` in 8 bits, for what is painted as it is."""
    table = ramp(np.arange(1024, dtype=np.float32) / np.float32(1023), *stops)
    return np.rint(table).astype(np.uint8)[(np.clip(field, 0, 1) * 1023).astype(np.int16)]
