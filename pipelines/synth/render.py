"""A quick true render of a tree, for the preview: float32, each layer only where it lies.

The meaning is that of ``pipelines.flatten.render_tree`` (float64, whole canvas); a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from pipelines.flatten.blend import MODES, canonical
from pipelines.flatten.lower import isolated, runs
from pipelines.formats.tree import Group, Leaf, Mask, Node
from schemas.compositing import Rgba
from schemas.geometry import Box, union

Floats = npt.NDArray[np.float32]


class _Canvas:
    """Premultiplied colour ``[3, h, w]`` and alpha ``[h, w]`` (0..1) over ``box``."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self.colour = np.zeros((3, box.height, box.width), np.float32)
        self.alpha = np.zeros((box.height, box.width), np.float32)

    def straight(self) -> Floats:
        return np.divide(self.colour, self.alpha, out=np.zeros_like(self.colour), where=self.alpha > 0)


def render(nodes: Sequence[Node], box: Box) -> Rgba:
    """What ``nodes`` show in ``box``: uint8 ``[box.height, box.width, 4]``."""
    canvas = _Canvas(box)
    _draw(nodes, canvas)
    out = np.empty((box.height, box.width, 4), np.uint8)
    straight = canvas.colour if canvas.alpha.min(initial=1) == 1 else canvas.straight()
    for channel, plane in enumerate((*straight, canvas.alpha)):
        out[..., channel] = np.clip(plane * np.float32(255) + np.float32(0.5), 0, 255)
    out[out[..., 3] == 0] = 0
    return out


def _draw(nodes: Sequence[Node], canvas: _Canvas) -> None:
    for base, tops in runs(nodes):
        if not tops and isinstance(base, Group) and not isolated(base) and base.mask is None and base.opacity == 1:
            _draw(base.children, canvas)
            continue
        part = _extent(base).intersect(canvas.box)
        if part.empty:
            continue
        colour, alpha = _alone(base, part)
        for top in tops:
            own, share = _alone(top, part)
            colour += (_blend(colour, own, top.blend_mode) - colour) * share
        _over(canvas, part, colour, alpha, base.blend_mode)


def extent(nodes: Iterable[Node]) -> Box:
    """The smallest box around the pixels of the visible ``nodes``."""
    return union(_extent(node) for node in nodes if node.visible)


def _extent(node: Node) -> Box:
    if isinstance(node, Group):
        return extent(node.children)
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
            rows, columns = part.within(box).slices
            for channel in range(3):
                np.multiply(own[..., channel], np.float32(1 / 255), out=colour[channel, rows, columns])
            np.multiply(own[..., 3], np.float32(1 / 255), out=alpha[rows, columns])
    if node.opacity < 1:
        alpha *= np.float32(node.opacity)
    if node.mask is not None:
        alpha *= _plane(node.mask, box)
    return colour, alpha


def _plane(mask: Mask, box: Box) -> Floats:
    out = np.full((box.height, box.width), mask.outside / 255, np.float32)
    part = mask.box.intersect(box)
    if not part.empty:
        out[part.within(box).slices] = mask.pixels[part.within(mask.box).slices] * np.float32(1 / 255)
    return out


def _blend(backdrop: Floats, source: Floats, mode: str) -> Floats:
    function = MODES.get(canonical(mode))
    if function is None:
        return source
    mixed = function(np.moveaxis(backdrop, 0, -1), np.moveaxis(source, 0, -1))
    return np.moveaxis(np.asarray(mixed, np.float32), -1, 0)


def _over(canvas: _Canvas, part: Box, colour: Floats, alpha: Floats, mode: str) -> None:
    """W3C Compositing and Blending Level 1, section 5.8: the blended source over what is there."""
    rows, columns = part.within(canvas.box).slices
    below, backdrop = canvas.colour[:, rows, columns], canvas.alpha[rows, columns]
    if canonical(mode) in MODES:
        under = np.divide(below, backdrop, out=np.zeros_like(below), where=backdrop > 0)
        colour = colour + (_blend(under, colour, mode) - colour) * backdrop
    colour -= below
    colour *= alpha
    below += colour
    backdrop += (1 - backdrop) * alpha
