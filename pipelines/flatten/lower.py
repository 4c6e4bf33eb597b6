"""From the tree to a flat list of normal-mode layers (DESIGN section 5), cleanest way first.

Only what is visible is read. A node that blends is baked against what lies below it *in its scope*: an isolated
group, or a run of clipped layers, is a scope of its own; a pass-through group is not. Undrawn features are treated as
absent: the recomposition check decides whether that was true enough.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.flatten.backdrop import Backdrop
from pipelines.flatten.bake import blended
from pipelines.flatten.blend import canonical
from pipelines.flatten.planes import cropped, trimmed
from pipelines.flatten.stack import StackLayer, brief
from pipelines.flatten.weights import clipped, cut_outside, faded
from pipelines.formats.tree import Document, Group, Leaf, Node
from schemas.geometry import Box


def runs(nodes: Sequence[Node]) -> Iterator[tuple[Node, list[Node]]]:
    """Each visible node with what is visibly clipped to it; what is clipped to a hidden node is hidden with it.

    A group that only empty layers are clipped to stays pass-through, as in Photoshop.
    """
    base: Node | None = None
    tops: list[Node] = []
    for node in nodes:
        if base is not None and node.clipped:
            tops.append(node)
            continue
        if base is not None and base.visible:
            yield base, [top for top in tops if _paints(top)]
        base, tops = node, []
    if base is not None and base.visible:
        yield base, [top for top in tops if _paints(top)]


def _paints(node: Node) -> bool:
    return node.visible and not (isinstance(node, Leaf) and node.box.empty)


def isolated(group: Group) -> bool:
    """Whether the group is composited alone before it meets what lies below."""
    return group.isolated or canonical(group.blend_mode) != "normal"


@dataclass(frozen=True)
class Lowerer:
    """Lowers nodes. ``visible``: the visible box; ``reach``: what no canvas can hold beyond is cut off when read."""

    visible: Box
    reach: Box

    def nodes(self, nodes: Sequence[Node], below: Backdrop) -> list[StackLayer]:
        """The nodes as layers, painted onto ``below``, which is what the same scope painted before them."""
        out: list[StackLayer] = []
        for base, tops in runs(nodes):
            if not tops and isinstance(base, Group) and not isolated(base):
                out += self._through(base, below)
                continue
            made = self._run(base, tops, below)
            below.add(made)
            out += made
        return out

    def _through(self, group: Group, below: Backdrop) -> list[StackLayer]:
        if group.opacity >= 1 and group.mask is None:
            return self._fade(group, self.nodes(group.children, below))
        made = self._fade(group, self.nodes(group.children, Backdrop(below)))
        below.add(made)
        return made

    def _run(self, base: Node, tops: Sequence[Node], below: Backdrop) -> list[StackLayer]:
        painted = self._paint(base)
        under = Backdrop()
        under.add(painted)
        on: list[StackLayer] = []
        for top in tops:
            made = blended(self._paint(top), top.blend_mode, under, self.visible, name=top.name, opaque=True)
            under.add(made, atop=True)
            on += made
        run = clipped(painted, on, base.name)
        return blended(run, base.blend_mode, below, self.visible, name=base.name)

    def _paint(self, node: Node) -> list[StackLayer]:
        """The node alone, with its opacity and mask but not its blend mode."""
        if isinstance(node, Group):
            return self._fade(node, self.nodes(node.children, Backdrop()))
        if isinstance(node, Leaf):
            return self._leaf(node)
        return []

    def _fade(self, group: Group, layers: list[StackLayer]) -> list[StackLayer]:
        name = repr(brief(group.name))
        what = [f"opacity {group.opacity:.0%}"] if group.opacity < 1 else []
        if (mask := group.mask) is not None:
            what.append("mask")
            layers = [
                layer.noted(f"clipped by {name}") if cut_outside(layer, mask, self.visible) else layer
                for layer in layers
            ]
        layers = [
            layer.noted(*(f"{brief(word)} of group {name} not drawn" for word in group.undrawn)) for layer in layers
        ]
        return faded(layers, group.opacity, mask, f"{' and '.join(what)} of group {name}")

    def _leaf(self, leaf: Leaf) -> list[StackLayer]:
        if leaf.box.intersect(self.reach).empty or leaf.opacity <= 0:
            return []
        layer = StackLayer(
            pixels=np.asarray(leaf.pixels(), np.uint8),
            box=leaf.box,
            name=leaf.name,
            kind=leaf.kind,
            opacity=leaf.opacity,
            blend_mode=leaf.blend_mode,
            effects=leaf.effects,
            text=leaf.text,
        ).noted(*(f"{brief(word)} not drawn" for word in leaf.undrawn))
        inside = trimmed(layer)
        inside = inside and cropped(inside, self.reach)
        return [] if inside is None else faded([inside], leaf.opacity, leaf.mask, "")


def lowered(document: Document, reach: Box) -> list[StackLayer]:
    """The document's layers, bottom to top, in document pixels."""
    return Lowerer(document.visible, reach).nodes(document.nodes, Backdrop())
