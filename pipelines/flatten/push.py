"""A change of colours applied to a stack: each layer's own colour changed, so that the composite changes as it should.

For an adjustment layer, and for the way from the document's space to sRGB. A change that is not linear does not
commute with "over" where layers are translucent. So there are two ways, the cleaner one first: the layers as they are,
where the composite is then right to within what nobody sees; else *telescoped*: each layer gets the alpha, and where
that is not enough the colour, that makes the composite up to it the changed one. They differ from its own only where
it is translucent over others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pipelines.flatten.backdrop import Backdrop, tiles
from pipelines.flatten.planes import Plane, alpha_of, bands
from pipelines.flatten.stack import StackLayer
from schemas.design import Lowering
from schemas.geometry import Box, union

Floats = npt.NDArray[np.float32]
Change = Callable[[Floats, Box], Floats]
"""Colours 0..1 ``[h, w, channels]`` of a box, each changed alone; the number of channels may change too."""
Decode = Callable[[Floats], Floats]

_MEAN = 0.25  # levels, over the visible box
_WORST = 3.0  # levels, mean over a square
_SQUARE = 32
_TINT = 1.0  # levels that a layer's mean colour may be off its own and still be called its own
_LEAST = np.float32(0.5 / 255)
_FAR = np.float32((8 / 255) ** 2)
_OPAQUE = np.float32(254.5 / 255)


def pushed(
    layers: Sequence[StackLayer],
    change: Change,
    visible: Box,
    channels: int,
    note: str,
    decode: Decode | None = None,
) -> list[StackLayer]:
    """The layers, bottom to top, with ``change`` applied; ``channels``: those of their space before it.

    ``decode``: what their values 0..1 are composed as, where that is not themselves; ``change`` then takes those.
    """
    if decode is not None:
        return list(layers) if len(layers) < 2 else _telescoped(layers, layers, change, decode)
    clean = [layer if (new := changed(layer, change)) is layer else new.noted(note) for layer in layers]
    if len(layers) < 2 or _agree(layers, clean, change, visible, channels):
        return clean
    return _telescoped(layers, clean, change, decode)


def changed(layer: StackLayer, change: Change) -> StackLayer:
    """The layer with its own colours changed; itself where nothing changes."""
    pixels, differs = None, False
    for band in bands(layer.box):
        rows = band.within(layer.box).slices
        own = layer.pixels[rows]
        new = (
            np.rint(change(np.asarray(own[..., :-1] / np.float32(255), np.float32), band) * 255)
            .clip(0, 255)
            .astype(np.uint8)
        )
        if pixels is None:
            pixels = np.empty((*layer.pixels.shape[:2], new.shape[-1] + 1), np.uint8)
        pixels[rows][..., :-1], pixels[rows][..., -1] = new, own[..., -1]
        differs = differs or new.shape[-1] != own.shape[-1] - 1 or bool(np.any(new != own[..., :-1]))
    return layer if pixels is None or not differs else replace(layer, pixels=pixels)


def _agree(
    before: Sequence[StackLayer], after: Sequence[StackLayer], change: Change, visible: Box, channels: int
) -> bool:
    """Whether the composite of ``after`` is the changed composite of ``before``, in the visible box."""
    old, new = Backdrop(channels), Backdrop(after[0].pixels.shape[2] - 1)
    old.add(before)
    new.add(after)
    total = 0.0
    for part in tiles(union(layer.box for layer in before).intersect(visible)):
        colour, alpha = old.state(part)
        if not alpha.any():
            continue
        ours, _ = new.state(part)
        error = np.abs(change(colour, part) - ours).mean(-1) * alpha * 255
        total += float(error.sum(dtype=np.float64))
        if _worst(error) > _WORST:
            return False
        old.forget()
        new.forget()
    return total <= _MEAN * visible.area


def _worst(error: Plane) -> float:
    height, width = error.shape
    high, wide = min(_SQUARE, height), min(_SQUARE, width)
    whole = error[: height // high * high, : width // wide * wide]
    return float(whole.reshape(height // high, high, width // wide, wide).mean(axis=(1, 3)).max())


def _telescoped(
    layers: Sequence[StackLayer], clean: Sequence[StackLayer], change: Change, decode: Decode | None
) -> list[StackLayer]:
    pixels = [layer.pixels.copy() for layer in clean]
    shift = np.zeros((len(layers), 2))  # of colour, and alpha
    for part in tiles(union(layer.box for layer in layers)):
        for index, moved, weight in _telescope(layers, pixels, change, decode, part):
            shift[index] += moved, weight
    out = []
    for layer, new, (moved, weight) in zip(clean, pixels, shift, strict=True):
        fitted = replace(layer, pixels=new)
        if moved * 255 > _TINT * weight:
            told = fitted.noted("colour fitted to what lies below where translucent")
            fitted = replace(
                told, reusable=False, lowering=max(told.lowering, Lowering.BAKED, key=list(Lowering).index)
            )
        out.append(fitted)
    return out


def _telescope(
    layers: Sequence[StackLayer],
    pixels: Sequence[npt.NDArray[np.uint8]],
    change: Change,
    decode: Decode | None,
    part: Box,
) -> list[tuple[int, float, float]]:
    """Rewrite ``pixels``, those of the changed layers, inside ``part``; (index, colour shift, alpha) of each."""
    found: list[tuple[int, float, float]] = []
    old = np.zeros((part.height, part.width, layers[0].pixels.shape[2] - 1), np.float32)  # premultiplied
    new = np.zeros((part.height, part.width, pixels[0].shape[2] - 1), np.float32)
    drawn = np.zeros((part.height, part.width, 1), np.float32)
    for index, layer in enumerate(layers):
        where = layer.box.intersect(part)
        if where.empty:
            continue
        spot, rows = where.within(part).slices, where.within(layer.box).slices
        a = alpha_of(layer, where)[..., None]
        own = np.asarray(layer.pixels[rows][..., :-1] / np.float32(255), np.float32)
        old[spot] = old[spot] * (1 - a) + (own if decode is None else decode(own)) * a
        ground, drawn[spot] = drawn[spot] > _OPAQUE, drawn[spot] + a * (1 - drawn[spot])
        straight = np.divide(old[spot], drawn[spot], out=np.zeros_like(old[spot]), where=drawn[spot] > 0)
        target = change(np.clip(straight, 0, 1), where) * drawn[spot]
        plain = np.asarray(pixels[index][rows][..., :-1] / np.float32(255), np.float32)
        free = (a > 0) & (a < 1) & (drawn[spot] > a)
        a = np.where(free & ground, _fitted_alpha(plain, new[spot], target, a), a)
        wanted = np.clip((target - (1 - a) * new[spot]) / np.maximum(a, _LEAST), 0, 1)
        near = np.abs(wanted - plain).max(-1, keepdims=True) * a <= _LEAST
        fitted = np.rint(np.where(free & ~near, wanted, plain) * 255)
        pixels[index][rows][..., :-1] = fitted
        pixels[index][rows][..., -1] = np.rint(a[..., 0] * 255)
        new[spot] = new[spot] * (1 - a) + fitted * (a / np.float32(255))
        moved = float((np.abs(fitted / np.float32(255) - plain).mean(-1, keepdims=True) * a).sum(dtype=np.float64))
        found.append((index, moved, float(a.sum(dtype=np.float64))))
    return found


def _fitted_alpha(colour: Floats, below: Floats, target: Floats, alpha: Floats) -> Floats:
    """The alpha, in steps of 1/255, at which ``colour`` over the opaque ``below`` comes nearest to ``target``, or the
    least at which some colour reaches it.
    """
    way, step = colour - below, target - below
    length = (way * way).sum(-1, keepdims=True)
    best = np.clip((step * way).sum(-1, keepdims=True) / np.maximum(length, _LEAST), 0, 1)
    room = np.where(step > 0, 1 - below, below)
    needed = np.where(np.abs(step) > _LEAST, np.abs(step) / np.maximum(room, _LEAST), 0).max(-1, keepdims=True)
    fitted = np.where(length > _FAR, best, alpha)
    exact = np.ceil(np.clip(np.maximum(fitted, needed), 0, 1) * 255 - np.float32(0.5)) / np.float32(255)
    return np.asarray(exact, np.float32)
