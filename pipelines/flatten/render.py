"""The definition of what a tree means, in float64, straight from the formulas: the lowering is held to it.

W3C Compositing and Blending Level 1 section 10 for blending; Photoshop's rules for clipping (clipped layers paint the
base's colour inside its alpha), for pass-through groups (the result fades towards the untouched backdrop) and for
styled layers: own paint and inner effects are painted opaquely on what lies below, then confined to the layer's shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pipelines.flatten.blend import MODES, SPECIAL, blend, canonical
from pipelines.flatten.drawn import Drawn, Piece, cast_by, interior
from pipelines.flatten.effects import draw_style
from pipelines.flatten.lower import isolated, runs
from pipelines.flatten.own import own_pixels, through, with_line
from pipelines.flatten.planes import bands, mask_plane
from pipelines.formats.style import Solid
from pipelines.formats.tree import Adjustment, Document, Group, Leaf, Node, Pixels
from pipelines.srgb import decode, encode
from schemas.compositing import Rgba
from schemas.design import LayerKind
from schemas.geometry import Box, union

Floats = npt.NDArray[np.float64]
_BAND = 1 << 15
_NOWHERE = Box(0, 0, 0, 0)


@dataclass(frozen=True, eq=False)
class Picture:
    """Premultiplied colour ``[h, w, channels]`` and alpha ``[h, w, 1]``, 0..1."""

    colour: Floats
    alpha: Floats

    @classmethod
    def empty(cls, box: Box, channels: int) -> Picture:
        return cls(np.zeros((box.height, box.width, channels)), np.zeros((box.height, box.width, 1)))

    @property
    def straight(self) -> Floats:
        colour = np.divide(self.colour, self.alpha, out=np.zeros_like(self.colour), where=self.alpha > 0)
        return np.asarray(np.clip(colour, 0, 1))

    def towards(self, other: Picture, share: Floats | float) -> Picture:
        """This picture, with ``share`` of the other in its place."""
        keep = 1 - share
        return Picture(keep * self.colour + share * other.colour, keep * self.alpha + share * other.alpha)

    def under(self, colour: Floats, share: Floats, mode: str, strength: Floats | float = 1.0) -> Picture:
        """With a straight ``colour`` painted over it at ``share``; ``strength``: of the source in a special mode."""
        mode = canonical(mode)
        if mode in SPECIAL and mode in MODES and not (isinstance(strength, float) and strength >= 1):
            mixed = blend(mode, self.straight, colour, strength)
            opaque = (1 - share) * self.straight + share * mixed
            part = share * strength
            alpha = self.alpha + part * (1 - self.alpha)
            return Picture(self.alpha * opaque + (1 - self.alpha) * part * colour, np.asarray(alpha))
        mixed = colour
        if mode in MODES:
            mixed = (1 - self.alpha) * colour + self.alpha * blend(mode, self.straight, colour)
        share = share * strength
        return Picture(share * mixed + (1 - share) * self.colour, self.alpha + share * (1 - self.alpha))


def render_tree(document: Document) -> Rgba:
    """What the tree shows in the visible box: sRGB, ``uint8 [height, width, 4]``."""
    box, channels = document.visible, document.space.channels
    out = np.zeros((box.height, box.width, channels + 1), np.uint8)
    renderer = Renderer(box, channels, document.space.linear)
    for band in bands(box, _BAND):
        out[band.slices] = renderer.levels(document.nodes, band)
    out[out[..., -1] == 0] = 0
    shown = document.space.rgba(out)
    shown[shown[..., 3] == 0] = 0
    return shown


@dataclass(frozen=True, eq=False)
class Renderer:
    """Renders nodes box by box; ``visible`` is what it is asked for, ``_kept`` what was read and drawn of each node."""

    visible: Box
    channels: int
    linear: bool = False
    _kept: dict[int, tuple[Pixels, Box]] = field(default_factory=dict)
    _styles: dict[int, Drawn] = field(default_factory=dict)

    @property
    def reach(self) -> Box:
        """What may cast something into the visible box."""
        dx, dy = 2 * self.visible.width, 2 * self.visible.height
        return Box(-dx, -dy, self.visible.width + dx, self.visible.height + dy)

    def levels(self, nodes: Sequence[Node], box: Box) -> Pixels:
        """The nodes alone in ``box``: uint8 ``[h, w, channels + 1]``."""
        empty = Picture.empty(box, self.channels)
        picture = self.nodes(nodes, empty, box, Bottoms(empty, empty), root=True)
        colour = encode(picture.straight) if self.linear else picture.straight
        levels = np.concatenate([colour, picture.alpha], axis=2) * 255
        codes: Pixels = np.rint(levels).clip(0, 255).astype(np.uint8)
        return codes

    def nodes(
        self, nodes: Sequence[Node], state: Picture, box: Box, bottoms: Bottoms, *, root: bool = False
    ) -> Picture:
        for index, (base, tops) in enumerate(runs(nodes)):
            if root and index == 1 and isinstance(nodes[0], Leaf) and nodes[0].kind is LayerKind.BACKGROUND:
                bottoms = Bottoms(state, state)
            if isinstance(base, Leaf) and not base.style and base.box.intersect(box).empty:
                continue
            if isinstance(base, Adjustment):
                state = self._adjusted(base, state, box)
                state = self.nodes_on(tops, state, bottoms.shallow, box) if tops else state
            elif isinstance(base, Group) and not tops and not base.style and not isolated(base):
                inner = self.nodes(base.children, state, box, Bottoms(state, bottoms.deep))
                state = state.towards(inner, self._strength(base, box) * base.fill_opacity)
            else:
                state = self._unit(base, tops, state, box, bottoms)
        return state

    def _adjusted(self, node: Adjustment, state: Picture, box: Box) -> Picture:
        colour, mode, blending = state.straight, canonical(node.blend_mode), node.blending
        made = decode(node.apply(encode(colour))) if self.linear else node.apply(colour)
        mixed = np.asarray(blend(mode, colour, made) if mode in MODES else made, np.float64)
        mixed = _written(mixed, colour, blending.channels)
        share = self._strength(node, box) * node.fill_opacity
        shown = through(blending.below, colour, self.channels) * through(blending.own, made, self.channels)
        share = share * shown[..., None]
        return Picture(state.alpha * (colour + share * (mixed - colour)), state.alpha)

    def _unit(self, base: Node, tops: Sequence[Node], state: Picture, box: Box, bottoms: Bottoms) -> Picture:
        own, where = self._own(base)
        drawn = self._drawn(base, bool(tops))
        colour, shape = self._placed(own, where, box)
        seen = self._seen(base, shape, box)
        if isinstance(base, Group) and not isolated(base):
            colour = self._through(base, state, shape, box)
        if not shape.any() and not drawn.behind and not drawn.above:
            return state
        blending = base.blending
        if blending.own or blending.below:
            gate = 1 - state.alpha[..., 0] * (1 - through(blending.below, state.straight, self.channels))
            seen = seen * (gate * through(blending.own, colour, self.channels))[..., None]
        if not blending.mask_hides_effects:
            shape = shape * _mask(base, box)
        if blending.knockout != "none":  # what blend-if hides does not pierce
            shape, seen = (shape * seen, np.ones_like(seen)) if not base.style else (shape, seen)
        outside = inside = state
        for piece in drawn.behind:
            outside = self._cut(outside, state, piece, box)
            outside = self._piece(outside, piece, box)
            inside = inside if piece.concealed else self._piece(inside, piece, box)
        if blending.knockout != "none":
            inside = bottoms.shallow if blending.knockout == "shallow" else bottoms.deep
        inside = self._body(base, tops, colour, seen, inside, drawn, box)
        result = outside.towards(inside, shape)
        for piece in drawn.above:
            result = self._cut(result, state, piece, box)
            result = self._piece(result, piece, box)
        share = base.opacity * (_mask(base, box) if blending.mask_hides_effects else 1.0)
        result = state.towards(result, share)
        if blending.channels is None:
            return result
        return Picture(_written(result.colour, state.colour, blending.channels), result.alpha)

    def _placed(self, pixels: Pixels, where: Box, box: Box) -> tuple[Floats, Floats]:
        colour, alpha = _placed(pixels, where, box, self.channels)
        return (decode(colour) if self.linear else colour), alpha

    def _piece(self, state: Picture, piece: Piece, box: Box) -> Picture:
        """``state`` with the piece painted on it."""
        colour, alpha = self._placed(piece.pixels, piece.box, box)
        if canonical(piece.blend_mode) in SPECIAL:
            return state.under(colour, (alpha > 0).astype(np.float64), piece.blend_mode, alpha)
        return state.under(colour, alpha, piece.blend_mode)

    def _cut(self, result: Picture, state: Picture, piece: Piece, box: Box) -> Picture:
        """What a unit has painted so far without what the piece takes away of it."""
        if piece.cuts is None:
            return result
        return result.towards(state, _placed(piece.cuts[..., None], piece.box, box, 0)[1])

    def _through(self, group: Group, state: Picture, shape: Floats, box: Box) -> Floats:
        """The colour of a pass-through group that something is clipped to: of what it paints, blended with the rest."""
        empty = Picture.empty(box, self.channels)
        after = self.nodes(group.children, state, box, Bottoms(state, empty))
        paint = after.colour - (1 - shape) * state.colour
        return np.clip(np.divide(paint, shape, out=np.zeros_like(paint), where=shape > 0), 0, 1)

    def _body(
        self,
        base: Node,
        tops: Sequence[Node],
        colour: Floats,
        seen: Floats,
        inside: Picture,
        drawn: Drawn,
        box: Box,
    ) -> Picture:
        """The unit as if its shape were everywhere: own paint as far as ``seen``, clipped layers, inner pieces."""
        own = Picture(colour, np.ones_like(seen))
        blending, bottom = base.blending, inside
        pieces = drawn.inside
        if blending.interior_as_group:
            first, pieces = interior(pieces)
            for piece in first:
                own = self._piece(own, piece, box)
        own = Picture(own.colour * seen, own.alpha * seen)
        if tops and blending.clipped_as_group:
            own = self.nodes_on(tops, own, own, box)
        inside = inside.under(own.straight, own.alpha, base.blend_mode, base.fill_opacity)
        if tops and not blending.clipped_as_group:
            inside = self.nodes_on(tops, inside, bottom, box)
        for piece in pieces:
            inside = self._cut(inside, bottom, piece, box)
            inside = self._piece(inside, piece, box)
        return inside

    def nodes_on(self, tops: Sequence[Node], state: Picture, bottom: Picture, box: Box) -> Picture:
        """Clipped nodes, each painted on ``state``; their knockouts reveal ``bottom``."""
        bottoms = Bottoms(bottom, bottom)
        for top in tops:
            if isinstance(top, Adjustment):
                state = self._adjusted(top, state, box)
            elif isinstance(top, Group) and not top.style and not isolated(top):
                inner = self.nodes(top.children, state, box, Bottoms(state, bottom))
                state = state.towards(inner, self._strength(top, box) * top.fill_opacity)
            else:
                state = self._unit(top, (), state, box, bottoms)
        return state

    def _own(self, node: Node) -> tuple[Pixels, Box]:
        """The node's own paint as far as it matters, as if a fill had no transparency, and its box; drawn once."""
        if id(node) not in self._kept:
            self._kept[id(node)] = self._paint(node, solid=bool(node.style))
        return self._kept[id(node)]

    def _seen(self, node: Node, shape: Floats, box: Box) -> Floats:
        """What of the node's shape its own paint covers: less where a fill is transparent and effects are not."""
        fill = node.fill if isinstance(node, Leaf) and node.style else None
        if fill is None or isinstance(fill, Solid):
            return np.ones_like(shape)
        alpha = self._placed(*self._paint(node, solid=False), box)[1]
        return np.clip(np.divide(alpha, shape, out=np.zeros_like(shape), where=shape > 0), 0, 1)

    def _paint(self, node: Node, *, solid: bool) -> tuple[Pixels, Box]:
        if isinstance(node, Leaf):
            part = node.box.intersect(self.reach)
            if part.empty:
                return np.zeros((0, 0, self.channels + 1), np.uint8), part
            pixels = own_pixels(node, self.visible, self.channels, solid=solid)
            return pixels[part.within(node.box).slices], part
        if not isinstance(node, Group):
            return np.zeros((0, 0, self.channels + 1), np.uint8), Box(0, 0, 0, 0)
        area = self.reach.intersect(_extent(node))
        area = area if node.clip is None else area.intersect(node.clip)
        out = np.zeros((area.height, area.width, self.channels + 1), np.uint8)
        for band in bands(area, _BAND):
            out[band.within(area).slices] = self.levels(node.children, band)
        return out, area

    def _drawn(self, node: Node, clipped_to: bool) -> Drawn:
        if not node.style:
            return Drawn(inside=with_line((), node, clipped_to, self.visible, self.channels))
        if id(node) not in self._styles:
            own, where = self._own(node)
            alpha = own[..., -1]
            if node.mask is not None and not node.blending.mask_hides_effects:
                alpha = np.rint(alpha * mask_plane(node.mask, where)).astype(np.uint8)
            drawn = draw_style(
                node.style, alpha, where, document=self.visible, reach=self.reach, channels=self.channels
            )
            inside = with_line(drawn.inside, node, clipped_to, self.visible, self.channels)
            self._styles[id(node)] = Drawn(drawn.behind, inside, drawn.above)
        return self._styles[id(node)]

    def _strength(self, node: Node, box: Box) -> Floats:
        return _mask(node, box) * node.opacity


