"""Group opacity, group masks and clipping as plain layer alphas, exactly.

A layer's weight is its share in the composite, ``w_i = a_i * prod(1 - a_j for j above)``. Fading a group (or clipping
a layer) scales weights; the alphas that give the new weights are ``w_i / (1 - sum(w_j for j above))``. Where the
layers above cover all, any alpha will do: the layer keeps its own, so that what lies hidden survives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pipelines.flatten.backdrop import Backdrop
from pipelines.flatten.planes import (
    BAND_PIXELS,
    COVERED,
    Plane,
    alpha_of,
    bands,
    coverage_of,
    level_of,
    mask_plane,
    trimmed,
)
from pipelines.flatten.stack import StackLayer, brief
from pipelines.formats.tree import Mask, Node
from schemas.geometry import Box, union

Scale = Callable[[Box], "Plane | float"]
"""What a layer's weight is multiplied by in a box."""

_TINY = np.float32(1e-6)
_APART = 8  # levels between two colours that are not the same
_UNEVEN = np.float32(0.05)
_TINTED = 0.01


def reweigh(
    layers: Sequence[StackLayer], scales: Sequence[Scale], note: str, *, keep: bool = False
) -> list[StackLayer]:
    """The layers (bottom to top) with their weights scaled; those left without alpha are gone, unless to ``keep``."""
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
            level = level_of(alpha * before[spot] * scale, alpha * scale, after[spot])
            pixels[index][part.within(layers[index].box).slices][..., -1] = level.astype(np.uint8)
            before[spot] *= 1 - alpha
            after[spot] *= 1 - level / np.float32(255)
    made = [replace(old, pixels=new).noted(note) for old, new in zip(layers, pixels, strict=True)]
    return made if keep else [layer for layer in map(trimmed, made) if layer is not None]


def mixed(before: Sequence[StackLayer], after: Sequence[StackLayer], share: Scale, note: str) -> list[StackLayer]:
    """A stack that shows ``share`` of ``after`` and the rest of ``before``.

    The first layers of ``after`` are those of ``before``, changed, at the same boxes; the others are new and ``noted``.
    """
    pixels = [layer.pixels.copy() for layer in after]
    tinted = [0.0] * len(before)
    for band in bands(union(layer.box for layer in after), max(1 << 12, BAND_PIXELS // max(1, len(after)))):
        _mix(before, after, share(band), band, pixels, tinted)
    made = [replace(layer, pixels=new) for layer, new in zip(after, pixels, strict=True)]
    for i, old in enumerate(before):
        if tinted[i] > _TINTED * float(old.pixels[..., -1].sum(dtype=np.int64)):
            made[i] = made[i].baked("colour of what was painted above left in it")
    return [*made[: len(before)], *(layer.noted(note) for layer in made[len(before) :])]


def _mix(
    before: Sequence[StackLayer],
    after: Sequence[StackLayer],
    share: Plane | float,
    band: Box,
    pixels: Sequence[npt.NDArray[np.uint8]],
    tinted: list[float],
) -> None:
    """``mixed`` in a band: writes ``pixels`` and adds to ``tinted`` the alpha whose colour depends on new layers."""
    old, new = _weights(before, band), _weights(after, band)
    new_above = np.ones((band.height, band.width), np.float32)
    for layer in after[len(before) :]:
        part = layer.box.intersect(band)
        new_above[part.within(band).slices] *= 1 - alpha_of(layer, part) if not part.empty else 1
    left = np.ones((band.height, band.width), np.float32)
    for i in reversed(range(len(after))):
        part = after[i].box.intersect(band)
        if part.empty:
            continue
        spot, rows = part.within(band).slices, part.within(after[i].box).slices
        s = share if isinstance(share, float) else share[spot]
        whole = i < len(before)
        was = (1 - s) * old[i][spot] if whole else np.float32(0)
        now = s * new[i][spot]
        bare = s * alpha_of(after[i], part) + ((1 - s) * alpha_of(before[i], part) if whole else 0)
        level = level_of(was + now, bare, left[spot])
        if whole and before[i] is not after[i]:
            theirs, ours = before[i].pixels[rows][..., :-1], after[i].pixels[rows][..., :-1]
            part_now = np.where(was + now > 0, now / np.maximum(was + now, _TINY), s)[..., None]
            pixels[i][rows][..., :-1] = np.rint(theirs + part_now * (ours.astype(np.float32) - theirs))
            apart = np.abs(ours.astype(np.int16) - theirs).max(-1) > _APART
            uneven = np.abs(part_now[..., 0] - s) > _UNEVEN
            tinted[i] += float(level[apart & uneven & (new_above[spot] < 1)].sum(dtype=np.float64))
        pixels[i][rows][..., -1] = level
        left[spot] *= 1 - level / np.float32(255)


def _weights(layers: Sequence[StackLayer], band: Box) -> list[Plane]:
    """Each layer's share of the composite in ``band``."""
    through = np.ones((band.height, band.width), np.float32)
    weights = [np.zeros((0, 0), np.float32)] * len(layers)
    for i in reversed(range(len(layers))):
        weights[i] = np.zeros((band.height, band.width), np.float32)
        part = layers[i].box.intersect(band)
        if not part.empty:
            spot = part.within(band).slices
            alpha = alpha_of(layers[i], part)
            weights[i][spot] = alpha * through[spot]
            through[spot] *= 1 - alpha
    return weights


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


def pierced(
    node: Node,
    own: Sequence[StackLayer],
    made: Sequence[StackLayer],
    shell: Sequence[StackLayer],
    scope: Backdrop,
) -> None:
    """Take away what lies below a knockout: in its group, or down to the background for a deep one; among clipped
    layers down to their base. ``own``: the shape that pierces, ``made``: the layers that will be painted there, and
    ``shell``: those that lie around the shape.
    """

    def left(box: Box) -> Plane:
        through = 1 - coverage_of(made, box)  # what is painted there hides its share once more
        rest = np.clip(1 - coverage_of(shell, box) - knocked(node, own, box), 0, through)
        return np.asarray(rest / np.maximum(through, COVERED), np.float32)

    at: Backdrop | None = scope
    while at is not None:
        ground, rest = at.layers[: at.grounded], at.layers[at.grounded :]
        if rest:
            cut = reweigh(rest, [left] * len(rest), f"knocked out by {brief(node.name)!r}", keep=True)
            at.replace([*ground, *cut])
        at = at.below if node.blending.knockout == "deep" else None
    scope.forget()


def strength_of(node: Node, box: Box) -> Plane | float:
    """Opacity, fill and mask of a node in ``box``."""
    share = node.opacity * node.fill_opacity
    return share if node.mask is None else np.asarray(mask_plane(node.mask, box) * np.float32(share), np.float32)


def knocked(node: Node, own: Sequence[StackLayer], box: Box) -> Plane:
    """The share of what lies below that a knockout takes away: its shape under its mask and opacity, not its fill."""
    k = coverage_of(own, box) * np.float32(node.opacity)
    return k if node.mask is None else np.asarray(k * mask_plane(node.mask, box), np.float32)
