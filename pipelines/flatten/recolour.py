"""A change of colours, and layers with their own colours changed: each colour is worked out once, not once a pixel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.flatten.planes import Plane, bands
from pipelines.flatten.stack import StackLayer
from schemas.geometry import Box

Floats = npt.NDArray[np.float32]
Bits = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.uint8]
Plain = Callable[[Floats, Box], Floats]
"""Colours 0..1 ``[h, w, channels]``, each changed alone; the number of channels may change too, and the box says
nothing.
"""
_Find = Callable[[Codes], npt.NDArray[Any]]
"""What becomes of codes ``[n, channels]``."""

_FEW = 1 << 14
"""Pixels below which a table of a channel's 256 codes is not worth while."""
_MANY = 1 << 22
"""Pixels from which colours are remembered: where they are looked up takes 64 MiB."""
_MOST = 1 << 20
"""Colours that are remembered, 12 MiB."""


@dataclass(frozen=True, eq=False)
class Change:
    """``own``: what becomes of colours 0..1 ``[n, channels]``, each alone, and each channel alone where ``separable``.
    ``share``: how much of that counts in a box, ``[h, w]``; the number of channels then stays.
    """

    own: Callable[[Floats], Floats]
    share: Callable[[Box], Plane] | None = None
    separable: bool = False

    def at(self, colours: Floats, box: Box, where: Bits) -> Floats:
        """Those of the pixels of ``box`` that ``where`` ``[h, w]`` picks, changed: ``[n, channels]``."""
        if self.share is None:
            return np.asarray(self.own(colours), np.float32)
        share = self.share(box)[where]
        some, out = share > 0, colours.copy()
        if some.any():
            out[some] = mixed(colours[some], self.own(colours[some]), share[some])
        return out


def mixed(colours: Floats, made: Floats, share: Plane) -> Floats:
    return np.asarray(colours + share[:, None] * (made - colours), np.float32)


def change_of(change: Change | Plain) -> Change:
    """A plain function as a ``Change``."""
    if isinstance(change, Change):
        return change
    return Change(lambda colours: change(colours[None], Box(0, 0, len(colours), 1))[0])


def straight(codes: Codes) -> Floats:
    return np.asarray(codes / np.float32(255), np.float32)


def rounded(colours: Floats) -> Codes:
    """To 8-bit codes."""
    return np.asarray(np.rint(colours * np.float32(255)).clip(0, 255), np.uint8)


def changed(layer: StackLayer, change: Change | Plain) -> StackLayer:
    """The layer with its own colours changed; itself where nothing changes."""
    return changed_all([layer], change)[0]


def changed_all(layers: Sequence[StackLayer], change: Change | Plain) -> list[StackLayer]:
    """``changed`` of layers of one space."""
    if not layers:
        return []
    whole = change_of(change)
    channels, pixels = layers[0].pixels.shape[2] - 1, sum(layer.box.area for layer in layers)

    def find(codes: Codes) -> npt.NDArray[Any]:
        made = np.asarray(whole.own(straight(codes)), np.float32)
        return rounded(made) if whole.share is None else made

    quick: _Find = find
    if pixels >= _FEW and whole.separable:
        quick = _tabled(find, channels)
    elif pixels >= _MANY and channels == 3:
        quick = _Remembered(find)
    return [_changed(layer, whole, quick) for layer in layers]


def _changed(layer: StackLayer, change: Change, find: _Find) -> StackLayer:
    pixels: Codes | None = None
    for band in bands(layer.box):
        rows = band.within(layer.box).slices
        own = layer.pixels[rows].reshape(-1, layer.pixels.shape[2])
        new = find(own[:, :-1]) if change.share is None else _shared(own, change.share(band), find)
        if new is None:
            continue
        same = new.shape[1] == own.shape[1] - 1
        if same and not np.any(new != own[:, :-1]):
            continue
        if pixels is None and same:
            pixels = layer.pixels.copy()
        elif pixels is None:
            pixels = np.empty((*layer.pixels.shape[:2], new.shape[1] + 1), np.uint8)
            pixels[..., -1] = layer.pixels[..., -1]
        pixels[rows][..., :-1] = new.reshape(band.height, band.width, -1)
    return layer if pixels is None else replace(layer, pixels=pixels)


def _shared(own: Codes, share: Plane, find: _Find) -> Codes | None:
    """Codes with alpha ``[n, channels + 1]`` changed by ``share`` of what ``find`` makes of them; None if none is."""
    share = share.reshape(-1)
    some = (share > 0) & (own[:, -1] > 0)
    if not some.any():
        return None
    at: npt.NDArray[np.intp] | slice = slice(None) if some.all() else np.flatnonzero(some)
    codes, part, new = own[at, :-1], share[at], own[:, :-1].copy()
    made = find(codes)
    for i in range(codes.shape[1]):  # a plane at a time is several times as fast
        base: Floats = straight(codes[:, i])
        new[at, i] = rounded(np.asarray(base + part * (made[:, i] - base), np.float32))
    return new


def _tabled(find: _Find, channels: int) -> _Find:
    """``find`` of what acts on each channel alone."""
    tables = find(np.repeat(np.arange(256, dtype=np.uint8)[:, None], channels, axis=1)).T.copy()

    def look(codes: Codes) -> npt.NDArray[Any]:
        out = np.empty(codes.shape[::-1], tables.dtype)
        for i, table in enumerate(tables):
            out[i] = table.take(codes[:, i])
        return out.T

    return look


class _Remembered:
    """``find`` of three channels, for each colour once; all anew where there are too many colours."""

    def __init__(self, find: _Find) -> None:
        self._find = find
        self._slots = np.zeros(1 << 24, np.uint32)  # of each colour; pages that no colour touches cost nothing
        self._values = np.zeros((1, 3), np.uint8)  # of slot 0: none
        self._count = 1

    def __call__(self, codes: Codes) -> npt.NDArray[Any]:
        if self._count > _MOST:
            return self._find(codes)
        key = codes[:, 0].astype(np.uint32)
        key |= codes[:, 1].astype(np.uint32) << np.uint32(8)
        key |= codes[:, 2].astype(np.uint32) << np.uint32(16)
        slots = self._slots.take(key)
        new = np.flatnonzero(slots == 0)
        if new.size:
            self._learn(key[new], codes[new])
            slots = self._slots.take(key)
        return self._values.take(slots, axis=0)

    def _learn(self, key: npt.NDArray[np.uint32], codes: Codes) -> None:
        order = np.arange(len(key), dtype=np.uint32)
        self._slots[key] = order
        once = self._slots[key] == order  # one of those that are equal
        found = self._find(codes[once])
        end = self._count + len(found)
        if end > len(self._values):
            grown = np.empty((2 * end, found.shape[1]), found.dtype)
            if self._count > 1:
                grown[: self._count] = self._values[: self._count]
            self._values = grown
        self._values[self._count : end] = found
        self._slots[key[once]] = np.arange(self._count, end, dtype=np.uint32)
        self._count = end
