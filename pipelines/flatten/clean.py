"""Cleaning a stack as Qwen-Image-Layered does: layers that add nothing go, and too many are merged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from pipelines.flatten.bake import merged
from pipelines.flatten.stack import StackLayer
from schemas.design import LayerKind
from schemas.geometry import Box, union

_NAME_LENGTH = 120
_BACKGROUND_COVERAGE = 0.99
_CELLS = 256  # along the longer side: overlap is judged this finely

_Cells = tuple[Box, npt.NDArray[np.bool_]]
"""Which cells of a coarse grid are touched: bool ``[height, width]`` at a box in cells."""


def contributing(layers: Sequence[StackLayer], visible: Box) -> list[StackLayer]:
    """The layers that show inside ``visible``: some alpha there, not wholly under opaque pixels."""
    hidden = np.zeros((visible.height, visible.width), np.bool_)
    kept: list[StackLayer] = []
    for layer in reversed(layers):
        part = layer.box.intersect(visible)
        alpha = layer.pixels[part.within(layer.box).slices][..., -1]
        spot = part.within(visible).slices
        if np.any((alpha > 0) & ~hidden[spot]):
            kept.append(layer)
            hidden[spot] |= alpha == 255
    return kept[::-1]


def at_most(layers: Sequence[StackLayer], count: int) -> list[StackLayer]:
    """At most ``count`` layers: z-neighbours are merged, those first that cost the least.

    That is: no text loses its typography, then they do not overlap, then their union is small. Merging z-neighbours
    never changes the composite ("over" is associative) but for rounding, which happens once: what is merged is decided
    on coarse cells before any pixel is.
    """
    if len(layers) <= count:
        return list(layers)
    around = union(layer.box for layer in layers)
    cell = -(-max(around.width, around.height) // _CELLS)
    found = [_Run((index,), layer.box, _touched(layer, cell)) for index, layer in enumerate(layers)]
    texts = [layer.text is not None for layer in layers]
    costs = [_cost(a, b, texts) for a, b in pairwise(found)]
    while len(found) > count:
        i = costs.index(min(costs))
        found[i : i + 2] = [_joined(found[i], found[i + 1])]
        del costs[i]
        for j in (i - 1, i):
            if 0 <= j < len(costs):
                costs[j] = _cost(found[j], found[j + 1], texts)
    return [_merged([layers[index] for index in run.members]) for run in found]


def with_background(layers: Sequence[StackLayer], visible: Box) -> list[StackLayer]:
    """The bottom layer is the background where it covers the visible box; no other layer is one."""
    return [replace(layer, kind=_kind(layer, visible, index == 0)) for index, layer in enumerate(layers)]


def _kind(layer: StackLayer, visible: Box, bottom: bool) -> LayerKind:
    if bottom and layer.kind is not LayerKind.TEXT:
        alpha = layer.pixels[layer.box.intersect(visible).within(layer.box).slices][..., 3]
        if alpha.sum(dtype=np.int64) >= _BACKGROUND_COVERAGE * 255 * visible.area:
            return LayerKind.BACKGROUND
    return LayerKind.IMAGE if layer.kind is LayerKind.BACKGROUND else layer.kind


@dataclass(frozen=True)
class _Run:
    """Neighbours to be merged: their indices, their union, and the cells of its own grid that their alpha touches."""

    members: tuple[int, ...]
    box: Box
    cells: _Cells


def _cost(lower: _Run, upper: _Run, texts: Sequence[bool]) -> tuple[int, bool, int]:
    lost = sum(len(run.members) == 1 and texts[run.members[0]] for run in (lower, upper))
    return lost, _overlap(lower.cells, upper.cells), lower.box.union(upper.box).area


def _joined(lower: _Run, upper: _Run) -> _Run:
    """Both as one run."""
    (one, first), (two, second) = lower.cells, upper.cells
    both = one.union(two)
    touched = np.zeros((both.height, both.width), np.bool_)
    for box, cells in ((one, first), (two, second)):
        touched[box.within(both).slices] |= cells
    return _Run((*lower.members, *upper.members), lower.box.union(upper.box), (both, touched))


def _touched(layer: StackLayer, cell: int) -> _Cells:
    """The cells of ``cell`` x ``cell`` px that the layer's alpha touches."""
    box = layer.box
    grid = Box(box.x0 // cell, box.y0 // cell, -(-box.x1 // cell), -(-box.y1 // cell))
    pads = (box.y0 - grid.y0 * cell, grid.y1 * cell - box.y1), (box.x0 - grid.x0 * cell, grid.x1 * cell - box.x1)
    alpha = np.pad(layer.pixels[..., 3] > 0, pads)
    rows = alpha.reshape(grid.height, cell, grid.width * cell).any(axis=1)
    return grid, np.asarray(rows.reshape(grid.height, grid.width, cell).any(axis=2))


def _overlap(a: _Cells, b: _Cells) -> bool:
    part = a[0].intersect(b[0])
    return not part.empty and bool(np.any(a[1][part.within(a[0]).slices] & b[1][part.within(b[0]).slices]))


def _merged(members: Sequence[StackLayer]) -> StackLayer:
    if len(members) == 1:
        return members[0]
    name = " + ".join(layer.name for layer in members)
    if len(name) > _NAME_LENGTH:
        name = name[: _NAME_LENGTH - 1] + "…"
    return merged(
        members, name, f"{sum(layer.leaves for layer in members)} layers merged to keep within the layer limit"
    )
