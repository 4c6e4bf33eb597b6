"""Adjustment layers, pushed down: each layer below takes the change into its own colours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from pipelines.flatten.backdrop import Backdrop
from pipelines.flatten.blend import MODES, blend, canonical
from pipelines.flatten.own import through
from pipelines.flatten.planes import Plane, coverage_of
from pipelines.flatten.push import Change, Floats, changed, pushed
from pipelines.flatten.stack import StackLayer, brief
from pipelines.flatten.weights import strength_of
from pipelines.formats.tree import Adjustment, Node
from schemas.design import Lowering
from schemas.geometry import Box

Gate = Callable[[Box], "Plane | float"]


def adjusted(node: Adjustment, scope: Backdrop, visible: Box) -> None:
    """Apply an adjustment to all that its scope has painted, and to what that was painted onto."""
    scopes = [scope]
    while (below := scopes[-1].below) is not None:
        scopes.append(below)
    scopes.reverse()
    note = f"{brief(node.kind)} of {brief(node.name)!r}"
    if all(_open(at.gate) for at in scopes):
        layers = pushed([one for at in scopes for one in at.layers], _change(node, ()), visible, scope.channels, note)
        split = iter(layers)
        new = [[next(split) for _ in at.layers] for at in scopes]
    else:  # a group in between lets only a part of the change through to what lies below it
        gates = [tuple(map(_gate, scopes[i + 1 :])) for i in range(len(scopes))]
        new = [[_noted(one, node, gate, note) for one in at.layers] for at, gate in zip(scopes, gates, strict=True)]
    for at, before, after in zip(scopes, [at.layers for at in scopes], new, strict=True):
        at.replace([_told(old, one) for old, one in zip(before, after, strict=True)])


def _gate(scope: Backdrop) -> Gate:
    """The share of a change in ``scope`` that what lies below its layers takes on.

    Of an alpha a at gate g the result is (1 - g) D + g (a C + (1 - a) f(D)): what lies below, which shows at 1 - g a,
    has to change by g (1 - a) / (1 - g a).
    """
    layers = list(scope.layers)

    def share(box: Box) -> Plane | float:
        gate = 1.0 if scope.gate is None else strength_of(scope.gate, box)
        alpha = coverage_of(layers, box)
        return np.asarray(gate * (1 - alpha) / np.maximum(1 - gate * alpha, np.float32(1e-6)), np.float32)

    return share


def _noted(layer: StackLayer, node: Adjustment, gates: tuple[Gate, ...], note: str) -> StackLayer:
    new = changed(layer, _change(node, gates))
    return layer if new is layer else new.noted(note)


def _told(before: StackLayer, after: StackLayer) -> StackLayer:
    if after is before or after.lowering is not Lowering.EXACT:
        return after
    return replace(after, lowering=Lowering.PUSHED_DOWN)


def _open(gate: Node | None) -> bool:
    return gate is None or (gate.opacity * gate.fill_opacity >= 1 and gate.mask is None)


def _change(node: Adjustment, gates: tuple[Gate, ...]) -> Change:
    """What the adjustment makes of colours, under its blend mode, opacity, mask and blending options."""
    mode, blending = canonical(node.blend_mode), node.blending

    def change(colours: Floats, box: Box) -> Floats:
        share = strength_of(node, box)
        for gate in gates:
            share = share * gate(box)
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
