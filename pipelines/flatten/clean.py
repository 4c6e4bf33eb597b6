"""Cleaning a stack as Qwen-Image-Layered does: layers that add nothing go, and too many are merged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from pipelines.flatten.bake import merged
from pipelines.flatten.stack import StackLayer
from schemas.design import LayerKind
from schemas.geometry import Box

_NAME_LENGTH = 120
_BACKGROUND_COVERAGE = 0.99


def contributing(layers: Sequence[StackLayer], visible: Box) -> list[StackLayer]:
    """The layers that show inside ``visible``: some alpha there, not wholly under opaque pixels."""
    hidden = np.zeros((visible.height, visible.width), np.bool_)
    kept: list[StackLayer] = []
    for layer in reversed(layers):
        part = layer.box.intersect(visible)
        alpha = layer.pixels[part.within(layer.box).slices][..., 3]
        spot = part.within(visible).slices
        if np.any((alpha > 0) & ~hidden[spot]):
            kept.append(layer)
            hidden[spot] |= alpha == 255
    return kept[::-1]


def at_most(layers: Sequence[StackLayer], count: int) -> list[StackLayer]:
    """At most ``count`` layers: z-neighbours that do not overlap are merged first, then those with the smallest union.

    Merging z-neighbours never changes the composite ("over" is associative) but for rounding.
    """
    stack = list(layers)
    costs = [_cost(a, b) for a, b in pairwise(stack)]
    while len(stack) > count:
        i = costs.index(min(costs))
        stack[i : i + 2] = [_pair(stack[i], stack[i + 1])]
        del costs[i]
        for j in (i - 1, i):
            if 0 <= j < len(costs):
                costs[j] = _cost(stack[j], stack[j + 1])
    return stack


def with_background(layers: Sequence[StackLayer], visible: Box) -> list[StackLayer]:
    """The bottom layer is the background where it covers the visible box; no other layer is one."""
    return [replace(layer, kind=_kind(layer, visible, index == 0)) for index, layer in enumerate(layers)]


def _kind(layer: StackLayer, visible: Box, bottom: bool) -> LayerKind:
    if bottom and layer.kind is not LayerKind.TEXT:
        alpha = layer.pixels[layer.box.intersect(visible).within(layer.box).slices][..., 3]
        if alpha.sum(dtype=np.int64) >= _BACKGROUND_COVERAGE * 255 * visible.area:
            return LayerKind.BACKGROUND
    return LayerKind.IMAGE if layer.kind is LayerKind.BACKGROUND else layer.kind


def _cost(lower: StackLayer, upper: StackLayer) -> tuple[bool, int]:
    return _overlap(lower, upper), lower.box.union(upper.box).area


def _overlap(a: StackLayer, b: StackLayer) -> bool:
    part = a.box.intersect(b.box)
    if part.empty:
        return False
    first, second = (layer.pixels[part.within(layer.box).slices][..., 3] > 0 for layer in (a, b))
    return bool(np.any(first & second))


def _pair(lower: StackLayer, upper: StackLayer) -> StackLayer:
    name = f"{lower.name} + {upper.name}"
    if len(name) > _NAME_LENGTH:
        name = name[: _NAME_LENGTH - 1] + "…"
    one = merged([lower, upper], name, "")
    return replace(one, notes=(f"{one.leaves} layers merged to keep within the layer limit",))
