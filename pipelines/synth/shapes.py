"""Antialiased shapes as coverage masks, uint8 ``[height, width]``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from pipelines.synth.dice import Dice
from pipelines.synth.noise import axes, ridge
from pipelines.synth.palettes import Rgb
from schemas.compositing import Rgba

Coverage = npt.NDArray[np.uint8]
Paint = npt.NDArray[np.float32] | npt.NDArray[np.uint8]
"""A picture ``[height, width, 3]``, 0..255."""
Points = Sequence[tuple[float, float]]


def filled(mask: Coverage, colour: Rgb | Paint) -> Rgba:
    """``mask`` as the alpha of one colour, or of a picture ``[height, width, 3]``."""
    out = np.empty((*mask.shape, 4), np.uint8)
    plain = isinstance(colour, tuple) or colour.dtype == np.uint8
    out[..., :3] = colour if plain else np.clip(np.rint(colour), 0, 255)
    out[..., 3] = mask
    return out


def full(width: int, height: int) -> Coverage:
    return np.full((height, width), 255, np.uint8)


def _coverage(distance: npt.NDArray[np.float32]) -> Coverage:
    """Signed distance in px (negative inside) to coverage."""
    return np.asarray(np.clip(0.5 - distance, 0, 1) * 255 + 0.5).astype(np.uint8)


def _corner(width: int, height: int, radius: float) -> Coverage:
    """A rounded rectangle by its signed distance."""
    x = np.abs(np.arange(width, dtype=np.float32) + 0.5 - width / 2) - np.float32(width / 2 - radius)
    y = np.abs(np.arange(height, dtype=np.float32) + 0.5 - height / 2) - np.float32(height / 2 - radius)
    outside = np.hypot(np.maximum(x, 0)[None, :], np.maximum(y, 0)[:, None])
    inside = np.minimum(np.maximum(x[None, :], y[:, None]), 0)
    return _coverage((outside + inside - np.float32(radius)).astype(np.float32))


def rounded(width: int, height: int, radius: float = 0) -> Coverage:
    """A rectangle with round corners; only the corners are computed."""
    radius = min(radius, width / 2, height / 2)
    out = full(width, height)
    r = int(radius) + 1
    if radius <= 0 or 2 * r >= min(width, height):
        return _corner(width, height, radius) if radius > 0 else out
    corner = _corner(2 * r + 1, 2 * r + 1, radius)[:r, :r]
    out[:r, :r], out[:r, -r:] = corner, corner[:, ::-1]
    out[-r:, :r], out[-r:, -r:] = corner[::-1], corner[::-1, ::-1]
    return out


def ellipse(width: int, height: int) -> Coverage:
    x, y = axes(width, height)
    u, v = (2 * x - 1), (2 * y - 1)
    length = np.hypot(u, v)
    slope = np.hypot(2 * u / width, 2 * v / height)
    return _coverage(((length - 1) * length / np.maximum(slope, np.float32(1e-6))).astype(np.float32))


def ring(size: int, thickness: float) -> Coverage:
    outer = ellipse(size, size).astype(np.int16)
    inner = max(1, round(size - 2 * thickness))
    at = (size - inner) // 2
    outer[at : at + inner, at : at + inner] -= ellipse(inner, inner)
    return outer.clip(0, 255).astype(np.uint8)


def outline(width: int, height: int, radius: float, thickness: int) -> Coverage:
    """The frame of a rounded rectangle."""
    out = rounded(width, height, radius).astype(np.int16)
    t = thickness
    if width > 2 * t and height > 2 * t:
        out[t:-t, t:-t] -= rounded(width - 2 * t, height - 2 * t, max(0, radius - t))
    return out.clip(0, 255).astype(np.uint8)


def polygon(points: Points, width: int, height: int) -> Coverage:
    """The inside of ``points`` (px), by 4 x 4 samples a pixel (2 x 2 on large shapes)."""
    scale = 4 if width * height < 500_000 else 2
    image = Image.new("L", (width * scale, height * scale))
    ImageDraw.Draw(image).polygon([(x * scale - 0.5, y * scale - 0.5) for x, y in points], fill=255)
    return np.asarray(image.resize((width, height), Image.Resampling.BOX))


def radial_polygon(size: int, radii: npt.NDArray[np.float64], turn: float = 0.0) -> Coverage:
    """A closed curve around the centre: ``radii`` (0..1 of half the size) at even angles from ``turn`` (degrees)."""
    angles = np.radians(turn) + np.arange(len(radii)) * (2 * np.pi / len(radii))
    half = size / 2
    points = np.stack([half + half * radii * np.cos(angles), half + half * radii * np.sin(angles)], axis=1)
    return polygon([(float(x), float(y)) for x, y in points], size, size)


def star(size: int, points: int, inner: float = 0.5, turn: float = -90.0) -> Coverage:
    return radial_polygon(size, np.tile([1.0, inner], points), turn)


def regular(size: int, sides: int, turn: float = -90.0) -> Coverage:
    return radial_polygon(size, np.ones(sides), turn)


def blob(dice: Dice, size: int, wobble: float = 0.25) -> Coverage:
    """A smooth organic shape."""
    angle = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    radii = np.ones_like(angle)
    for wave in range(2, 5):
        radii += wobble / wave * np.sin(wave * angle + dice.uniform(0, 2 * np.pi)) * dice.uniform(0.5, 1.4)
    return radial_polygon(size, radii / radii.max())


def arch(width: int, height: int) -> Coverage:
    """A door: round above, straight below."""
    out = full(width, height)
    out[: width // 2] = rounded(width, width, width / 2)[: width // 2][:height]
    return out


def waves(dice: Dice, width: int, height: int, depth: float = 0.4) -> Coverage:
    """The area below a soft wavy line; ``depth`` of the height is wave."""
    top = ridge(dice, width, cell=dice.uniform(0.25, 0.5), octaves=1) * np.float32(height * depth)
    y = np.arange(height, dtype=np.float32)[:, None]
    return _coverage(top[None, :] - y - np.float32(0.5))


def rays(width: int, height: int, count: int, cx: float = 0.5, cy: float = 0.5) -> Coverage:
    """A sunburst of ``count`` rays around (``cx``, ``cy``) (shares)."""
    x = np.arange(width, dtype=np.float32)[None, :] + np.float32(0.5 - cx * width)
    y = np.arange(height, dtype=np.float32)[:, None] + np.float32(0.5 - cy * height)
    phase = np.arctan2(y, x) * np.float32(count / (2 * np.pi))
    nearest = np.abs((phase % 1) - np.float32(0.5)) - np.float32(0.25)  # in turns of a ray pair
    return _coverage(nearest * np.hypot(x, y) * np.float32(2 * np.pi / count))


def stripes(width: int, height: int, period: float, degrees: float, share: float = 0.5) -> Coverage:
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    x = np.arange(width, dtype=np.float32)[None, :] * np.float32(cos)
    y = np.arange(height, dtype=np.float32)[:, None] * np.float32(sin)
    phase = ((x + y) / np.float32(period)) % 1
    return _coverage((np.abs(phase - np.float32(0.5)) - np.float32(share / 2)) * np.float32(period))


def dots(width: int, height: int, period: float, radius: npt.NDArray[np.float32] | float) -> Coverage:
    """A grid of dots; ``radius`` in px, one for all or ``[height, width]`` (a halftone)."""
    x = np.abs(np.arange(width, dtype=np.float32) % np.float32(period) - np.float32(period / 2))[None, :]
    y = np.abs(np.arange(height, dtype=np.float32) % np.float32(period) - np.float32(period / 2))[:, None]
    return _coverage(np.hypot(x, y) - np.float32(radius) if isinstance(radius, float) else np.hypot(x, y) - radius)


def turned(mask: Coverage, degrees: float) -> Coverage:
    """``mask`` turned anticlockwise, with the box grown to hold it."""
    return np.asarray(Image.fromarray(mask).rotate(degrees, Image.Resampling.BICUBIC, expand=True))


def blurred(mask: Coverage, radius: float) -> tuple[Coverage, int]:
    """``mask`` blurred (Gaussian of ``radius`` px) with the margin that it needs, and that margin in px."""
    pad = int(radius * 2.6) + 1
    image = Image.fromarray(np.pad(mask, pad))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(radius))), pad
