"""What a scope has painted so far, kept as a running composite so that each layer is drawn into it once.

Tiles are brought up to date when they are asked for: where nothing blends, nothing is drawn or kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import numpy.typing as npt

from pipelines.flatten.planes import Plane, alpha_of
from pipelines.flatten.stack import StackLayer
from schemas.design import LayerKind
from schemas.geometry import Box

Floats = npt.NDArray[np.float32]
SIDE = 256
"""Of a tile, in px."""
KEPT = 512
"""Tiles that a backdrop keeps at most, 1 MiB each: a visible box of 4096 x 4096 px has 256. Others are drawn anew."""

_Key = tuple[int, int]


@dataclass(frozen=True)
class _Tile:
    """Premultiplied colour and alpha, 0..1: float32 ``[channels + 1, SIDE, SIDE]``, of the first ``count`` layers."""

    planes: Floats
    count: int


@dataclass
class Backdrop:
    """The layers painted so far in a scope, bottom to top, in a space of ``channels``.

    ``start``: what they are painted onto; nobody adds to it meanwhile. ``sealed``: nothing that happens here changes
    it. ``solid``: what is painted counts as opaque wherever the first ``base`` layers are, and keeps to them (clipped
    layers see only their base).
    """

    channels: int = 3
    start: Backdrop | None = None
    sealed: bool = False
    solid: bool = False
    base: int = 0
    layers: list[StackLayer] = field(default_factory=list)
    _tiles: dict[_Key, _Tile] = field(default_factory=dict)

    @property
    def below(self) -> Backdrop | None:
        """The scope that what happens here may change too."""
        return None if self.sealed else self.start

    @property
    def reached(self) -> list[Backdrop]:
        """The scopes that what happens here may change, the lowest first, this one last."""
        return [*(self.below.reached if self.below else ()), self]

    def floor(self, deep: bool) -> Backdrop:
        """What a knockout in this scope reveals: the bottom of its group, or of the document for a deep one."""
        at = self
        while deep and at.below is not None:
            at = at.below
        ground = at.layers[: at.grounded]
        return Backdrop(self.channels, at.start, True, at.solid, len(ground), ground)

    @property
    def grounded(self) -> int:
        """How many of the lowest layers no knockout takes away: those that clipped ones keep to, or the background."""
        if self.solid:
            return self.base
        return int(self.start is None and bool(self.layers) and self.layers[0].kind is LayerKind.BACKGROUND)

    def add(self, layers: Iterable[StackLayer]) -> None:
        """Paint ``layers``; on a solid backdrop only where its first ``base`` layers are, whose alpha stays."""
        self.layers += layers

    def replace(self, layers: list[StackLayer]) -> None:
        """Paint ``layers`` instead of what was painted so far."""
        self.layers = layers
        self.forget()

    def forget(self) -> None:
        """Drop the composite kept so far: it is drawn anew when it is asked for."""
        self._tiles.clear()

    def state(self, part: Box) -> tuple[Floats, Plane]:
        """Straight colour 0..1 ``[h, w, channels]`` and alpha ``[h, w]`` in ``part``, one of ``tiles``; not rounded."""
        key = part.x0 // SIDE, part.y0 // SIDE
        rows, columns = part.within(_box(key)).slices
        planes = self._planes(key)[:, rows, columns]
        alpha = planes[-1]
        straight = np.divide(planes[:-1], alpha, out=np.zeros_like(planes[:-1]), where=alpha > 0)
        if self.solid:
            alpha = (alpha > 0).astype(np.float32)
        return np.clip(straight, 0, 1).transpose(1, 2, 0), alpha

    def over(self, box: Box) -> tuple[Floats, Plane]:
        """``state`` of any box."""
        colour = np.zeros((box.height, box.width, self.channels), np.float32)
        alpha = np.zeros((box.height, box.width), np.float32)
        for part in tiles(box):
            spot = part.within(box).slices
            colour[spot], alpha[spot] = self.state(part)
        return colour, alpha

    def _planes(self, key: _Key) -> Floats:
        """The tile with all layers; not to be written to."""
        tile, where = self._tiles.get(key), _box(key)
        first = tile.count if tile else 0
        new = [(i, layer) for i, layer in enumerate(self.layers[first:], first) if not layer.box.intersect(where).empty]
        planes = tile.planes if tile else self._bottom(key)
        if not new:
            return planes
        if tile is None:
            planes = planes.copy()
        for index, layer in new:
            _paint(planes, where, layer, self.solid and index >= self.base)
        if tile is not None or self._kept() < KEPT:
            self._tiles[key] = _Tile(planes, len(self.layers))
        return planes

    def _bottom(self, key: _Key) -> Floats:
        """What the tile's first layer is painted onto; not to be written to."""
        if self.start is None:
            return _empty(self.channels, SIDE)
        planes = self.start._planes(key)
        if not self.start.solid:
            return planes
        alpha = planes[-1:]
        opaque = np.divide(planes, alpha, out=np.zeros_like(planes), where=alpha > 0)
        return opaque

    def _kept(self) -> int:
        return len(self._tiles) + (self.start._kept() if self.start else 0)


@cache
def _empty(channels: int, side: int) -> Floats:
    planes = np.zeros((channels + 1, side, side), np.float32)
    planes.flags.writeable = False
    return planes


def tiles(box: Box) -> Iterator[Box]:
    """``box`` cut along the grid of tiles."""
    for y in range(box.y0 // SIDE, -(-box.y1 // SIDE)):
        for x in range(box.x0 // SIDE, -(-box.x1 // SIDE)):
            part = _box((x, y)).intersect(box)
            if not part.empty:
                yield part


def _box(key: _Key) -> Box:
    x, y = key
    return Box(x * SIDE, y * SIDE, (x + 1) * SIDE, (y + 1) * SIDE)


def _paint(planes: Floats, where: Box, layer: StackLayer, atop: bool) -> None:
    part = layer.box.intersect(where)
    rows, columns = part.within(where).slices
    below = planes[:, rows, columns]
    alpha = alpha_of(layer, part)
    share = alpha * below[-1] if atop else alpha
    source = layer.pixels[part.within(layer.box).slices]
    below[:-1] *= 1 - alpha
    for channel in range(len(below) - 1):
        below[channel] += source[..., channel] * (share / np.float32(255))
    if not atop:
        below[-1] += alpha * (1 - below[-1])
