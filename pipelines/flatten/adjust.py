"""Adjustment layers, pushed down: each layer below takes the change into its own colours."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipelines.flatten.backdrop import Backdrop
from pipelines.flatten.blend import MODES, NON_SEPARABLE, blend, canonical
from pipelines.flatten.own import through
from pipelines.flatten.planes import Plane
from pipelines.flatten.push import pushed
from pipelines.flatten.recolour import Change, Floats
from pipelines.flatten.stack import StackLayer, brief
from pipelines.flatten.typeset import recoloured
from pipelines.flatten.weights import strength_of
from pipelines.formats.tree import Adjustment, PerChannel
from schemas.design import Lowering
from schemas.geometry import Box


def adjusted(node: Adjustment, scope: Backdrop, visible: Box) -> None:
    """Apply an adjustment to all that its scope has painted, and to what that was painted onto."""
    scopes = scope.reached
    note = f"{brief(node.kind)} of {brief(node.name)!r}"
    change = _change(node)
    layers = pushed([one for at in scopes for one in at.layers], change, visible, scope.channels, note)
    split = iter(layers)
    new = [[next(split) for _ in at.layers] for at in scopes]
    for at, before, after in zip(scopes, [at.layers for at in scopes], new, strict=True):
        at.replace([_told(old, one, node, change) for old, one in zip(before, after, strict=True)])


def _told(before: StackLayer, after: StackLayer, node: Adjustment, change: Change) -> StackLayer:
    if after is before:
        return after
    if node.mask is None and after.pixels.shape[2] == 4:
        after = replace(after, text=recoloured(after.text, change.own))
    return after.at_least(Lowering.PUSHED_DOWN)


def _change(node: Adjustment) -> Change:
    """What the adjustment makes of colours, under its blend mode, opacity, mask and blending options."""
    mode, blending = canonical(node.blend_mode), node.blending
    sifted = bool(blending.own or blending.below)

    def made(colours: Floats) -> Floats:
        made = np.asarray(node.apply(colours), np.float32)
        mixed = np.asarray(blend(mode, colours, made), np.float32) if mode in MODES else made
        if blending.channels is not None:
            for channel, written in enumerate(blending.channels[: colours.shape[-1]]):
                if not written:
                    mixed[..., channel] = colours[..., channel]
        if not sifted:
            return mixed
        shown = through(blending.below, colours, colours.shape[-1]) * through(blending.own, made, made.shape[-1])
        return np.asarray(colours + shown[..., None] * (mixed - colours), np.float32)

    def own(colours: Floats) -> Floats:
        share = node.opacity * node.fill_opacity
        if share <= 0:
            return colours
        return made(colours) if share >= 1 else np.asarray(colours + np.float32(share) * (made(colours) - colours))

    def share(box: Box) -> Plane:
        found = strength_of(node, box)
        return found if isinstance(found, np.ndarray) else np.full((box.height, box.width), found, np.float32)

    separable = isinstance(node.apply, PerChannel) and mode not in NON_SEPARABLE and not sifted
    return Change(own, None, separable) if node.mask is None else Change(made, share, separable)
