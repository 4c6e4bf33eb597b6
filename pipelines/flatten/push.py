"""A change of colours applied to a stack: each layer's own colour changed, so that the composite changes as it should.

For an adjustment layer, and for the way from the document's space to sRGB. A change that is not linear does not
commute with "over" where layers are translucent. So there are two ways, the cleaner one first: the layers as they are,
where the composite is then right to within what nobody sees; else *telescoped*: each layer gets the alpha, and where
that is not enough the colour, that makes the composite up to it the changed one. They differ from its own only where
it is translucent over others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pipelines.flatten.backdrop import tiles
from pipelines.flatten.planes import Plane
from pipelines.flatten.recolour import Bits, Change, Plain, change_of, changed_all, straight
from pipelines.flatten.stack import StackLayer
from schemas.geometry import Box, union

Floats = npt.NDArray[np.float32]
Decode = Callable[[Floats], Floats]
_Step = tuple[int, Box, Bits, npt.NDArray[np.int32]]

_MEAN = 0.25  # levels, over the visible box
_WORST = 3.0  # levels, mean over a square
_SQUARE = 32
_TINT = 1.0  # levels that a layer's mean colour may be off its own and still be called its own
_LEAST = np.float32(0.5 / 255)
_FAR = np.float32((8 / 255) ** 2)
_OPAQUE = np.float32(254.5 / 255)


def pushed(
    layers: Sequence[StackLayer],
    change: Change | Plain,
    visible: Box,
    channels: int,
    note: str,
    decode: Decode | None = None,
) -> list[StackLayer]:
    """The layers, bottom to top, with ``change`` applied; ``channels``: those of their space before it.

    ``decode``: what their values 0..1 are composed as, where that is not themselves; ``change`` then takes those.
    """
    whole = change_of(change)
    if decode is not None:
        return list(layers) if len(layers) < 2 else _telescoped(layers, layers, whole, decode)
    made = zip(layers, changed_all(layers, whole), strict=True)
    clean = [layer if new is layer else new.noted(note) for layer, new in made]
    if len(layers) < 2 or _agree(layers, clean, whole, visible, channels):
        return clean
    return _telescoped(layers, clean, whole, decode)


def _mixed(layers: Sequence[StackLayer], part: Box, seen: bool) -> Bits:
    """Where in ``part`` a layer is translucent over another; those that an opaque one hides left out if ``seen``."""
    painted = np.zeros((part.height, part.width), np.bool_)
    mixed = np.zeros_like(painted)
    for layer in layers:
        where = layer.box.intersect(part)
        if where.empty:
            continue
        spot, alpha = where.within(part).slices, layer.pixels[where.within(layer.box).slices][..., -1]
        some, opaque = alpha > 0, alpha == 255
        if seen:
            mixed[spot] &= ~opaque
        mixed[spot] |= some & ~opaque & painted[spot]
        painted[spot] |= some
    return mixed


def _steps(layers: Sequence[StackLayer], part: Box, picked: Bits) -> Iterator[_Step]:
    """Of each layer that paints some of the ``picked`` pixels of ``part``: its index, the box of the layer in there,
    which pixels of that box are picked, and their places among all that are picked.
    """
    place = np.cumsum(picked, dtype=np.int32).reshape(picked.shape) - np.int32(1)
    for index, layer in enumerate(layers):
        where = layer.box.intersect(part)
        if where.empty:
            continue
        spot = where.within(part).slices
        here = picked[spot] & (layer.pixels[where.within(layer.box).slices][..., -1] > 0)
        if here.any():
            yield index, where, here, place[spot][here]


def _agree(
    before: Sequence[StackLayer], after: Sequence[StackLayer], change: Change, visible: Box, channels: int
) -> bool:
    """Whether the composite of ``after`` is the changed composite of ``before``, in the visible box. Where no layer is
    translucent over another, it is.
    """
    total = 0.0
    for part in tiles(union(layer.box for layer in before).intersect(visible)):
        picked = _mixed(before, part, seen=True)
        count = int(np.count_nonzero(picked))
        if not count:
            continue
        old, new = np.zeros((count, channels), np.float32), np.zeros((count, after[0].pixels.shape[2] - 1), np.float32)
        alpha = np.zeros((count, 1), np.float32)
        for index, where, here, at in _steps(before, part, picked):
            rows = where.within(before[index].box).slices
            theirs, ours = straight(before[index].pixels[rows][here]), straight(after[index].pixels[rows][here])
            a = theirs[:, -1:]
            old[at] = old[at] * (1 - a) + theirs[:, :-1] * a
            new[at] = new[at] * (1 - a) + ours[:, :-1] * a
            alpha[at] += a * (1 - alpha[at])
        wanted = change.at(np.clip(old / alpha, 0, 1), part, picked)
        error = np.zeros(picked.shape, np.float32)
        error[picked] = np.abs(wanted - np.clip(new / alpha, 0, 1)).mean(-1) * alpha[:, 0] * 255
        total += float(error.sum(dtype=np.float64))
        if _worst(error) > _WORST:
            return False
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
    shift = np.zeros(len(layers))
    for part in tiles(union(layer.box for layer in layers)):
        picked = _mixed(layers, part, seen=False)
        if picked.any():
            _telescope(layers, pixels, change, decode, part, picked, shift)
    out = []
    for layer, new, moved in zip(clean, pixels, shift, strict=True):
        fitted = replace(layer, pixels=new)
        if moved * 255 > _TINT * float(new[..., -1].sum(dtype=np.int64)) / 255:
            fitted = fitted.baked("colour fitted to what lies below where translucent")
        out.append(fitted)
    return out


def _telescope(
    layers: Sequence[StackLayer],
    pixels: Sequence[npt.NDArray[np.uint8]],
    change: Change,
    decode: Decode | None,
    part: Box,
    picked: Bits,
    shift: npt.NDArray[np.float64],
) -> None:
    """Rewrite ``pixels``, those of the changed layers, where ``picked`` in ``part``, and add to the ``shift`` of
    their colours.
    """
    count = int(np.count_nonzero(picked))
    old = np.zeros((count, layers[0].pixels.shape[2] - 1), np.float32)  # premultiplied
    new = np.zeros((count, pixels[0].shape[2] - 1), np.float32)
    drawn = np.zeros((count, 1), np.float32)
    for index, where, here, at in _steps(layers, part, picked):
        rows = where.within(layers[index].box).slices
        theirs, written = straight(layers[index].pixels[rows][here]), pixels[index][rows][here]
        own, a = theirs[:, :-1], theirs[:, -1:]
        under, old[at] = new[at], old[at] * (1 - a) + (own if decode is None else decode(own)) * a
        ground, drawn[at] = drawn[at] > _OPAQUE, drawn[at] + a * (1 - drawn[at])
        plain = straight(written[:, :-1])
        free = ((a < 1) & (drawn[at] > a))[:, 0]
        new[at] = under * (1 - a) + plain * a
        if not free.any():
            continue
        spots, some = at[free], np.zeros_like(here)
        some[here] = free
        target = change.at(np.clip(old[spots] / drawn[spots], 0, 1), where, some) * drawn[spots]
        fitted, alpha = _fit(plain[free], under[free], target, a[free], ground[free])
        written[free] = np.concatenate([fitted, np.rint(alpha * 255)], axis=1)
        pixels[index][rows][here] = written
        new[spots] = under[free] * (1 - alpha) + fitted * (alpha / np.float32(255))
        moved = np.abs(fitted / np.float32(255) - plain[free]).mean(-1, keepdims=True) * alpha
        shift[index] += float(moved.sum(dtype=np.float64))


def _fit(plain: Floats, below: Floats, target: Floats, alpha: Floats, ground: Bits) -> tuple[Floats, Floats]:
    """The colour 0..255 and alpha 0..1 that make the premultiplied ``below`` the ``target``, its own colour ``plain``
    where that does; its own alpha where there is no opaque ``ground``.
    """
    alpha = np.where(ground, _fitted_alpha(plain, below, target, alpha), alpha)
    wanted = np.clip((target - (1 - alpha) * below) / np.maximum(alpha, _LEAST), 0, 1)
    near = np.abs(wanted - plain).max(-1, keepdims=True) * alpha <= _LEAST
    return np.asarray(np.rint(np.where(near, plain, wanted) * 255), np.float32), alpha


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
