"""Blending options that ask what lies below: blend-if by the backdrop, and layers that write only some channels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pipelines.flatten.backdrop import Backdrop, tiles
from pipelines.flatten.bake import merged
from pipelines.flatten.own import through
from pipelines.flatten.planes import trimmed
from pipelines.flatten.stack import StackLayer
from pipelines.formats.style import Blending
from pipelines.formats.tree import Node


def shown(layer: StackLayer, blending: Blending, scope: Backdrop) -> npt.NDArray[np.uint8] | None:
    """What blend-if lets show of a layer's own paint on ``scope``: uint8 of its box, None for all of it.

    Where the backdrop is transparent it does not count (measured in Photoshop 2026 by the Patchy project).
    """
    if not blending.own and not blending.below:
        return None
    out = np.empty(layer.pixels.shape[:2], np.uint8)
    for part in tiles(layer.box):
        rows = part.within(layer.box).slices
        own = layer.pixels[rows][..., :-1] / np.float32(255)
        seen = through(blending.own, own, scope.channels)
        if blending.below:
            colour, alpha = scope.state(part)
            seen = seen * (1 - alpha + alpha * through(blending.below, colour, scope.channels))
        out[rows] = np.rint(seen * 255)
    return out


def only_where(layers: list[StackLayer], blending: Blending, scope: Backdrop) -> list[StackLayer]:
    """Layers with blend-if, nothing of them drawn yet but their own paint."""
    return [seen for layer in layers if (seen := _where(layer, blending, scope)) is not None]


def _where(layer: StackLayer, blending: Blending, scope: Backdrop) -> StackLayer | None:
    seen = shown(layer, blending, scope)
    if seen is None:
        return layer
    pixels = layer.pixels.copy()
    pixels[..., -1] = np.rint(pixels[..., -1] * (seen / np.float32(255)))
    return trimmed(gated(replace(layer, pixels=pixels), blending))


def gated(layer: StackLayer, blending: Blending) -> StackLayer:
    """The layer with a word on what blend-if made of it; by what lies below, it cannot be used elsewhere."""
    if not blending.below:
        return layer.noted("blend-if by its own colour") if blending.own else layer
    return layer.baked("blend-if by what lies below")


def only_channels(layers: list[StackLayer], node: Node, scope: Backdrop) -> list[StackLayer]:
    """A unit that writes some colour channels and keeps what the backdrop contributes to the others.

    That is its premultiplied value (measured in Photoshop 2026 by the Patchy project, docs/ps-compat.md).
    """
    written = node.blending.channels
    if written is None or all(written) or not layers:
        return layers
    layer = layers[0] if len(layers) == 1 else merged(layers, node.name, "some channels of a group")
    pixels = layer.pixels.copy()
    for part in tiles(layer.box):
        colour, alpha = scope.state(part)
        rows = pixels[part.within(layer.box).slices]
        for channel in range(pixels.shape[2] - 1):
            if channel < len(written) and not written[channel]:
                rows[..., channel] = np.rint(colour[..., channel] * (255 * alpha))
    return [replace(layer, pixels=pixels).baked("some channels only, the others baked from what lies below")]
