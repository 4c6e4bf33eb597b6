"""Blending options that ask what lies below: blend-if by the backdrop, and layers that write only some channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pipelines.flatten.backdrop import Backdrop, tiles
from pipelines.flatten.bake import merged
from pipelines.flatten.own import through
from pipelines.flatten.planes import Plane
from pipelines.flatten.stack import StackLayer
from pipelines.flatten.weights import reweigh
from pipelines.formats.style import Range
from pipelines.formats.tree import Node
from schemas.design import Lowering
from schemas.geometry import Box


def only_where(layers: list[StackLayer], ranges: Sequence[Range], scope: Backdrop, channels: int) -> list[StackLayer]:
    """The layers of a unit where the backdrop's colour is in the ranges."""
    if not ranges or not layers:
        return layers

    def shown(box: Box) -> Plane:
        colour, alpha = scope.over(box)
        return np.where(alpha > 0, through(ranges, colour, channels), np.float32(1))

    cut = reweigh(layers, [shown] * len(layers), "blend-if by what lies below")
    return [replace(layer, reusable=False, lowering=_baked(layer)) for layer in cut]


def only_channels(layers: list[StackLayer], node: Node, scope: Backdrop) -> list[StackLayer]:
    """A unit that writes some colour channels and leaves the backdrop's in the others."""
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
                kept = rows[..., channel] * (1 - alpha) + colour[..., channel] * (255 * alpha)
                rows[..., channel] = np.rint(kept)
    baked = replace(layer, pixels=pixels, reusable=False, lowering=_baked(layer))
    return [baked.noted("some channels only, the others baked from what lies below")]


def _baked(layer: StackLayer) -> Lowering:
    return layer.lowering if layer.lowering is Lowering.MERGED else Lowering.BAKED
