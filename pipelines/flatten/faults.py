"""Which features of a document may be at fault where its stack does not show what the document shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from pipelines.flatten.blend import MODES, canonical
from pipelines.flatten.drawn import cast_by
from pipelines.flatten.lower import runs
from pipelines.flatten.stack import brief
from pipelines.formats.style import PLAIN
from pipelines.formats.tree import Adjustment, Document, Group, Leaf, Node
from schemas.geometry import Box, union

_NAMED = 6


def undrawn(document: Document) -> str:
    """The visible features that were drawn as if absent, most frequent first; empty where there are none."""
    counted = Counter(feature for node in _visible(document.nodes) for feature in _not_drawn(node))
    return _listed(
        [brief(name) if times == 1 else f"{brief(name)} ({times}x)" for name, times in counted.most_common()]
    )


def drawn_near(document: Document, worst: Box) -> str:
    """The features of what shows in ``worst``, those first that are the hardest to draw; then the layers themselves."""
    here = [node for node in _visible(document.nodes) if not _extent(node, document.visible).intersect(worst).empty]
    found = Counter(feature for node in here for feature in _features(node))
    hardest = sorted(found, key=lambda feature: (_HARD.index(feature[0]), feature[1]))
    leaves = [f"layer {brief(node.name)!r}" for node in here if isinstance(node, Leaf)]
    return _listed([name for _, name in hardest] or leaves[::-1])


_HARD = ("adjustment", "effect", "option", "blending", "fill", "clipping", "mask", "group")


def _features(node: Node) -> Iterator[tuple[str, str]]:
    if isinstance(node, Adjustment):
        yield "adjustment", node.kind
    yield from (("effect", brief(name)) for name in node.effects)
    if node.blending.knockout != "none":
        yield "option", "knockout"
    if node.blending.own or node.blending.below:
        yield "option", "blend-if"
    if node.blending != PLAIN and node.blending.knockout == "none" and not (node.blending.own or node.blending.below):
        yield "option", "advanced blending"
    if node.fill_opacity < 1:
        yield "option", "fill opacity"
    mode = canonical(node.blend_mode)
    if mode not in ("normal", "pass-through"):
        yield "blending", f"blend mode {brief(mode)}"
    if isinstance(node, Leaf) and node.fill is not None:
        yield "fill", f"{type(node.fill).__name__.lower()} fill"
    if isinstance(node, Leaf) and node.stroke is not None:
        yield "fill", "shape stroke"
    if node.clipped:
        yield "clipping", "clipping"
    if node.mask is not None:
        yield "mask", "mask"
    if isinstance(node, Group) and node.opacity < 1:
        yield "group", "group opacity"


def _extent(node: Node, visible: Box) -> Box:
    """Where a node may show."""
    if isinstance(node, Group):
        box = union(_extent(child, visible) for child in node.children)
    else:
        box = node.box if isinstance(node, Leaf) else visible
    grow = 0 if box.empty else cast_by(node.style)
    return Box(box.x0 - grow, box.y0 - grow, box.x1 + grow, box.y1 + grow)


def _not_drawn(node: Node) -> Iterator[str]:
    yield from node.undrawn
    mode = canonical(node.blend_mode)
    if mode != "normal" and mode not in MODES:
        yield f"blend mode {mode}"


def _visible(nodes: tuple[Node, ...]) -> Iterator[Node]:
    for base, tops in runs(nodes):
        for node in (base, *tops):
            if node.opacity > 0:
                yield node
                if isinstance(node, Group):
                    yield from _visible(node.children)


def _listed(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
