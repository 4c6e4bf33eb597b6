"""What a file format has no words for: a writer refuses it by name, or says it another way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from pipelines.errors import UsageError
from pipelines.formats.style import PLAIN, AnyEffect, Bevel, Glow, Gradient, Overlay, Satin, Shadow, Solid
from pipelines.formats.tree import SRGB, Adjustment, Document, Group, Leaf, Mask, Node, Pixels, Space
from schemas.geometry import Box

_FILL_IS_NOT_OPACITY = frozenset(
    (
        "color-burn",
        "linear-burn",
        "color-dodge",
        "linear-dodge",
        "vivid-light",
        "linear-light",
        "hard-mix",
        "difference",
    )
)
"""Modes in which fill opacity is more than a weaker layer."""


def refuse(node: Node, what: str, *, effects: bool = False, names: bool = False) -> None:
    """Raise a UsageError that names what of ``node`` the format ``what`` cannot keep.

    ``effects``: it has effects, fills and blending options of its own. ``names``: it keeps the names of what is not
    drawn.
    """
    found = [*(() if names else _named(node)), *_never(node), *(() if effects else _looks(node))]
    named = ", ".join(dict.fromkeys(found))
    if named:
        raise UsageError(f"layer {node.name!r}: draw {named} into its pixels before writing {what}")


def _named(node: Node) -> Iterator[str]:
    if not node.style:
        yield from node.effects  # with nothing to draw them by
    yield from node.undrawn


def _never(node: Node) -> Iterator[str]:
    if isinstance(node, Adjustment):
        yield f"adjustment:{node.kind}"
    if isinstance(node, Leaf) and node.stroke is not None:
        yield "vector-stroke"


def _looks(node: Node) -> Iterator[str]:
    yield from map(name_of, node.style)
    if node.blending != PLAIN:
        yield "blending-options"
    if node.fill_opacity < 1 and node.blend_mode in _FILL_IS_NOT_OPACITY:
        yield "fill-opacity"
    if isinstance(node, Leaf) and node.fill is not None and not isinstance(node.fill, Solid):
        yield "gradient-fill" if isinstance(node.fill, Gradient) else "pattern-fill"


def name_of(effect: AnyEffect) -> str:
    """What an effect is called in records."""
    if isinstance(effect, Shadow):
        return "inner-shadow" if effect.inner else "drop-shadow"
    if isinstance(effect, Glow):
        return "inner-glow" if effect.inner else "outer-glow"
    if isinstance(effect, Overlay):
        kind = "gradient" if isinstance(effect.paint, Gradient) else "pattern"
        return "color-overlay" if isinstance(effect.paint, Solid) else f"{kind}-overlay"
    if isinstance(effect, Satin):
        return "satin"
    return "bevel-emboss" if isinstance(effect, Bevel) else "stroke"


def plain(document: Document, what: str, *, names: bool = False) -> Document:
    """The document in sRGB without what formats of plain pixels lack: plain fills are drawn, fill opacity is opacity,
    artboards are masked groups. ``names``: as in ``refuse``.

    Raises:
        UsageError: a node has what only pixels could say: effects, blending options, adjustments, other fills.
    """
    nodes = tuple(_plain(node, document.space, what, names) for node in document.nodes)
    return replace(document, nodes=nodes, space=SRGB)


def _plain(node: Node, space: Space, what: str, names: bool) -> Node:
    refuse(node, what, names=names)
    node = replace(node, opacity=node.opacity * node.fill_opacity, fill_opacity=1.0)
    if isinstance(node, Group):
        children = tuple(_plain(child, space, what, names) for child in node.children)
        node = replace(node, children=children)
        return node if node.clip is None else replace(node, mask=_within(node.mask, node.clip), clip=None)
    if isinstance(node, Leaf) and (space.convert is not None or node.fill is not None):
        leaf = node
        return replace(node, pixels=lambda: _pixels(leaf, space), fill=None)
    return node


def _pixels(leaf: Leaf, space: Space) -> Pixels:
    pixels = np.array(leaf.pixels(), np.uint8)
    if isinstance(leaf.fill, Solid):
        pixels[..., :-1] = np.rint(np.asarray(leaf.fill.colour, np.float64) * 255).clip(0, 255)
    return space.rgba(pixels)


def _within(mask: Mask | None, clip: Box) -> Mask:
    """A mask cut off at ``clip``."""
    pixels = np.full((clip.height, clip.width), 255 if mask is None else mask.outside, np.uint8)
    part = clip if mask is None else mask.box.intersect(clip)
    if mask is not None and not part.empty:
        pixels[part.within(clip).slices] = mask.pixels[part.within(mask.box).slices]
    return Mask(clip, pixels, 0)
