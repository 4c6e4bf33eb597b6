"""A quick true render of a tree, for the preview: float32, each layer only where it lies.

The meaning is that of ``pipelines.flatten.render_tree`` (float64, whole canvas) for what the generator writes: no
adjustments, no blending options, effects on unclipped nodes. A test holds the two together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import ceil

import numpy as np
import numpy.typing as npt

from pipelines.flatten.blend import MODES, canonical
from pipelines.flatten.drawn import Drawn, Piece
from pipelines.flatten.effects import draw_style
from pipelines.flatten.lower import isolated, runs
from pipelines.flatten.own import own_pixels
from pipelines.formats.style import AnyEffect, Glow, Overlay, Satin, Shadow
from pipelines.formats.tree import Group, Leaf, Mask, Node, Pixels
from schemas.compositing import Rgba
from schemas.geometry import Box, union

Floats = npt.NDArray[np.float32]


class _Canvas:
    """Premultiplied colour ``[3, h, w]`` and alpha ``[h, w]`` (0..1) over ``box``; ``visible``: the document's box."""

    def __init__(self, box: Box, visible: Box) -> None:
        self.box = box
        self.visible = visible
        self.colour = np.zeros((3, box.height, box.width), np.float32)
        self.alpha = np.zeros((box.height, box.width), np.float32)

    def straight(self) -> Floats:
        return np.divide(self.colour, self.alpha, out=np.zeros_like(self.colour), where=self.alpha > 0)

    def part(self, box: Box) -> _Canvas:
        """A copy of what lies in ``box``."""
        out = _Canvas(Box(0, 0, 0, 0), self.visible)
        rows, columns = box.within(self.box).slices
        out.box, out.colour, out.alpha = box, self.colour[:, rows, columns].copy(), self.alpha[rows, columns].copy()
        return out

    def towards(self, other: _Canvas, share: Floats | np.float32) -> None:
        """Put ``share`` of another canvas of the same box in the place of what is here."""
        self.colour += (other.colour - self.colour) * share
        self.alpha += (other.alpha - self.alpha) * share


def render(nodes: Sequence[Node], box: Box) -> Rgba:
    """What ``nodes`` show in ``box``, which is the document: uint8 ``[box.height, box.width, 4]``."""
    canvas = _Canvas(box, box)
    _draw(nodes, canvas)
    return _levels(canvas)


def _levels(canvas: _Canvas) -> Rgba:
    out = np.empty((canvas.box.height, canvas.box.width, 4), np.uint8)
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
        colour, alpha = _own(base, part, canvas.visible)
        if base.mask is not None:
            alpha *= _plane(base.mask, part)
        for top in tops:
            own, share = _own(top, part, canvas.visible)
            share *= np.float32(top.opacity)
            if top.mask is not None:
                share *= _plane(top.mask, part)
            colour += (_blend(colour, own, top.blend_mode) - colour) * share
        if base.style or base.fill_opacity < 1:
            _styled(canvas, part, colour, alpha, base)
        else:
            _over(canvas, part, colour, alpha * np.float32(base.opacity), base.blend_mode)


def _styled(canvas: _Canvas, part: Box, colour: Floats, shape: Floats, base: Node) -> None:
    """A node with effects: what lies behind; paint and inner effects as if they were everywhere, confined to its shape;
    all of it under its opacity."""
    drawn = _effects(base, canvas)
    state, outside, inside = (canvas.part(part) for _ in range(3))
    for piece in drawn.behind:
        _piece(outside, piece, state)
        if not piece.concealed:
            _piece(inside, piece, inside)
    bottom = inside.part(part) if any(piece.cuts is not None for piece in drawn.inside) else inside
    _over(inside, part, colour, np.full_like(shape, base.fill_opacity), base.blend_mode)
    for piece in drawn.inside:
        _piece(inside, piece, bottom)
    outside.towards(inside, shape)
    for piece in drawn.above:
        _piece(outside, piece, state)
    state.towards(outside, np.float32(base.opacity))
    rows, columns = part.within(canvas.box).slices
    canvas.colour[:, rows, columns], canvas.alpha[rows, columns] = state.colour, state.alpha


def _piece(canvas: _Canvas, piece: Piece, bottom: _Canvas) -> None:
    """Paint a piece; what it takes away first uncovers ``bottom``, of the canvas's box."""
    part = piece.box.intersect(canvas.box)
    if not part.empty:
        spot = part.within(piece.box).slices
        if piece.cuts is not None and bottom is not canvas:
            cut = np.zeros_like(canvas.alpha)
            cut[part.within(canvas.box).slices] = piece.cuts[spot] * np.float32(1 / 255)
            canvas.towards(bottom, cut)
        own = piece.pixels[spot]
        planes = np.moveaxis(own, 2, 0) * np.float32(1 / 255)
        _over(canvas, part, planes[:3], planes[3], piece.blend_mode)


def _effects(node: Node, canvas: _Canvas) -> Drawn:
    """What a node's style draws on its whole shape, as far as it can be seen in the canvas."""
    if isinstance(node, Leaf):
        pixels, where = node.pixels(), node.box
    else:
        where = _extent(replace(node, style=()))
        own = _Canvas(where, canvas.visible)
        _draw(node.children if isinstance(node, Group) else (), own)
        pixels = _levels(own)
    alpha = np.ascontiguousarray(pixels[..., 3])
    if node.mask is not None:
        alpha = np.rint(alpha * _plane(node.mask, where)).astype(np.uint8)
    return draw_style(node.style, alpha, where, document=canvas.visible, reach=canvas.box, channels=3)


def extent(nodes: Iterable[Node]) -> Box:
    """The smallest box around what the visible ``nodes`` paint."""
    return union(_extent(node) for node in nodes if node.visible)


def _extent(node: Node) -> Box:
    box = Box(0, 0, 0, 0)
    if isinstance(node, Group):
        box = extent(node.children)
    elif isinstance(node, Leaf):
        box = node.box
    if box.empty or not node.style:
        return box
    out = ceil(max(map(_margin, node.style))) + 1
    return Box(box.x0 - out, box.y0 - out, box.x1 + out, box.y1 + out)


def _margin(effect: AnyEffect) -> float:
    """How far an effect may reach out of its layer, in px."""
    if isinstance(effect, Overlay | Satin):
        return 0.0
    if isinstance(effect, Shadow | Glow) and effect.inner:
        return 0.0
    return effect.size + 1 + (effect.distance if isinstance(effect, Shadow) else 0.0)


def _own(node: Node, box: Box, visible: Box) -> tuple[Floats, Floats]:
    """Straight colour and alpha of ``node`` in ``box``, without its opacity and mask."""
    canvas = _Canvas(box, visible)
    if isinstance(node, Group):
        _draw(node.children, canvas)
        return canvas.straight(), canvas.alpha
    colour, alpha = canvas.colour, canvas.alpha
    part = node.box.intersect(box) if isinstance(node, Leaf) else Box(0, 0, 0, 0)
    if isinstance(node, Leaf) and not part.empty:
        own = _pixels(node, visible)[part.within(node.box).slices]
        rows, columns = part.within(box).slices
        for channel in range(3):
            np.multiply(own[..., channel], np.float32(1 / 255), out=colour[channel, rows, columns])
        np.multiply(own[..., 3], np.float32(1 / 255), out=alpha[rows, columns])
    return colour, alpha


def _pixels(leaf: Leaf, visible: Box) -> Pixels:
    return leaf.pixels() if leaf.fill is None else own_pixels(leaf, visible, 3)


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
