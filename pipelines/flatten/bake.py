"""Blend modes as plain layers: cleanly where that is exact, else with the blended colour stored.

By W3C Compositing (section 10) a layer of colour cs and alpha a over a backdrop (cb, ab) equals a normal layer of the
same alpha and colour ``(1 - ab) cs + ab B(cb, cs)``. Where blending changes nothing the layer stays as it is.
Multiplying by a gray g darkens an opaque backdrop as black with alpha a (1 - g) does; screening by it is white with
alpha a g.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from pipelines.flatten.backdrop import Backdrop, tiles
from pipelines.flatten.blend import EITHER, LINEAR_IN_SOURCE, MODES, NEUTRAL, SPECIAL, blend, canonical
from pipelines.flatten.planes import Plane, alpha_of, composite_banded, trimmed
from pipelines.flatten.stack import StackLayer, brief
from pipelines.flatten.weights import reweigh
from pipelines.formats.tree import Pixels
from schemas.design import LayerKind, Lowering
from schemas.geometry import Box, union

Floats = npt.NDArray[np.float32]

_GRAY = 2  # levels between the channels of what still counts as gray
_OPAQUE = 254.5 / 255
_NOTHING = 1.0  # levels: a smaller change is none
_TINY = np.float32(1e-6)
_HOLES = 0.05  # the share of a layer that may be missing where the backdrop won, before its shape is the backdrop's


@dataclass(frozen=True)
class Blend:
    """How something blends. ``fill``: its own paint's opacity, which the special modes put into the source's colour.

    ``effect``: of an effect's piece, whose alpha holds its opacity. ``shaped``: its alpha must stay as it is.
    """

    mode: str
    fill: float = 1.0
    effect: bool = False
    shaped: bool = False

    @property
    def special(self) -> bool:
        return canonical(self.mode) in SPECIAL and (self.effect or self.fill < 1)


def blended(layers: Sequence[StackLayer], how: Blend, below: Backdrop, visible: Box, *, name: str) -> list[StackLayer]:
    """``layers``, which act as one picture, blended onto ``below``, as normal layers.

    A ``fill`` is applied here only where the mode is special: whoever calls has scaled the alphas by it otherwise.
    """
    mode = canonical(how.mode)
    how = replace(how, mode=mode)
    if mode == "normal" or not layers:
        return list(layers)
    if mode not in MODES:
        return [layer.noted(f"{brief(mode)} drawn as normal") for layer in layers]
    shaded = None if how.special or how.shaped else _shaded(layers, mode, below, visible)
    if shaded is not None:
        return shaded
    if len(layers) == 1:
        return _one(layers[0], how, below)
    baked = [_bake(layer, how, below, alone=False) for layer in layers]
    if not any(changed for _, changed in baked) and not how.special:
        return [layer.noted(f"{mode} changes nothing here") for layer in layers]
    if mode in LINEAR_IN_SOURCE:
        return [layer for layer, _ in baked]
    del baked
    return _one(merged(layers, name, f"{mode} of a group"), how, below)


def merged(layers: Sequence[StackLayer], name: str, note: str) -> StackLayer:
    """The layers rasterised to one."""
    box = union(layer.box for layer in layers)
    return StackLayer(
        pixels=composite_banded([layer.placed for layer in layers], box),
        box=box,
        name=name,
        kind=LayerKind.GROUP,
        effects=tuple(dict.fromkeys(effect for layer in layers for effect in layer.effects)),
        lowering=Lowering.MERGED,
        notes=(note,) if note else (),
        reusable=all(layer.reusable for layer in layers),
        leaves=sum(layer.leaves for layer in layers),
        cropped=any(layer.cropped for layer in layers),
    )


def _one(layer: StackLayer, how: Blend, below: Backdrop) -> list[StackLayer]:
    clean = None if how.special or how.shaped else _chosen(layer, how.mode, below)
    if clean is None:
        baked, changed = _bake(layer, how, below, alone=not how.shaped)
        clean = baked if changed else replace(layer, pixels=baked.pixels).noted(f"{how.mode} changes nothing here")
    left = trimmed(clean)
    return [] if left is None else [left]


def _shaded(layers: Sequence[StackLayer], mode: str, below: Backdrop, visible: Box) -> list[StackLayer] | None:
    """Multiply by gray as black with alpha, screen by gray as white with alpha; None where that is not exact.

    Each layer's share of the whole darkens (or lightens) by its own gray.
    """
    if mode not in ("multiply", "screen") or not all(_gray(layer.pixels) for layer in layers):
        return None
    if not (below.solid or all(_on_opaque(layer, below, visible) for layer in layers)):
        return None
    dark = mode == "multiply"
    made = reweigh(layers, [partial(_strength, layer, dark) for layer in layers], "")
    ink = "black" if dark else "white"
    return [_inked(layer, 0 if dark else 255).noted(f"{mode} by gray as {ink} with alpha") for layer in made]


def _strength(layer: StackLayer, dark: bool, box: Box) -> Plane:
    """How much a gray layer darkens or lightens, 0..1, in a part of its box."""
    own = layer.pixels[box.within(layer.box).slices][..., :-1]
    gray = own.mean(-1, dtype=np.float32) / np.float32(255)
    return np.asarray(1 - gray if dark else gray, np.float32)


def _inked(layer: StackLayer, ink: int) -> StackLayer:
    pixels = layer.pixels.copy()
    pixels[..., :-1] = ink
    return replace(layer, pixels=pixels)


def _chosen(layer: StackLayer, mode: str, below: Backdrop) -> StackLayer | None:
    """The layer only where it shows, for modes that show either it or the backdrop; None where colours mix."""
    if mode not in EITHER:
        return None
    pixels = layer.pixels.copy()
    for part in tiles(layer.box):
        backdrop, ab = below.state(part)
        rows = part.within(layer.box).slices
        own = pixels[rows][..., :-1].astype(np.float32) / np.float32(255)
        mixed = blend(mode, backdrop, own)
        hidden = (ab > _OPAQUE) & np.all(np.abs(mixed - backdrop) * 255 <= _NOTHING, axis=-1)
        seen = (ab <= 0) | np.all(np.abs(mixed - own) * 255 <= _NOTHING, axis=-1) | (pixels[rows][..., -1] == 0)
        if not np.all(hidden | seen):
            return None
        pixels[rows][..., -1][hidden & ~seen] = 0
    note = f"shown where {mode} shows it"
    told = replace(layer, pixels=pixels)
    lost = 1 - pixels[..., -1].sum(dtype=np.int64) / max(1, int(layer.pixels[..., -1].sum(dtype=np.int64)))
    return told.noted(note) if lost <= _HOLES else told.baked(note)


def _gray(pixels: Pixels) -> bool:
    """Whether all that shows has the same value in every channel."""
    for rows in np.array_split(pixels, max(1, len(pixels) // 256)):
        spread = rows[..., :-1].max(-1) - rows[..., :-1].min(-1)
        if np.any((spread > _GRAY) & (rows[..., -1] > 0)):
            return False
    return True


def _on_opaque(layer: StackLayer, below: Backdrop, visible: Box) -> bool:
    """Whether all that the layer paints inside the visible box lies on an opaque backdrop."""
    for part in tiles(layer.box.intersect(visible)):
        painted = layer.pixels[part.within(layer.box).slices][..., -1] > 0
        if np.any(painted) and np.any(painted & (below.state(part)[1] < _OPAQUE)):
            return False
    return True


def _bake(layer: StackLayer, how: Blend, below: Backdrop, *, alone: bool) -> tuple[StackLayer, bool]:
    """The layer with its blended colour, and whether that differs visibly from its own.

    ``alone``: it hides no other layer of what blends, so that its neutral parts may go.
    """
    pixels, changed = layer.pixels.copy(), False
    for part in tiles(layer.box):
        backdrop, ab = below.state(part)
        if not ab.any() and not how.special:
            continue
        rows = part.within(layer.box).slices
        own = pixels[rows][..., :-1].astype(np.float32) / np.float32(255)
        alpha = alpha_of(layer, part)
        if how.special and not how.shaped:
            mixed, level = _special(own, alpha, backdrop, how)
            level = level * ab + alpha * np.float32(1 if how.effect else how.fill) * (1 - ab)
            pixels[rows][..., -1] = np.rint(level * 255).clip(0, 255).astype(np.uint8)
        else:
            mixed = np.asarray(blend(how.mode, backdrop, own, np.asarray(np.float32(how.fill))), np.float32)
        shift = np.abs(mixed - own) * (ab * alpha)[..., None]
        changed = changed or bool(shift.max() * 255 > _NOTHING)
        mixed = np.asarray(own + (mixed - own) * ab[..., None], np.float32)
        if alone and not how.special:
            pixels[rows][..., -1][_neutral(how.mode, pixels[rows], ab)] = 0
        pixels[rows][..., :-1] = np.rint(mixed * 255).clip(0, 255).astype(np.uint8)
    return replace(layer, pixels=pixels).baked(f"{how.mode} baked over what lies below"), changed


def _special(own: Floats, alpha: Plane, backdrop: Floats, how: Blend) -> tuple[Floats, Plane]:
    """(colour, alpha) that shows over an opaque backdrop what a special mode at less than full strength does.

    The least alpha that reaches the wanted colour, so that no more of the backdrop than needed is painted over.
    """
    cover = np.where(alpha > 0, np.float32(1), np.float32(0)) if how.effect else alpha
    strength = alpha[..., None] if how.effect else np.float32(how.fill)
    share = cover[..., None]
    target = (1 - share) * backdrop + share * blend(how.mode, backdrop, own, np.asarray(strength))
    lighter = (target - backdrop) / np.maximum(1 - backdrop, _TINY)
    darker = (backdrop - target) / np.maximum(backdrop, _TINY)
    needed = np.maximum(lighter, darker).max(-1)
    level = np.clip(np.maximum(needed, alpha * np.float32(1 if how.effect else how.fill)), 0, 1)
    colour = (target - (1 - level[..., None]) * backdrop) / np.maximum(level[..., None], _TINY)
    return np.clip(colour, 0, 1).astype(np.float32), level.astype(np.float32)


def _neutral(mode: str, pixels: Pixels, ab: Plane) -> npt.NDArray[np.bool_]:
    """Where the layer does nothing: it has the mode's neutral colour and lies on an opaque backdrop."""
    gray = NEUTRAL.get(mode)
    if gray is None:
        return np.zeros(ab.shape, np.bool_)
    found: npt.NDArray[np.bool_] = ab > _OPAQUE
    for channel in range(pixels.shape[2] - 1):
        found &= pixels[..., channel] == gray
    return found
