"""Dissolve: each pixel of the shape is painted at full opacity or not at all, by Photoshop's own random numbers. The
preview shows which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pipelines.flatten.backdrop import Backdrop, tiles
from pipelines.flatten.blend import canonical
from pipelines.flatten.planes import trimmed
from pipelines.flatten.stack import StackLayer
from pipelines.formats.tree import Document
from schemas.compositing import Rgba
from schemas.geometry import Box

_NOTE = "dissolve drawn as normal"
_ROUNDS = 2


def settled(layers: Sequence[StackLayer], document: Document) -> list[StackLayer]:
    """The layers (sRGB, in document pixels), those that dissolve with the pixels that the document's preview shows.

    From the top down, each where it alone brings the composite nearer to the preview; and once more, as those below
    were not decided yet. Without a preview, and where it
    does not reach, the layer stays as translucent as its pixels are likely.
    """
    preview = document.preview
    soft = [i for i, layer in enumerate(layers) if canonical(layer.blend_mode) == "dissolve" and _NOTE in layer.notes]
    if preview is None or preview.shape[:2] != (document.height, document.width) or not soft:
        return list(layers)
    made = list(layers)
    for index in [*reversed(soft)] * _ROUNDS:
        made[index] = _whole(layers[index], made, index, preview, document.visible)
    return [layer for layer in map(trimmed, made) if layer is not None]


def _whole(layer: StackLayer, layers: Sequence[StackLayer], index: int, preview: Rgba, visible: Box) -> StackLayer:
    """``layer``, which is ``layers[index]`` as it was lowered, with the pixels that the others leave to it."""
    pixels = layer.pixels.copy()
    below, above = Backdrop(), Backdrop()
    below.add(layers[:index])
    above.add(layers[index + 1 :])
    for part in tiles(layer.box.intersect(visible)):
        rows = part.within(layer.box).slices
        own = layer.pixels[rows]
        state = below.state(part), above.state(part)
        levels = np.stack([np.zeros(own.shape[:2], np.uint8), _unfaded(own, layer.opacity), _whole_pixels(own)])
        errors = [_error(own, level, *state, preview[part.slices]) for level in levels]
        pixels[rows][..., 3] = np.take_along_axis(levels, np.argmin(errors, axis=0)[None], 0)[0]
    notes = tuple(note for note in layer.notes if note != _NOTE)
    return replace(layer, pixels=pixels, notes=notes).noted("dissolve as the preview shows it")


Levels = npt.NDArray[np.uint8]
_State = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]


def _unfaded(own: Rgba, opacity: float) -> Levels:
    """The shape's own alpha: what a painted pixel of an antialiased edge shows."""
    return np.asarray(np.rint(np.minimum(own[..., 3] / np.float32(max(opacity, 1 / 255)), 255)), np.uint8)


def _whole_pixels(own: Rgba) -> Levels:
    return np.where(own[..., 3] > 0, np.uint8(255), np.uint8(0))


def _error(own: Rgba, level: Levels, below: _State, above: _State, shown: Rgba) -> npt.NDArray[np.float32]:
    """How far the composite is from the preview, on black and on white, with the layer at alpha ``level``."""
    over, through = above[0] * above[1][..., None], 1 - above[1][..., None]
    colour, alpha = own[..., :3] / np.float32(255), level[..., None] / np.float32(255)
    target, shade = shown[..., :3] / np.float32(255), shown[..., 3:] / np.float32(255)
    ground, there = below[0], below[1][..., None]
    error = np.zeros(own.shape[:2], np.float32)
    for solid in (np.float32(0), np.float32(1)):
        under = ground * there + solid * (1 - there)
        made = over + through * (under + alpha * (colour - under))
        error += np.abs(made - target * shade - solid * (1 - shade)).sum(-1)
    return error
