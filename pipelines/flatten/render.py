"""The definition of what a tree means, in float64, straight from the formulas: the lowering is held to it.

W3C Compositing and Blending Level 1 section 10 for blending; Photoshop's rules for clipping (clipped layers paint the
base's colour inside its alpha) and for pass-through groups (the result fades towards the untouched backdrop).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from pipelines.flatten.blend import MODES, canonical
from pipelines.flatten.lower import isolated, runs
from pipelines.flatten.planes import bands, mask_plane
from pipelines.formats.tree import Document, Group, Leaf, Node
from schemas.compositing import Rgba
from schemas.geometry import Box

Floats = npt.NDArray[np.float64]
Picture = tuple[Floats, Floats]
"""Straight colour ``[h, w, 3]`` and alpha ``[h, w, 1]``, 0..1."""


def render_tree(document: Document) -> Rgba:
    """What the tree shows in the visible box: ``uint8 [height, width, 4]``."""
    box = document.visible
    out = np.zeros((box.height, box.width, 4), np.uint8)
    read = _reader(box)
    for band in bands(box, 1 << 18):
        colour, alpha = _nodes(document.nodes, _empty(band), band, read)
        levels = np.concatenate([np.where(alpha > 0, colour, 0), alpha], axis=2) * 255
        out[band.slices] = np.rint(levels).clip(0, 255).astype(np.uint8)
    out[out[..., 3] == 0] = 0
    return out


def _reader(visible: Box) -> Callable[[Leaf], tuple[Rgba, Box]]:
    """Reads each leaf once and keeps what lies in the visible box."""
    kept: dict[int, tuple[Rgba, Box]] = {}

    def read(leaf: Leaf) -> tuple[Rgba, Box]:
        if id(leaf) not in kept:
            part = leaf.box.intersect(visible)
            pixels = np.zeros((0, 0, 4), np.uint8) if part.empty else leaf.pixels()[part.within(leaf.box).slices]
            kept[id(leaf)] = pixels, part
        return kept[id(leaf)]

    return read


Read = Callable[[Leaf], tuple[Rgba, Box]]


def _empty(box: Box) -> Picture:
    return np.zeros((box.height, box.width, 3)), np.zeros((box.height, box.width, 1))


def _nodes(nodes: Sequence[Node], state: Picture, box: Box, read: Read) -> Picture:
    for base, tops in runs(nodes):
        if isinstance(base, Leaf) and base.box.intersect(box).empty:
            continue
        if not tops and isinstance(base, Group) and not isolated(base):
            state = _fade(state, _nodes(base.children, state, box, read), _strength(base, box))
            continue
        colour, alpha = _paint(base, box, read)
        for top in tops:
            own, share = _paint(top, box, read)
            colour = (1 - share) * colour + share * _mix(colour, own, top.blend_mode)
        state = _over(state, (colour, alpha), base.blend_mode)
    return state


def _paint(node: Node, box: Box, read: Read) -> Picture:
    """The node alone under its opacity and mask."""
    colour, alpha = _empty(box)
    if isinstance(node, Group):
        colour, alpha = _nodes(node.children, (colour, alpha), box, read)
    elif isinstance(node, Leaf):
        pixels, where = read(node)
        part = where.intersect(box)
        if not part.empty:
            own = pixels[part.within(where).slices] / 255.0
            colour[part.within(box).slices], alpha[part.within(box).slices] = own[..., :3], own[..., 3:]
    return colour, alpha * _strength(node, box)


def _strength(node: Node, box: Box) -> Floats:
    if node.mask is None:
        return np.full((box.height, box.width, 1), node.opacity)
    return np.asarray(mask_plane(node.mask, box, np.float64)[..., None] * node.opacity, np.float64)


def _mix(backdrop: Floats, source: Floats, mode: str) -> Floats:
    function = MODES.get(canonical(mode))
    return source if function is None else np.asarray(function(backdrop, source), np.float64)


def _over(state: Picture, source: Picture, mode: str) -> Picture:
    (cb, ab), (cs, a) = state, source
    blended = cs if canonical(mode) not in MODES else (1 - ab) * cs + ab * _mix(cb, cs, mode)
    return _straight(a * blended + (1 - a) * ab * cb, a + ab * (1 - a))


def _fade(before: Picture, after: Picture, strength: Floats) -> Picture:
    (cb, ab), (ca, aa) = before, after
    return _straight((1 - strength) * ab * cb + strength * aa * ca, (1 - strength) * ab + strength * aa)


def _straight(premultiplied: Floats, alpha: Floats) -> Picture:
    colour = np.divide(premultiplied, alpha, out=np.zeros_like(premultiplied), where=alpha > 0)
    return np.clip(colour, 0, 1), alpha
