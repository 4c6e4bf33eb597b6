"""From the tree to a flat list of normal-mode layers (DESIGN section 5), cleanest way first.

Only what is visible is read. A node that blends is baked against what lies below it *in its scope*: an isolated
group, or a run of clipped layers, is a scope of its own; a pass-through group is not. Undrawn features are treated as
absent: the recomposition check decides whether that was true enough.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from pipelines.flatten.adjust import adjusted
from pipelines.flatten.backdrop import Backdrop
from pipelines.flatten.bake import Blend, blended
from pipelines.flatten.blend import SPECIAL, canonical
from pipelines.flatten.own import own_pixels
from pipelines.flatten.planes import cropped, trimmed
from pipelines.flatten.restrict import only_channels, only_where
from pipelines.flatten.stack import Shadows, StackLayer, brief
from pipelines.flatten.styled import Styled
from pipelines.flatten.weights import clipped, cut_outside, faded, mixed, pierced, strength_of
from pipelines.formats.tree import Adjustment, Document, Group, Leaf, Node, Pixels
from schemas.geometry import Box, union


def runs(nodes: Sequence[Node]) -> Iterator[tuple[Node, list[Node]]]:
    """Each visible node with what is visibly clipped to it; what is clipped to a hidden node is hidden with it."""
    base: Node | None = None
    tops: list[Node] = []
    for node in nodes:
        if base is not None and node.clipped:
            tops.append(node)
            continue
        if base is not None and base.visible:
            yield base, [top for top in tops if top.visible]
        base, tops = node, []
    if base is not None and base.visible:
        yield base, [top for top in tops if top.visible]


def isolated(group: Group) -> bool:
    """Whether the group is composited alone before it meets what lies below."""
    blending = group.blending
    special = group.clip or blending.knockout != "none" or blending.channels or blending.own or blending.below
    return group.isolated or bool(special) or canonical(group.blend_mode) != "normal"


def strength(node: Node) -> float:
    """The share of a node's own paint that shows, where fill opacity is no more than opacity."""
    special = canonical(node.blend_mode) in SPECIAL
    return node.opacity if special else node.opacity * node.fill_opacity


@dataclass(frozen=True)
class Lowerer:
    """Lowers nodes. ``visible``: the visible box; ``reach``: what no canvas can hold beyond is cut off when read.

    ``channels``: colour channels of the document's space. ``shadows``: whether what lies behind a layer becomes
    part of it.
    """

    visible: Box
    reach: Box
    channels: int = 3
    shadows: Shadows = Shadows.JOINED

    def nodes(self, nodes: Sequence[Node], scope: Backdrop) -> list[StackLayer]:
        """Paint the nodes into ``scope``; all that it then holds."""
        for base, tops in runs(nodes):
            self.node(base, tops, scope)
        return scope.layers

    def node(self, base: Node, tops: Sequence[Node], scope: Backdrop) -> None:
        """Paint a node, with what is clipped to it, into ``scope``."""
        if isinstance(base, Adjustment):
            adjusted(base, scope, self.visible)
            for top in tops:
                self.node(top, (), scope)
        elif isinstance(base, Group) and not tops and not base.style and not isolated(base):
            self._through(base, scope)
        else:
            self._unit(base, tops, scope)

    def _through(self, group: Group, scope: Backdrop) -> None:
        """A pass-through group: its children blend with what lies below it, and it fades what they did."""
        apart = group.undrawn or any(child.blending.knockout == "shallow" for child in group.children)
        if strength(group) >= 1 and group.mask is None and not apart:
            self.nodes(group.children, scope)
            return
        scopes = scope.reached
        before = [list(at.layers) for at in scopes]
        inner = Backdrop(self.channels, start=scope)
        self.nodes(group.children, inner)
        old = [layer for layers in before for layer in layers]
        new = [layer for at in scopes for layer in at.layers]
        if all(one is other for one, other in zip(old, new, strict=True)):
            scope.add(self.fade(group, inner.layers, strength(group)))
            return
        made = mixed(old, [*new, *inner.layers], partial(strength_of, group), f"in group {brief(group.name)!r}")
        for at in scopes:
            count = len(at.layers)
            at.replace(made[:count])
            made = made[count:]
        scope.add([layer for layer in map(trimmed, made) if layer is not None])

    def _unit(self, base: Node, tops: Sequence[Node], scope: Backdrop) -> None:
        """A leaf or an isolated group with what is clipped to it, as one thing that blends."""
        own = self.own(base, scope)
        if not own and not (base.style and isinstance(base, Leaf) and base.fill is not None):
            return
        knockout, below = base.blending.knockout, scope
        shell: list[StackLayer] = []
        if knockout != "none":
            below = scope.floor(knockout == "deep")
        if _plain(base, tops):
            own = only_where(own, base.blending, scope)
            run = self.clip(self.fade(base, own, strength(base)), tops, base.name)
            how = Blend(base.blend_mode, base.fill_opacity)
            made = blended(run, how, below, self.visible, name=base.name)
        else:
            made, shell = Styled(self, base, tops, below).lowered(own)
        made = only_channels(made, base, scope)
        if knockout != "none":
            pierced(base, own, made, shell, scope)
        scope.add(made)

    def clip(self, painted: list[StackLayer], tops: Sequence[Node], name: str) -> list[StackLayer]:
        """``painted`` with ``tops`` painted on it and only there."""
        if not tops or not painted:
            return painted
        scope = Backdrop(self.channels, solid=True, base=len(painted), layers=list(painted))
        for top in tops:
            if isinstance(top, Adjustment):
                _settle(scope, name)
            self.node(top, (), scope)
        _settle(scope, name)
        return scope.layers

    def own(self, node: Node, scope: Backdrop, *, solid: bool = False) -> list[StackLayer]:
        """The node's own paint at full strength, without mask; ``solid``: as if a fill had no transparency.

        A pass-through group that has effects or clipped layers blends with what lies below, but changes nothing there.
        """
        if isinstance(node, Group):
            start = None if isolated(node) else scope
            inner = self.nodes(node.children, Backdrop(self.channels, start=start, sealed=True))
            return _confined(node, inner, self.visible)
        if not isinstance(node, Leaf):
            return []
        return self._leaf(_spread(node, scope) if node.endless and scope.solid else node, solid)

    def fade(self, node: Node, layers: list[StackLayer], opacity: float) -> list[StackLayer]:
        """The layers of a node under ``opacity`` and its mask."""
        if isinstance(node, Leaf):
            return faded(layers, opacity, node.mask, "")
        name = repr(brief(node.name))
        what = [f"opacity {opacity:.0%}"] if opacity < 1 else []
        if (mask := node.mask) is not None:
            what.append("mask")
            layers = [
                layer.noted(f"clipped by {name}") if cut_outside(layer, mask, self.visible) else layer
                for layer in layers
            ]
        layers = [
            layer.noted(*(f"{brief(word)} of group {name} not drawn" for word in node.undrawn)) for layer in layers
        ]
        return faded(layers, opacity, mask, f"{' and '.join(what)} of group {name}")

    def _leaf(self, leaf: Leaf, solid: bool) -> list[StackLayer]:
        if leaf.box.intersect(self.reach).empty or leaf.opacity <= 0:
            return []
        pixels = own_pixels(leaf, self.visible, self.channels, solid=solid)
        layer = StackLayer(
            pixels=pixels,
            box=leaf.box,
            name=leaf.name,
            kind=leaf.kind,
            opacity=leaf.opacity * leaf.fill_opacity,
            blend_mode=leaf.blend_mode,
            effects=leaf.effects,
            text=leaf.text,
        ).noted(*(f"{brief(word)} not drawn" for word in leaf.undrawn))
        inside = trimmed(layer)
        inside = inside and cropped(inside, self.reach)
        return [] if inside is None else [inside]