@dataclass(frozen=True, eq=False)
class Bottoms:
    """What knockouts reveal: the backdrop of the group, and the document's background."""

    shallow: Picture
    deep: Picture


def _extent(group: Group) -> Box:
    """The box of all that a group may paint."""
    boxes = []
    for child in group.children:
        box = _extent(child) if isinstance(child, Group) else child.box if isinstance(child, Leaf) else _NOWHERE
        grow = cast_by(child.style)
        if not box.empty:
            boxes.append(Box(box.x0 - grow, box.y0 - grow, box.x1 + grow, box.y1 + grow))
    return union(boxes)


def _mask(node: Node, box: Box) -> Floats:
    if node.mask is None:
        return np.ones((box.height, box.width, 1))
    return np.asarray(mask_plane(node.mask, box, np.float64)[..., None], np.float64)


def _placed(pixels: Pixels, where: Box, box: Box, channels: int) -> tuple[Floats, Floats]:
    """Straight colour and alpha of a picture in ``box``, 0..1."""
    colour, alpha = np.zeros((box.height, box.width, channels)), np.zeros((box.height, box.width, 1))
    part = where.intersect(box)
    if not part.empty:
        own = pixels[part.within(where).slices] / 255.0
        colour[part.within(box).slices], alpha[part.within(box).slices] = own[..., :channels], own[..., -1:]
    return colour, alpha


def _written(made: Floats, kept: Floats, channels: Sequence[bool] | None) -> Floats:
    """``made`` where a channel is written, else ``kept``."""
    if channels is None:
        return made
    out = np.array(made)
    for channel, written in enumerate(channels[: out.shape[-1]]):
        if not written:
            out[..., channel] = kept[..., channel]
    return out
