"""Group opacity, group masks and clipping as plain layer alphas, exactly.

A layer's weight is its share in the composite, ``w_i = a_i * prod(1 - a_j for j above)``. Fading a group (or clipping
a layer) scales weights; the alphas that give the new weights are ``w_i / (1 - sum(w_j for j above))``. Where the
layers above cover all, any alpha will do: the layer keeps its own, so that what lies hidden survives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from pipelines.flatten.backdrop import Backdrop
from pipelines.flatten.planes import Plane, alpha_of, bands, coverage_of, mask_plane, trimmed
from pipelines.flatten.stack import StackLayer, brief
from pipelines.formats.tree import Mask, Node
from schemas.geometry import Box, union

Scale = Callable[[Box], "Plane | float"]
"""What a layer's weight is multiplied by in a box."""

_COVERED = 1 / 512  # what is left for the layers below is under half a level


def reweigh(layers: Sequence[StackLayer], scales: Sequence[Scale], note: str) -> list[StackLayer]:
    """The layers (bottom to top) with their weights scaled; those left without alpha are gone."""
    pixels = [layer.pixels.copy() for layer in layers]  # read-only ones too
    for band in bands(union(layer.box for layer in layers)):
        before = np.ones((band.height, band.width), np.float32)  # what the layers above let through, unscaled
        after = np.ones((band.height, band.width), np.float32)  # the same once scaled, as stored in 8 bits
        for index in reversed(range(len(layers))):
            part = layers[index].box.intersect(band)
            if part.empty:
                continue
            spot = part.within(band).slices
            alpha, scale = alpha_of(layers[index], part), scales[index](part)
            left = after[spot]
            exact = alpha * before[spot] * scale / np.maximum(left, _COVERED)
            level = np.rint(np.where(left > _COVERED, exact, alpha * scale) * 255).clip(0, 255)
            pixels[index][part.within(layers[index].box).slices][..., -1] = level.astype(np.uint8)
            before[spot] *= 1 - alpha
            after[spot] *= 1 - level / np.float32(255)
    made = [replace(old, pixels=new).noted(note) for old, new in zip(layers, pixels, strict=True)]
    return [layer for layer in map(trimmed, made) if layer is not None]


def faded(layers: Sequence[StackLayer], opacity: float, mask: Mask | None, note: str) -> list[StackLayer]:
    """The layers of a group under its opacity and mask; untouched where there is neither."""
    if opacity >= 1 and mask is None:
        return list(layers)

    def scale(box: Box) -> Plane | float:
        return opacity if mask is None else mask_plane(mask, box).astype(np.float32) * np.float32(opacity)

    return reweigh(layers, [scale] * len(layers), note)


def cut_outside(layer: StackLayer, mask: Mask, visible: Box) -> bool:
    """Whether the mask takes alpha of the layer away where nobody sees it: outside ``visible``."""
    if visible.contains(layer.box):
        return False
    for band in bands(layer.box):
        lost = (alpha_of(layer, band) > 0) & (mask_plane(mask, band) == 0)
        lost[band.intersect(visible).within(band).slices] = False
        if lost.any():
            return True
    return False


def clipped(base: Sequence[StackLayer], tops: Sequence[StackLayer], name: str) -> list[StackLayer]:
    """``tops`` painted on ``base`` and only there: the run's alpha is the base's, as in Photoshop."""
    if not tops or not base:
        return list(base)
    where = union(layer.box for layer in base)
    note = f"clipped to {brief(name)!r}"
    tops = [top.noted(note) for top in tops if not top.box.intersect(where).empty]

    def inside(box: Box) -> Plane:
        return coverage_of(base, box)

    def whole(box: Box) -> float:
        return 1.0

    return reweigh([*base, *tops], [*[whole] * len(base), *[inside] * len(tops)], "")


def pierced(node: Node, own: Sequence[StackLayer], scope: Backdrop) -> None:
    """Take away what lies below a knockout: in its group, or down to the background for a deep one; among clipped
    layers down to their base.
    """

    at: Backdrop | None = scope
    gates: list[Node] = []
    while at is not None:
        ground, rest = at.layers[: at.grounded], at.layers[at.grounded :]
        if rest:
            left = partial(_left, node, own, tuple(gates))
            cut = reweigh(rest, [left] * len(rest), f"knocked out by {brief(node.name)!r}")
            at.replace([*ground, *cut])
        gates += [at.gate] if at.gate else []
        at = at.below if node.blending.knockout == "deep" else None
    scope.forget()


def _left(node: Node, own: Sequence[StackLayer], gates: Sequence[Node], box: Box) -> Plane:
    """What is left of what lies below a knockout, of which the layer's own paint hides its share once more."""
    k: Plane = knocked(node, own, box)
    for gate in gates:
        k = np.asarray(k * strength_of(gate, box), np.float32)
    return np.asarray((1 - k) / np.maximum(1 - k * np.float32(node.fill_opacity), _COVERED), np.float32)


def strength_of(node: Node, box: Box) -> Plane | float:
    """Opacity, fill and mask of a node in ``box``."""
    share = node.opacity * node.fill_opacity
    return share if node.mask is None else np.asarray(mask_plane(node.mask, box) * np.float32(share), np.float32)


def knocked(node: Node, own: Sequence[StackLayer], box: Box) -> Plane:
    """The share of what lies below that a knockout takes away: its shape under its mask and opacity, not its fill."""
    k = coverage_of(own, box) * np.float32(node.opacity)
    return k if node.mask is None else np.asarray(k * mask_plane(node.mask, box), np.float32)
