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

from pipelines.flatten.backdrop import Backdrop, tiles
from pipelines.flatten.blend import LINEAR_IN_SOURCE, MODES, NEUTRAL, canonical
from pipelines.flatten.planes import Plane, alpha_of, bands, composite_banded, trimmed
from pipelines.flatten.stack import StackLayer, brief
from schemas.compositing import Rgba
from schemas.design import LayerKind, Lowering
from schemas.geometry import Box, union

Floats = npt.NDArray[np.float32]

_GRAY = 2  # levels between the channels of what still counts as gray
_OPAQUE = 254.5 / 255
_NOTHING = 1.0  # levels: a smaller change is none


def blended(
    layers: Sequence[StackLayer],
    mode: str,
    below: Backdrop,
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
        return [layer.noted(f"{brief(mode)} drawn as normal") for layer in layers]
    if len(layers) == 1:
        return _one(layers[0], mode, below, visible, opaque)
    baked = [_bake(layer, mode, below, opaque, alone=False) for layer in layers]
    if not any(changed for _, changed in baked):
        return [layer.noted(f"{mode} changes nothing here") for layer in layers]
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
        notes=(note,) if note else (),
        reusable=all(layer.reusable for layer in layers),
        leaves=sum(layer.leaves for layer in layers),
        cropped=any(layer.cropped for layer in layers),
    )


def _one(layer: StackLayer, mode: str, below: Backdrop, visible: Box, opaque: bool) -> list[StackLayer]:
    clean = _shade(layer, mode, below, visible, opaque)
    if clean is None:
        baked, changed = _bake(layer, mode, below, opaque, alone=True)
        clean = baked if changed else layer.noted(f"{mode} changes nothing here")
    left = trimmed(clean)
    return [] if left is None else [left]


def _shade(layer: StackLayer, mode: str, below: Backdrop, visible: Box, opaque: bool) -> StackLayer | None:
    """Multiply by gray as black with alpha, screen by gray as white with alpha; None where that is not exact."""
    if mode not in ("multiply", "screen"):
        return None
    if not _gray(layer.pixels) or not (opaque or _on_opaque(layer, below, visible)):
        return None
    pixels = np.empty_like(layer.pixels)
    pixels[..., :3] = 0 if mode == "multiply" else 255
    for band in bands(layer.box):
        rows = band.within(layer.box).slices
        own = layer.pixels[rows]
        gray = own[..., :3].mean(-1, dtype=np.float32)
        part = (255 - gray if mode == "multiply" else gray) * own[..., 3] / np.float32(255)
        pixels[rows][..., 3] = np.rint(part).astype(np.uint8)
    ink = "black" if mode == "multiply" else "white"
    return replace(layer, pixels=pixels).noted(f"{mode} by gray as {ink} with alpha")


def _gray(pixels: Rgba) -> bool:
    """Whether all that shows is gray."""
    for rows in np.array_split(pixels, max(1, len(pixels) // 256)):
        red, green, blue, alpha = (rows[..., channel] for channel in range(4))
        spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
        if np.any((spread > _GRAY) & (alpha > 0)):
            return False
    return True


def _on_opaque(layer: StackLayer, below: Backdrop, visible: Box) -> bool:
    """Whether all that the layer paints inside the visible box lies on an opaque backdrop."""
    for part in tiles(layer.box.intersect(visible)):
        painted = layer.pixels[part.within(layer.box).slices][..., 3] > 0
        if np.any(painted) and np.any(painted & (below.state(part)[1] < _OPAQUE)):
            return False
    return True


def _bake(layer: StackLayer, mode: str, below: Backdrop, opaque: bool, *, alone: bool) -> tuple[StackLayer, bool]:
    """The layer with its blended colour, and whether that differs visibly from its own.

    ``alone``: it hides no other layer of what blends, so that its neutral parts may go.
    """
    pixels, changed = layer.pixels.copy(), False
    for part in tiles(layer.box):
        backdrop, ab = below.state(part)
        if not ab.any():
            continue
        if opaque:
            ab = np.where(ab > 0, np.float32(1), np.float32(0))
        rows = part.within(layer.box).slices
        own = pixels[rows][..., :3].astype(np.float32) / np.float32(255)
        mixed: Floats = np.asarray(MODES[mode](backdrop, own), np.float32)
        shift = np.abs(mixed - own) * (ab * alpha_of(layer, part))[..., None]
        changed = changed or bool(shift.max() * 255 > _NOTHING)
        mixed = np.asarray(own + (mixed - own) * ab[..., None], np.float32)
        if alone:
            pixels[rows][..., 3][_neutral(mode, pixels[rows], ab)] = 0
        pixels[rows][..., :3] = np.rint(mixed * 255).clip(0, 255).astype(np.uint8)
    note = f"{mode} baked over what lies below"
    lowering = layer.lowering if layer.lowering is Lowering.MERGED else Lowering.BAKED
    baked = replace(layer, pixels=pixels, lowering=lowering, reusable=False)
    return baked.noted(note), changed


def _neutral(mode: str, pixels: npt.NDArray[np.uint8], ab: Plane) -> npt.NDArray[np.bool_]:
    """Where the layer does nothing: it has the mode's neutral colour and lies on an opaque backdrop."""
    gray = NEUTRAL.get(mode)
    if gray is None:
        return np.zeros(ab.shape, np.bool_)
    found: npt.NDArray[np.bool_] = ab > _OPAQUE
    for channel in range(3):
        found &= pixels[..., channel] == gray
    return found
