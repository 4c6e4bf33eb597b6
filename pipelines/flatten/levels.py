"""What happens to the levels of an effect's mask: contours, noise, and the way to 8 bits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from schemas.geometry import Box

Plane = npt.NDArray[np.float32]


def mapped(levels: Plane, contour: Plane | None) -> Plane:
    """Each level 0..1 through the contour ``float32 [256]``, linear between its points."""
    if contour is None:
        return levels
    flat = np.interp(levels.ravel(), np.linspace(0, 1, len(contour)), contour)
    return flat.astype(np.float32).reshape(levels.shape)


def random_levels(box: Box, seed: int = 0) -> Plane:
    """``float32 [box.height, box.width]`` in 0..1 that looks random and depends on the place alone."""
    rows = np.arange(box.y0, box.y1, dtype=np.int64).astype(np.uint32)[:, None]
    columns = np.arange(box.x0, box.x1, dtype=np.int64).astype(np.uint32)[None, :]
    value = columns * np.uint32(0x9E3779B1) ^ rows * np.uint32(0x85EBCA77) ^ np.uint32(seed * 0x27D4EB2F & 0xFFFFFFFF)
    for multiplier in (0x7FEB352D, 0x846CA68B):
        value ^= value >> np.uint32(16)
        value *= np.uint32(multiplier)
    value ^= value >> np.uint32(15)
    return (value >> np.uint32(8)).astype(np.float32) * np.float32(1 / 0x1000000)


def speckled(levels: Plane, noise: float, box: Box) -> Plane:
    """``levels`` with the share ``noise`` of them replaced by dots whose density is the level."""
    if noise <= 0:
        return levels
    dots = (random_levels(box) < levels).astype(np.float32)
    dots -= levels
    dots *= np.float32(min(noise, 1))
    return dots + levels


def to_bytes(levels: Plane, opacity: float = 1.0) -> npt.NDArray[np.uint8]:
    """Levels 0..1 times ``opacity`` as 0..255, rounded."""
    scaled = levels * np.float32(255 * opacity)
    scaled += np.float32(0.5)
    return np.clip(scaled, 0, 255, out=scaled).astype(np.uint8)
