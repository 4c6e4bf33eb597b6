"""Adjustment layers, pushed down: each layer below takes the change into its own colours."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipelines.flatten.backdrop import Backdrop
from pipelines.flatten.blend import MODES, blend, canonical
from pipelines.flatten.own import through
from pipelines.flatten.push import Change, Floats, pushed
from pipelines.flatten.stack import StackLayer, brief
from pipelines.flatten.typeset import recoloured
from pipelines.flatten.weights import strength_of
from pipelines.formats.tree import Adjustment
from schemas.design import Lowering
from schemas.geometry import Box


def adjusted(node: Adjustment, scope: Backdrop, visible: Box) -> None:
    """Apply an adjustment to all that its scope has painted, and to what that was painted onto."""
    scopes = scope.reached
    note = f"{brief(node.kind)} of {brief(node.name)!r}"
    layers = pushed([one for at in scopes for one in at.layers], _change(node), visible, scope.channels, note)
    split = iter(layers)
    new = [[next(split) for _ in at.layers] for at in scopes]
    for at, before, after in zip(scopes, [at.layers for at in scopes], new, strict=True):
        at.replace([_told(old, one, node) for old, one in zip(before, after, strict=True)])


def _told(before: StackLayer, after: StackLayer, node: Adjustment) -> StackLayer:
    if after is before:
        return after
    if node.mask is None and after.pixels.shape[2] == 4:
        change = _change(node)
        after = replace(after, text=recoloured(after.text, lambda colour: change(colour, after.box)))
    return after if after.lowering is not Lowering.EXACT else replace(after, lowering=Lowering.PUSHED_DOWN)


def _change(node: Adjustment) -> Change:
    """What the adjustment makes of colours, under its blend mode, opacity, mask and blending options."""
    mode, blending = canonical(node.blend_mode), node.blending

    def change(colours: Floats, box: Box) -> Floats:
        share = strength_of(node, box)
        if isinstance(share, float):
            if share <= 0:
                return colours
        elif not share.any():
            return colours
        made = np.asarray(node.apply(colours), np.float32)
        mixed = np.asarray(blend(mode, colours, made), np.float32) if mode in MODES else made
        if blending.channels is not None:
            for channel, written in enumerate(blending.channels[: colours.shape[-1]]):
                if not written:
                    mixed[..., channel] = colours[..., channel]
        if blending.own or blending.below:
            shown = through(blending.below, colours, colours.shape[-1]) * through(blending.own, made, made.shape[-1])
            share = share * shown
        if isinstance(share, float):
            return mixed if share >= 1 else colours + np.float32(share) * (mixed - colours)
        return np.asarray(colours + share[..., None] * (mixed - colours), np.float32)

    return change
