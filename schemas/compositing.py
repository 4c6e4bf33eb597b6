"""What a layer stack means: straight-alpha "over" of the layers, bottom to top, on a transparent canvas.

Porter and Duff's "over" (Compositing Digital Images, 1984) in sRGB code values, as layered editors do. ``composite`` is
the definition, in float32 with one rounding at the end; ``composite_fast`` is the 8-bit path (rounds once a layer).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from PIL import Image

from schemas.geometry import Box

Rgba = npt.NDArray[np.uint8]
"""uint8 ``[height, width, 4]``, straight alpha, sRGB."""

Placed = tuple[Rgba, Box]
"""A layer's pixels and where they lie; the array's size is the box's."""


def composite(layers: Iterable[Placed], canvas: Box) -> Rgba:
    """The exact composite of ``layers`` inside ``canvas``, ``uint8 [canvas.height, canvas.width, 4]``.

    Layers may reach out of ``canvas``; colour is zero where the result is transparent. Layers of any number of colour
    channels are composited alike, alpha last.
    """
    placed = list(layers)
    channels = placed[0][0].shape[2] - 1 if placed else 3
    # Planes of premultiplied colour (0..255) and alpha (0..1): several times faster than interleaved.
    planes = np.zeros((channels + 1, canvas.height, canvas.width), np.float32)
    for pixels, box in placed:
        part = box.intersect(canvas)
        if part.empty:
            continue
        source = pixels[part.within(box).slices]
        a = source[..., channels].astype(np.float32) / np.float32(255)
        rows, columns = part.within(canvas).slices
        below = planes[:, rows, columns]
        below *= 1 - a
        for channel in range(channels):
            below[channel] += source[..., channel] * a
        below[channels] += a
    colour, alpha = planes[:channels], planes[channels]
    np.divide(colour, alpha, out=colour, where=alpha > 0)
    alpha *= 255
    np.rint(planes, out=planes).clip(0, 255, out=planes)
    rounded: Rgba = np.empty((canvas.height, canvas.width, channels + 1), np.uint8)
    rounded[...] = planes.transpose(1, 2, 0)
    rounded[rounded[..., channels] == 0] = 0
    return rounded


def composite_fast(layers: Iterable[Placed], canvas: Box) -> Rgba:
    """The composite by 8-bit arithmetic: within one level a translucent layer where alpha is not small."""
    out = Image.new("RGBA", (canvas.width, canvas.height))
    for pixels, box in layers:
        part = box.intersect(canvas)
        if part.empty:
            continue
        source = Image.fromarray(np.ascontiguousarray(pixels[part.within(box).slices]), "RGBA")
        out.alpha_composite(source, dest=(part.x0 - canvas.x0, part.y0 - canvas.y0))
    return np.array(out)


def on_solid(pixels: Rgba, value: int) -> npt.NDArray[np.float32]:
    """``pixels`` over a gray of ``value`` (0..255): float32 ``[height, width, 3]``, 0..255."""
    a = pixels[..., 3:].astype(np.float32) / np.float32(255)
    solid: npt.NDArray[np.float32] = pixels[..., :3] * a + np.float32(value) * (1 - a)
    return solid
