"""Lowering a layer that has effects, or whose clipped layers or pen line need a place of their own in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pipelines.flatten.backdrop import Backdrop
from pipelines.flatten.bake import Blend, blended, merged
from pipelines.flatten.drawn import Drawn, Piece, interior
from pipelines.flatten.effects import draw_style
from pipelines.flatten.own import with_line
from pipelines.flatten.planes import Plane, mask_plane
from pipelines.flatten.restrict import gated, shown
from pipelines.flatten.stack import Shadows, StackLayer, brief, worst
from pipelines.flatten.typeset import overlaid
from pipelines.flatten.unit import Part, Role, assembled, shape_of
from pipelines.flatten.weights import knocked, reweigh
from pipelines.formats.style import Solid
from pipelines.formats.tree import Leaf, Node
from schemas.design import LayerKind, Lowering
from schemas.geometry import Box, union

if TYPE_CHECKING:
    from pipelines.flatten.lower import Lowerer


Levels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Styled:
    """One such layer: ``base`` with ``tops`` clipped to it, about to be painted into ``scope``."""

    lowerer: Lowerer
    base: Node
    tops: Sequence[Node]
    scope: Backdrop

    def lowered(self, own: list[StackLayer]) -> tuple[list[StackLayer], list[StackLayer]]:
        """The layers of the unit, and what of it would be left without what is in its shape (for a knockout).

        ``own``: its own paint at full strength, without mask, blend mode and opacity.
        """
        base, blending, lowerer = self.base, self.base.blending, self.lowerer
        solid, seen = self._silhouette(own)
        shaped = solid if blending.mask_hides_effects else lowerer.fade(base, solid, 1.0)
        if not shaped:
            return [], []
        drawn = self._drawn(shaped)
        if blending.interior_as_group and drawn.inside:
            first, rest = interior(drawn.inside)
            shaped = self._inside_first(shaped, first) if first else shaped
            drawn = replace(drawn, inside=rest)
        together = blending.clipped_as_group or not self.tops
        run = lowerer.clip(shaped, self.tops, base.name) if together else shaped
        parts = self._behind(drawn.behind)
        ground = self._ground(parts)
        how = Blend(base.blend_mode, base.fill_opacity, shaped=True)
        run = blended(run, how, ground, lowerer.visible, name=base.name)
        fill = 1.0 if how.special else base.fill_opacity  # a special mode has it in the colour
        own_parts = self._own(run, len(shaped), seen, fill)
        parts += own_parts
        if not together:
            parts += self._tops(own_parts, ground)
        slot = "own 0" if self._single and len(run) == 1 and together else "effects"
        parts += self._inside(drawn.inside, own_parts, slot, ground)
        parts += self._above(drawn.above, slot, parts)
        slots = self._slots(parts)
        made = assembled(parts, slots, self._strength)
        if blending.knockout == "none":
            return made, []
        hollow = [replace(part, fill=0.0, shown=None) for part in parts if part.role != "inside"]
        return made, assembled(hollow, slots, self._strength)

    def _silhouette(self, own: list[StackLayer]) -> tuple[list[StackLayer], tuple[Levels, Box] | None]:
        """The paint as if the layer's fill had no transparency, whose shape effects follow; and what of it shows."""
        base = self.base
        if not isinstance(base, Leaf) or base.fill is None or isinstance(base.fill, Solid) or not base.style:
            return own, None
        solid = self.lowerer.own(base, self.scope, solid=True)
        if not solid:
            return own, None
        share = _share_of(own[0], solid[0]) if own else np.zeros(solid[0].pixels.shape[:2], np.uint8)
        return solid, (share, solid[0].box)

    def _own(self, run: Sequence[StackLayer], bases: int, seen: tuple[Levels, Box] | None, fill: float) -> list[Part]:
        """The unit's paint, of which what is the base's own shows as its fill's transparency and blend-if say."""
        base, made = self.base, []
        for i, layer in enumerate(run):
            left = shown(layer, base.blending, self.scope) if i < bases else None
            if seen is not None and i < bases:
                left = _times(left, seen[0][layer.box.within(seen[1]).slices])
            told = gated(layer, base.blending) if i < bases else layer
            made.append(Part(told, "own", f"own {i}", fill, left))
        return made

    def _drawn(self, shaped: Sequence[StackLayer]) -> Drawn:
        alpha, box = shape_of(shaped)
        lowerer = self.lowerer
        drawn = draw_style(
            self.base.style, alpha, box, document=lowerer.visible, reach=lowerer.reach, channels=lowerer.channels
        )
        inside = with_line(drawn.inside, self.base, bool(self.tops), lowerer.visible, lowerer.channels)
        return replace(drawn, inside=inside)

    def _inside_first(self, shaped: list[StackLayer], inside: Sequence[Piece]) -> list[StackLayer]:
        """The layer's paint with its inner effects in it, before anything is clipped to it."""
        whole = shaped[0] if len(shaped) == 1 else merged(shaped, self.base.name, "inner effects of a group")
        own = Part(whole, "own", "")
        parts = [own, *self._inside(inside, [own], "", self.scope)]
        return assembled(parts, {"": whole}, lambda _: 1.0)

    def _ground(self, behind: Sequence[Part]) -> Backdrop:
        """What the layer's own paint lies on: also what is cast behind it and shows through."""
        seen = [part.layer for part in behind if part.role == "behind"]
        if not seen:
            return self.scope
        return Backdrop(self.lowerer.channels, start=self.scope, sealed=True, layers=seen)

    def _behind(self, pieces: Sequence[Piece]) -> list[Part]:
        """What lies behind; of a group it is a layer of its own, of a layer only what it casts is, if that is asked."""
        scope = Backdrop(self.lowerer.channels, start=self.scope, sealed=True)
        apart = not self._single or self.lowerer.shadows is Shadows.APART
        made: list[Part] = []
        for piece in pieces:
            if piece.cuts is not None:
                scope.replace(_without(scope.layers, piece))
            slot = "shadow" if apart and (piece.name in _CAST or not self._single) else "own 0"
            for part in self._painted(piece, scope, "behind", slot):
                made.append(replace(part, role="concealed") if piece.concealed else part)
        return made

    def _tops(self, run: Sequence[Part], ground: Backdrop) -> list[Part]:
        """Clipped layers that blend alone, at full strength whatever the base's fill is; their knockouts pierce it."""
        scope = self._inner_scope(run, ground)
        made: list[Part] = []
        for i, top in enumerate(self.tops):
            if top.blending.knockout != "none":
                made += self._hole(top, scope, f"hole {i}")
            first = len(scope.layers)
            self.lowerer.node(replace(top, blending=replace(top.blending, knockout="none")), (), scope)
            made += [Part(layer, "inside", f"top {i} {j}") for j, layer in enumerate(scope.layers[first:])]
        return made

    def _hole(self, top: Node, scope: Backdrop, slot: str) -> list[Part]:
        """A part that paints nothing and takes away what is under a knockout."""
        own = self.lowerer.own(top, scope)
        if not own:
            return []
        box = union(layer.box for layer in own)
        cuts = np.rint(knocked(top, own, box) * 255).astype(np.uint8)
        nothing = np.zeros((box.height, box.width, self.lowerer.channels + 1), np.uint8)
        return [Part(StackLayer(nothing, box, top.name, LayerKind.IMAGE), "inside", slot, cuts=cuts)]

    def _inside(self, pieces: Sequence[Piece], run: Sequence[Part], slot: str, ground: Backdrop) -> list[Part]:
        if not pieces:
            return []
        scope = self._inner_scope(run, ground)
        made: list[Part] = []
        for piece in pieces:
            if piece.cuts is not None and piece.blend_mode != "normal":  # it blends with what its cut lays bare
                under = _without([*self._solid(run), *(part.layer for part in made)], piece)
                scope = Backdrop(self.lowerer.channels, start=ground, sealed=True, layers=under)
            for part in self._painted(piece, scope, "inside", slot):
                if scope.solid:  # what it became depends on the layer's own colour alone
                    clean = replace(part.layer, reusable=True, lowering=Lowering.EXACT, notes=())
                    part = replace(part, layer=clean)  # noqa: PLW2901
                made.append(part)
        return made

    def _inner_scope(self, run: Sequence[Part], ground: Backdrop) -> Backdrop:
        """What inner pieces are painted on: the layer's paint as if its shape had no edge."""
        channels = self.lowerer.channels
        layers = [part.layer for part in run]
        if all(part.fill >= 1 and part.shown is None for part in run):
            return Backdrop(channels, solid=True, base=len(run), layers=layers)
        scope = Backdrop(channels, start=ground, sealed=True)
        scope.add(self._solid(run))
        return scope

    def _solid(self, run: Sequence[Part]) -> list[StackLayer]:
        """Own parts as one layer that shows as they do together, as if their shape had no edge."""
        if len(run) == 1:
            return [edgeless(run[0])]
        apart = [replace(part, slot=str(i)) for i, part in enumerate(run)]
        shown = merged(assembled(apart, {part.slot: part.layer for part in apart}, lambda _: 1.0), "", "")
        whole = merged([part.layer for part in run], "", "")
        share = _share_of(shown, whole)
        return [edgeless(Part(replace(whole, pixels=_under(whole, shown)), "own", "", 1.0, share))]

    def _above(self, pieces: Sequence[Piece], slot: str, parts: Sequence[Part]) -> list[Part]:
        scope = Backdrop(self.lowerer.channels, start=self.scope, sealed=True)
        if any(piece.blend_mode != "normal" for piece in pieces):
            apart = [replace(part, slot=str(i)) for i, part in enumerate(parts)]
            scope.add(assembled(apart, {part.slot: part.layer for part in apart}, lambda _: 1.0))
        return [part for piece in pieces for part in self._painted(piece, scope, "above", slot)]

    def _painted(self, piece: Piece, scope: Backdrop, role: Role, slot: str) -> list[Part]:
        layer = StackLayer(pixels=piece.pixels, box=piece.box, name=piece.name, kind=LayerKind.IMAGE)
        made = blended([layer], Blend(piece.blend_mode, effect=True), scope, self.lowerer.visible, name=piece.name)
        scope.add(made)
        if piece.cuts is None:
            return [Part(one, role, slot) for one in made]
        return [Part(_padded(made, layer), role, slot, cuts=piece.cuts)]

    def _slots(self, parts: Sequence[Part]) -> dict[str, StackLayer]:
        """What each layer of the unit is called and how it was made, from the parts in it."""
        slots: dict[str, StackLayer] = {}
        for name in dict.fromkeys(part.slot for part in parts):
            here = [part.layer for part in parts if part.slot == name]
            own = next((part.layer for part in parts if part.slot == name and part.role == "own"), None)
            told = own or self._told(name, here)
            drawn = [layer.name for layer in here if layer is not own] if own else []
            notes = [note for layer in here if layer is not own for note in layer.notes]
            slots[name] = replace(
                told.noted(*(f"{piece} drawn" for piece in drawn), *notes),
                reusable=all(layer.reusable for layer in here),
                lowering=worst(layer.lowering for layer in here),
                text=overlaid(told.text, self.base.style, self.lowerer.channels) if name == "own 0" else told.text,
            )
        return slots

    def _told(self, slot: str, here: Sequence[StackLayer]) -> StackLayer:
        """What is said of a layer without the base's own paint: a clipped one is itself, pieces are the base's."""
        name = brief(self.base.name)
        if slot.startswith("top"):
            return here[0].noted(f"clipped to {name!r}")
        word = here[0].name.rpartition("-")[2] if slot == "shadow" else "effects"  # shadow, glow, stroke, bevel
        return replace(here[0], name=f"{self.base.name} {word}", effects=self.base.effects)

    def _strength(self, box: Box) -> Plane | float:
        base = self.base
        if base.blending.mask_hides_effects and base.mask is not None:
            return mask_plane(base.mask, box) * np.float32(base.opacity)
        return base.opacity

    @property
    def _single(self) -> bool:
        return isinstance(self.base, Leaf)


