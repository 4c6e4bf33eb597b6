"""Blend modes as plain layers: cleanly where that is exact, else with the blended colour stored.

By W3C Compositing (section 10) a layer of colour cs and alpha a over a backdrop (cb, ab) equals a normal layer of the
same alpha and colour ``(1 - ab) cs + ab B(cb, cs)``. Where blending changes nothing the layer stays as it is.
Multiplying by a gray g darkens an opaque backdrop as black with alpha a (1 - g) does; screening by it is white with
alpha a g.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pipelines.flatten.blend import LINEAR_IN_SOURCE, MODES, NEUTRAL, canonical
from pipelines.flatten.planes import Plane, alpha_of, bands, composite_banded, coverage_of, trimmed
from pipelines.flatten.stack import StackLayer
from schemas.design import LayerKind, Lowering
from schemas.geometry import Box, union

Floats = npt.NDArray[np.float32]

_GRAY = 2  # levels between the channels of what still counts as gray
_NOTHING = 1.0  # levels: a smaller change is none


def blended(
    layers: Sequence[StackLayer],
    mode: str,
    below: Sequence[StackLayer],
    visible: Box,
    *,
    name: str,
    opaque: bool = False,
) -> list[StackLayer]:
    """``layers``, which act as one picture, blended by ``mode`` onto ``below``, as normal layers.

    ``opaque``: the backdrop counts as opaque wherever it is drawn (clipped layers see only their base's colour).
    """
    mode = canonical(mode)
    if mode == "normal" or not layers:
        return list(layers)
    if mode not in MODES:
        return [_noted(layer, f"{mode} drawn as normal") for layer in layers]
    if len(layers) == 1:
        return _one(layers[0], mode, below, visible, opaque)
    baked = [_bake(layer, mode, below, opaque) for layer in layers]
    if not any(changed for _, changed in baked):
        return [_noted(layer, f"{mode} changes nothing here") for layer in layers]
    if mode in LINEAR_IN_SOURCE:
        return [layer for layer, _ in baked]
    del baked
    return _one(merged(layers, name, f"{mode} of a group"), mode, below, visible, opaque)


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
        notes=(note,),
        reusable=all(layer.reusable for layer in layers),
        leaves=sum(layer.leaves for layer in layers),
        cropped=any(layer.cropped for layer in layers),
    )


def _one(layer: StackLayer, mode: str, below: Sequence[StackLayer], visible: Box, opaque: bool) -> list[StackLayer]:
    clean = _shade(layer, mode, below, visible, opaque)
    if clean is None:
        baked, changed = _bake(layer, mode, below, opaque)
        clean = baked if changed else _noted(layer, f"{mode} changes nothing here")
    left = trimmed(clean)
    return [] if left is None else [left]


def _shade(layer: StackLayer, mode: str, below: Sequence[StackLayer], visible: Box, opaque: bool) -> StackLayer | None:
    """Multiply by gray as black with alpha, screen by gray as white with alpha; None where that is not exact."""
    if mode not in ("multiply", "screen"):
        return None
    colours, alpha = layer.pixels[..., :3], layer.pixels[..., 3]
    spread = colours.max(-1) - colours.min(-1)
    if np.any(spread[alpha > 0] > _GRAY) or not (opaque or _on_opaque(layer, below, visible)):
        return None
    pixels = np.empty_like(layer.pixels)
    pixels[..., :3] = 0 if mode == "multiply" else 255
    for band in bands(layer.box):
        rows = band.within(layer.box).slices
        gray = colours[rows].mean(-1, dtype=np.float32)
        part = (255 - gray if mode == "multiply" else gray) * alpha[rows] / np.float32(255)
        pixels[rows][..., 3] = np.rint(part).astype(np.uint8)
    ink = "black" if mode == "multiply" else "white"
    return _noted(replace(layer, pixels=pixels), f"{mode} by gray as {ink} with alpha")


def _on_opaque(layer: StackLayer, below: Sequence[StackLayer], visible: Box) -> bool:
    """Whether all that the layer paints inside the visible box lies on an opaque backdrop."""
    for band in bands(layer.box.intersect(visible)):
        painted = layer.pixels[band.within(layer.box).slices][..., 3] > 0
        if np.any(painted & (coverage_of(below, band) < 254.5 / 255)):
            return False
    return True


def _bake(layer: StackLayer, mode: str, below: Sequence[StackLayer], opaque: bool) -> tuple[StackLayer, bool]:
    """The layer with its blended colour, and whether that differs visibly from its own."""
    pixels, changed = layer.pixels.copy(), False
    for band in bands(layer.box):
        backdrop, ab = _state(below, band)
        if not ab.any():
            continue
        if opaque:
            ab = np.where(ab > 0, np.float32(1), np.float32(0))
        rows = band.within(layer.box).slices
        own = pixels[rows][..., :3].astype(np.float32) / np.float32(255)
        mixed: Floats = np.asarray(MODES[mode](backdrop, own), np.float32)
        shift = np.abs(mixed - own) * (ab * alpha_of(layer, band))[..., None]
        changed = changed or bool(shift.max() * 255 > _NOTHING)
        mixed = np.asarray(own + (mixed - own) * ab[..., None], np.float32)
        pixels[rows][..., 3][_neutral(mode, pixels[rows], ab)] = 0
        pixels[rows][..., :3] = np.rint(mixed * 255).clip(0, 255).astype(np.uint8)
    note = f"{mode} baked over what lies below"
    lowering = layer.lowering if layer.lowering is Lowering.MERGED else Lowering.BAKED
    baked = replace(layer, pixels=pixels, lowering=lowering, reusable=False)
    return _noted(baked, note), changed


def _neutral(mode: str, pixels: npt.NDArray[np.uint8], ab: Plane) -> npt.NDArray[np.bool_]:
    """Where the layer does nothing: it has the mode's neutral colour and lies on an opaque backdrop."""
    gray = NEUTRAL.get(mode)
    if gray is None:
        return np.zeros(ab.shape, np.bool_)
    found: npt.NDArray[np.bool_] = np.all(pixels[..., :3] == gray, axis=-1) & (ab > 254.5 / 255)
    return found


def _state(layers: Sequence[StackLayer], box: Box) -> tuple[Floats, Plane]:
    """The composite of ``layers`` in ``box``: straight colour 0..1 ``[h, w, 3]`` and alpha ``[h, w]``, not rounded."""
    colour = np.zeros((box.height, box.width, 3), np.float32)
    alpha = np.zeros((box.height, box.width), np.float32)
    for layer in layers:
        part = layer.box.intersect(box)
        if part.empty:
            continue
        a = alpha_of(layer, part)
        own = layer.pixels[part.within(layer.box).slices][..., :3].astype(np.float32) / np.float32(255)
        spot = part.within(box).slices
        colour[spot] = own * a[..., None] + colour[spot] * (1 - a[..., None])
        alpha[spot] = a + alpha[spot] * (1 - a)
    straight = np.divide(colour, alpha[..., None], out=np.zeros_like(colour), where=alpha[..., None] > 0)
    return np.clip(straight, 0, 1), alpha


def _noted(layer: StackLayer, note: str) -> StackLayer:
    return replace(layer, notes=(*layer.notes, note))
