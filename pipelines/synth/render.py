"""A quick true render of a tree, for the preview: float32, each layer only where it lies.

The meaning is that of ``pipelines.flatten.render_tree`` (float64, whole canvas); a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipelines.flatten.blend import MODES, canonical
from pipelines.flatten.lower import isolated, runs
from pipelines.formats.tree import Group, Leaf, Mask, Node
from schemas.compositing import Rgba
from schemas.geometry import Box, union

Floats = npt.NDArray[np.float32]


class _Canvas:
    """Premultiplied colour ``[h, w, 3]`` and alpha ``[h, w, 1]`` (0..1) over ``box``."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self.colour = np.zeros((box.height, box.width, 3), np.float32)
        self.alpha = np.zeros((box.height, box.width, 1), np.float32)

    def straight(self) -> Floats:
        return np.divide(self.colour, self.alpha, out=np.zeros_like(self.colour), where=self.alpha > 0)


def render(nodes: Sequence[Node], width: int, height: int) -> Rgba:
    """What ``nodes`` show in a visible box of ``width`` x ``height`` px: uint8 ``[height, width, 4]``."""
    canvas = _Canvas(Box(0, 0, width, height))
    _draw(nodes, canvas)
    out = np.concatenate([canvas.straight(), canvas.alpha], axis=2)
    out *= 255
    levels = np.rint(out, out=out).clip(0, 255).astype(np.uint8)
    levels[levels[..., 3] == 0] = 0
    return levels


def _draw(nodes: Sequence[Node], canvas: _Canvas) -> None:
    for base, tops in runs(nodes):
        if not base.visible:
            continue
        if not tops and isinstance(base, Group) and not isolated(base) and base.mask is None and base.opacity == 1:
            _draw(base.children, canvas)
            continue
        part = _extent(base).intersect(canvas.box)
        if part.empty:
            continue
        colour, alpha = _alone(base, part)
        for top in tops:
            if top.visible:
                own, share = _alone(top, part)
                colour += (_blend(colour, own, top.blend_mode) - colour) * share
        _over(canvas, part, colour, alpha, base.blend_mode)


def _extent(node: Node) -> Box:
    if isinstance(node, Group):
        return union(_extent(child) for child in node.children if child.visible)
    return node.box if isinstance(node, Leaf) else Box(0, 0, 0, 0)


def _alone(node: Node, box: Box) -> tuple[Floats, Floats]:
    """Straight colour and alpha of ``node`` in ``box``, under its opacity and mask."""
    canvas = _Canvas(box)
    if isinstance(node, Group):
        _draw(node.children, canvas)
        colour, alpha = canvas.straight(), canvas.alpha
    else:
        colour, alpha = canvas.colour, canvas.alpha
        part = node.box.intersect(box) if isinstance(node, Leaf) else Box(0, 0, 0, 0)
        if isinstance(node, Leaf) and not part.empty:
            own = node.pixels()[part.within(node.box).slices]
            colour[part.within(box).slices] = own[..., :3] * np.float32(1 / 255)
            alpha[part.within(box).slices] = own[..., 3:] * np.float32(1 / 255)
    if node.opacity < 1:
        alpha *= np.float32(node.opacity)
    if node.mask is not None:
        alpha *= _plane(node.mask, box)
    return colour, alpha


def _plane(mask: Mask, box: Box) -> Floats:
    out = np.full((box.height, box.width, 1), mask.outside / 255, np.float32)
    part = mask.box.intersect(box)
    if not part.empty:
        out[(*part.within(box).slices, 0)] = mask.pixels[part.within(mask.box).slices] * np.float32(1 / 255)
    return out


def _blend(backdrop: Floats, source: Floats, mode: str) -> Floats:
    function = MODES.get(canonical(mode))
    return source if function is None else np.asarray(function(backdrop, source), np.float32)


def _over(canvas: _Canvas, part: Box, colour: Floats, alpha: Floats, mode: str) -> None:
    """W3C Compositing and Blending Level 1, section 5.8: the blended source over what is there."""
    where = part.within(canvas.box).slices
    below, backdrop = canvas.colour[where], canvas.alpha[where]
    if canonical(mode) in MODES:
        under = np.divide(below, backdrop, out=np.zeros_like(below), where=backdrop > 0)
        colour = colour + (_blend(under, colour, mode) - colour) * backdrop
    below += (colour - below) * alpha
    backdrop += (1 - backdrop) * alpha
