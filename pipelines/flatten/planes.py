"""Alpha planes, bands and trimming: what the other modules do to pixels, a band of rows at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.flatten.stack import StackLayer
from pipelines.formats.tree import Mask
from schemas.compositing import Placed, Rgba, composite
from schemas.geometry import Box

Plane = npt.NDArray[np.float32]
"""float32 ``[height, width]``, 0..1."""

BAND_PIXELS = 1 << 16
SQUARE = 256
COVERED = np.float32(1 / 512)  # what is left for the layers below is under half a level


def bands(box: Box, pixels: int = BAND_PIXELS) -> Iterator[Box]:
    """``box`` cut into bands of whole rows with about ``pixels`` px each, so that float work stays small."""
    if box.empty:
        return
    rows = max(1, pixels // box.width)
    for y in range(box.y0, box.y1, rows):
        yield Box(box.x0, y, box.x1, min(y + rows, box.y1))


def alpha_of(layer: StackLayer, part: Box) -> Plane:
    """The layer's alpha in ``part``, which must lie in its box."""
    alpha: Plane = layer.pixels[part.within(layer.box).slices][..., -1].astype(np.float32) / np.float32(255)
    return alpha


def level_of(weight: Plane, bare: Plane, left: Plane) -> Plane:
    """The alpha 0..255, in whole levels, that gives a layer its ``weight`` in the composite where those above it let
    ``left`` through; ``bare``, the alpha it would have alone, where they cover it.
    """
    exact = weight / np.maximum(left, COVERED)
    level: Plane = np.rint(np.where(left > COVERED, exact, bare) * 255).clip(0, 255)
    return level


def mask_plane(mask: Mask, box: Box, dtype: type[np.floating[Any]] = np.float32) -> npt.NDArray[np.floating[Any]]:
    """The mask's value in ``box``: 0..1, ``[box.height, box.width]``."""
    plane = np.full((box.height, box.width), mask.outside / 255, dtype)
    part = mask.box.intersect(box)
    if not part.empty:
        plane[part.within(box).slices] = mask.pixels[part.within(mask.box).slices].astype(dtype) / 255
    return plane


def coverage_of(layers: Iterable[StackLayer], box: Box) -> Plane:
    """The alpha of the layers' composite in ``box``."""
    through = np.ones((box.height, box.width), np.float32)
    for layer in layers:
        part = layer.box.intersect(box)
        if not part.empty:
            through[part.within(box).slices] *= 1 - alpha_of(layer, part)
    return 1 - through


def composite_banded(layers: Iterable[Placed], canvas: Box) -> Rgba:
    """``schemas.compositing.composite``, computed in squares: the same bytes in little memory and time.

    A square that one layer alone touches is that layer's.
    """
    placed = list(layers)
    channels = placed[0][0].shape[2] if placed else 4
    out = np.zeros((canvas.height, canvas.width, channels), np.uint8)
    for y in range(canvas.y0, canvas.y1, SQUARE):
        for x in range(canvas.x0, canvas.x1, SQUARE):
            square = Box(x, y, min(x + SQUARE, canvas.x1), min(y + SQUARE, canvas.y1))
            here = [(pixels, box) for pixels, box in placed if not box.intersect(square).empty]
            if len(here) == 1:
                pixels, box = here[0]
                part = box.intersect(square)
                own = pixels[part.within(box).slices]
                np.copyto(out[part.within(canvas).slices], own, where=own[..., -1:] > 0)
            elif here:
                out[square.within(canvas).slices] = composite(here, square)
    return out


def alpha_bounds(alpha: npt.NDArray[np.uint8]) -> Box:
    """The box around alpha > 0 of a plane ``[height, width]``; empty where there is none."""
    rows = np.flatnonzero(alpha.any(axis=1))
    if not rows.size:
        return Box(0, 0, 0, 0)
    columns = np.flatnonzero(alpha.any(axis=0))
    return Box(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def trimmed(layer: StackLayer) -> StackLayer | None:
    """The layer cut to the box of its alpha; None where it has none."""
    inner = alpha_bounds(layer.pixels[..., -1])
    if inner.empty:
        return None
    if inner.width == layer.box.width and inner.height == layer.box.height:
        return layer
    pixels = np.ascontiguousarray(layer.pixels[inner.slices])
    return replace(layer, pixels=pixels, box=inner.shift(layer.box.x0, layer.box.y0))


def cropped(layer: StackLayer, limit: Box) -> StackLayer | None:
    """The layer cut to ``limit``; ``cropped`` is set where alpha was lost. None where nothing is left."""
    if limit.contains(layer.box):
        return layer
    part = layer.box.intersect(limit)
    if part.empty:
        return None
    inner = layer.pixels[part.within(layer.box).slices]
    lost = bool(np.count_nonzero(layer.pixels[..., -1]) > np.count_nonzero(inner[..., -1]))
    cut = replace(layer, pixels=np.ascontiguousarray(inner), box=part, cropped=layer.cropped or lost)
    return trimmed(cut)
