"""What the procedural photographs share: pictures of light, and strokes of sun, ground, highlight and ball."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipelines.synth.dice import Dice
from pipelines.synth.noise import Field, radial, ramp
from pipelines.synth.palettes import Rgb, mix

Light = npt.NDArray[np.float32]
"""float32 ``[height, width, 3]``, 0..255."""


def glow(image: Light, cx: float, cy: float, size: float, colour: Rgb, *, disc: bool = True) -> None:
    """Add a sun at (``cx``, ``cy``) (shares), ``size`` as a share of the longer side."""
    height, width = image.shape[:2]
    near = 1 - radial(width, height, cx, cy, size * 7)
    strength = near**3 * np.float32(0.7)
    if disc:
        edge = radial(width, height, cx, cy, size * 1.0)
        strength = np.maximum(strength, np.clip((1 - edge) * np.float32(max(width, height) * size / 1.5), 0, 1))
    image += (np.array(colour, np.float32) - image) * strength[..., None]


def below(line: Field, height: int) -> Field:
    """Coverage of what lies below a line of heights in px."""
    y = np.arange(height, dtype=np.float32)[:, None]
    return np.asarray(np.clip(y - line[None, :] + 0.5, 0, 1), np.float32)


def paint(image: Light, cover: Field, colour: Light | Rgb) -> None:
    ink = np.array(colour, np.float32) if isinstance(colour, tuple) else colour
    image += (ink - image) * cover[..., None]


def lights(dice: Dice, image: Light, count: int, colours: list[Rgb], low: float = 0.0) -> None:
    """Out-of-focus highlights, added to the light that is there."""
    height, width = image.shape[:2]
    for _ in range(count):
        radius = int(max(width, height) * dice.uniform(0.012, 0.06)) + 2
        cx, cy = dice.integer(0, width - 1), int(dice.uniform(low, 1) * (height - 1))
        x0, y0, x1, y1 = max(0, cx - radius), max(0, cy - radius), min(width, cx + radius), min(height, cy + radius)
        x, y = np.arange(x0, x1, dtype=np.float32)[None, :] - cx, np.arange(y0, y1, dtype=np.float32)[:, None] - cy
        distance = np.hypot(x, y) / np.float32(radius)
        disc = np.clip((1 - distance) * np.float32(radius / 2), 0, 1) * (
            np.float32(0.55) + np.float32(0.45) * distance**4
        )
        image[y0:y1, x0:x1] += (
            disc[..., None] * np.array(dice.pick(colours), np.float32) * np.float32(dice.uniform(0.15, 0.6))
        )


def ball(image: Light, cx: float, cy: float, radius: float, colour: Rgb) -> None:
    """A shaded ball with its shadow; centre and radius in px, lit from the upper left."""
    height, width = image.shape[:2]
    r = int(radius * 2.4)
    x0, y0, x1, y1 = max(0, int(cx) - r), max(0, int(cy) - r), min(width, int(cx) + r), min(height, int(cy) + r)
    if x0 >= x1 or y0 >= y1:
        return
    x = (np.arange(x0, x1, dtype=np.float32)[None, :] - np.float32(cx)) / np.float32(radius)
    y = (np.arange(y0, y1, dtype=np.float32)[:, None] - np.float32(cy)) / np.float32(radius)
    part = image[y0:y1, x0:x1]
    part *= 1 - np.float32(0.5) * np.exp(-(((x - 0.55) / 0.95) ** 2 + ((y - 0.85) / 0.36) ** 2))[..., None]
    inside = np.clip((1 - np.hypot(x, y)) * np.float32(radius) + 0.5, 0, 1)
    z = np.sqrt(np.clip(1 - x * x - y * y, 0, 1))
    light = np.clip(-0.5 * x - 0.6 * y + 0.62 * z, 0, 1)
    tone = ramp(
        np.clip(light * 0.95 + 0.05, 0, 1).astype(np.float32),
        mix(colour, (20, 10, 30), 0.72),
        colour,
        mix(colour, (255, 255, 255), 0.35),
    )
    tone += (np.clip(light - 0.93, 0, 1) * 1800)[..., None]
    paint(part, inside.astype(np.float32), tone)