def _spread(leaf: Leaf, scope: Backdrop) -> Leaf:
    """An endless fill as far as what it is clipped to goes, beyond the canvas too."""
    box = union([leaf.box, *(layer.box for layer in scope.layers[: scope.base])])

    def whole() -> Pixels:
        return np.full((box.height, box.width, scope.channels + 1), 255, np.uint8)

    return leaf if box == leaf.box else replace(leaf, box=box, pixels=whole)


def _plain(node: Node, tops: Sequence[Node]) -> bool:
    """Whether mask, opacity and blend mode are all there is to a node."""
    if not tops or node.style:
        return not node.style
    blending = node.blending
    pierced_alone = any(top.blending.knockout != "none" for top in tops)
    together = blending.clipped_as_group or (node.fill_opacity >= 1 and not pierced_alone)
    pen = isinstance(node, Leaf) and node.stroke is not None
    return together and not pen and not blending.own and not blending.below


def _settle(scope: Backdrop, name: str) -> None:
    """Turn what is painted on a solid backdrop into layers of their own alpha, that it is solid with."""
    base, on = scope.layers[: scope.base], scope.layers[scope.base :]
    if on:
        scope.replace(clipped(base, on, name))
        scope.base = len(scope.layers)


def _confined(group: Group, layers: list[StackLayer], visible: Box) -> list[StackLayer]:
    """What an artboard shows: it cuts where that is seen, and leaves what lies outside the visible box complete."""
    if group.clip is None or not layers:
        return layers
    far = 1 << 24
    limit = Box(
        group.clip.x0 if group.clip.x0 > visible.x0 else -far,
        group.clip.y0 if group.clip.y0 > visible.y0 else -far,
        group.clip.x1 if group.clip.x1 < visible.x1 else far,
        group.clip.y1 if group.clip.y1 < visible.y1 else far,
    )
    note = f"clipped by {brief(group.name)!r}"
    cut = [(layer, cropped(layer, limit)) for layer in layers]
    return [
        inside if inside is layer else replace(inside, cropped=layer.cropped).noted(note)
        for layer, inside in cut
        if inside is not None
    ]


def lowered(document: Document, reach: Box, shadows: Shadows = Shadows.JOINED) -> list[StackLayer]:
    """The document's layers, bottom to top, in document pixels and in the document's space."""
    channels = document.space.channels
    return Lowerer(document.visible, reach, channels, shadows).nodes(document.nodes, Backdrop(channels))