_CAST = ("drop-shadow", "outer-glow")


def _without(layers: Sequence[StackLayer], piece: Piece) -> list[StackLayer]:
    """Layers, as one, without what a piece takes away of them."""
    cuts = piece.cuts
    assert cuts is not None

    def left(box: Box) -> Plane:
        plane = np.ones((box.height, box.width), np.float32)
        part = piece.box.intersect(box)
        plane[part.within(box).slices] -= cuts[part.within(piece.box).slices] / np.float32(255)
        return plane

    return reweigh(layers, [left] * len(layers), "")


def edgeless(part: Part) -> StackLayer:
    """An own part's layer with no more alpha than its fill and what shows of it say."""
    pixels = part.layer.pixels.copy()
    level = 255 * part.fill * (1.0 if part.shown is None else part.shown / np.float32(255))
    pixels[..., -1] = np.where(pixels[..., -1] > 0, np.rint(level), 0)
    return replace(part.layer, pixels=pixels)


def _under(whole: StackLayer, shown: StackLayer) -> Levels:
    """The pixels of ``whole`` with the colours of ``shown``."""
    pixels = whole.pixels.copy()
    part = shown.box.intersect(whole.box)
    pixels[part.within(whole.box).slices][..., :-1] = shown.pixels[part.within(shown.box).slices][..., :-1]
    return pixels


def _times(a: Levels | None, b: Levels) -> Levels:
    return b if a is None else np.rint(a * (b / np.float32(255))).astype(np.uint8)


def _share_of(seen: StackLayer, whole: StackLayer) -> Levels:
    """The alpha of ``seen`` as a share of that of ``whole``, at the box of ``whole``."""
    share = np.zeros(whole.pixels.shape[:2], np.uint8)
    part = seen.box.intersect(whole.box)
    alpha = seen.pixels[part.within(seen.box).slices][..., -1]
    full = whole.pixels[part.within(whole.box).slices][..., -1]
    ratio = alpha * np.float32(255) / np.maximum(full, 1)
    share[part.within(whole.box).slices] = np.rint(np.minimum(ratio, 255))
    return share


def _padded(made: Sequence[StackLayer], layer: StackLayer) -> StackLayer:
    """What was made of a piece at the piece's whole box: it takes away what is under it where it paints nothing too."""
    pixels = np.zeros_like(layer.pixels)
    for one in made:
        pixels[one.box.within(layer.box).slices] = one.pixels
    return replace(made[0] if made else layer, pixels=pixels, box=layer.box)
