"""What a scope has painted so far, kept as a running composite so that each layer is drawn into it once.

Tiles are brought up to date when they are asked for: where nothing blends, nothing is drawn or kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pipelines.flatten.planes import Plane, alpha_of
from pipelines.flatten.stack import StackLayer
from schemas.geometry import Box

Floats = npt.NDArray[np.float32]

SIDE = 512
"""Of a tile, in px."""
KEPT = 128
"""Tiles that a backdrop keeps at most, 4 MiB each: a visible box of 4096 x 4096 px has 64. Others are drawn anew."""

_Key = tuple[int, int]
_EMPTY = np.zeros((4, SIDE, SIDE), np.float32)
_EMPTY.flags.writeable = False


@dataclass(frozen=True)
class _Tile:
    """Premultiplied colour and alpha, 0..1: float32 ``[4, SIDE, SIDE]``, of the first ``count`` layers."""

    planes: Floats
    count: int


@dataclass
class Backdrop:
    """The layers painted so far, bottom to top, each with whether it is painted only on what lies below it.

    ``start``: what they are painted onto; nobody adds to it meanwhile.
    """

    start: Backdrop | None = None
    _layers: list[tuple[StackLayer, bool]] = field(default_factory=list)
    _tiles: dict[_Key, _Tile] = field(default_factory=dict)

    def add(self, layers: Iterable[StackLayer], *, atop: bool = False) -> None:
        """Paint ``layers``; ``atop``: only where something is already painted, whose alpha stays (clipped layers)."""
        self._layers += [(layer, atop) for layer in layers]

    def state(self, part: Box) -> tuple[Floats, Plane]:
        """Straight colour 0..1 ``[h, w, 3]`` and alpha ``[h, w]`` in ``part``, a box of ``tiles``; not rounded."""
        key = part.x0 // SIDE, part.y0 // SIDE
        rows, columns = part.within(_box(key)).slices
        planes = self._planes(key)[:, rows, columns]
        alpha = planes[3]
        straight = np.divide(planes[:3], alpha, out=np.zeros_like(planes[:3]), where=alpha > 0)
        return np.clip(straight, 0, 1).transpose(1, 2, 0), alpha

    def _planes(self, key: _Key) -> Floats:
        """The tile with all layers; not to be written to."""
        tile, where = self._tiles.get(key), _box(key)
        new = self._layers[tile.count if tile else 0 :]
        new = [(layer, atop) for layer, atop in new if not layer.box.intersect(where).empty]
        planes = tile.planes if tile else self.start._planes(key) if self.start else _EMPTY
        if not new:
            return planes
        if tile is None:
            planes = planes.copy()
        for layer, atop in new:
            _paint(planes, where, layer, atop)
        if tile is not None or self._kept() < KEPT:
            self._tiles[key] = _Tile(planes, len(self._layers))
        return planes

    def _kept(self) -> int:
        return len(self._tiles) + (self.start._kept() if self.start else 0)


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
    share = alpha * below[3] if atop else alpha
    source = layer.pixels[part.within(layer.box).slices]
    below[:3] *= 1 - alpha
    for channel in range(3):
        below[channel] += source[..., channel] * (share / np.float32(255))
    if not atop:
        below[3] += alpha * (1 - below[3])
