"""Layer-grouping augmentation: random partitions of the layers, each proven to recompose (DESIGN section 7, group).

Layers that overlap must keep their order; all others may change places. So a partition is allowed exactly when the
graph "a lies below b and overlaps it", contracted to the parts, has no cycle: its topological order is then the z-order
of the parts. Overlap is judged on a coarse alpha grid, which may see overlap where there is none but never misses any.
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field
from scipy import ndimage

from schemas.compositing import Placed, Rgba, composite
from schemas.design import Grouping, LayerKind, Share
from schemas.geometry import Box
from schemas.grouping import merge_parts
from schemas.sample import Sample

Mask = npt.NDArray[np.bool_]
GRID = 128
"""Cells of the overlap grid along the longer side of the canvas, at least."""
MAX_CELL = 8
TILE = 512
"""Side in px of the squares in which a partition is proven."""


class GroupConfig(BaseModel):
    """How layers are grouped.

    ``partitions``: how many distinct partitions a design gets at most. ``min_merge``, ``max_merge``: the chance that a
    pair of neighbours is merged, drawn between the two for each partition, so that coarse and fine ones come up.
    ``merge_text``: text layers may be merged too. ``max_gap``: how far apart two layers may lie and still be
    neighbours, as a share of the visible box's longer side. ``min_parts``: parts a partition keeps at least, the
    background among them. ``max_error``, ``max_mean_error``: the proof, in 1/255 of premultiplied colour and of alpha.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    partitions: int = Field(default=4, ge=0, le=64)
    min_merge: Share = 0.1
    max_merge: Share = 0.7
    merge_text: bool = False
    max_gap: Share = 0.02
    min_parts: int = Field(default=2, ge=2)
    max_error: float = Field(default=2.0, gt=0)
    max_mean_error: float = Field(default=0.1, gt=0)


class Proof(NamedTuple):
    """How far a merged stack is from the composite: the largest and the mean difference, in 1/255."""

    worst: float
    mean: float


def group_design(sample: Sample, config: GroupConfig) -> tuple[Grouping, ...]:
    """Up to ``config.partitions`` distinct partitions of the sample's layers that recompose, a function of its id.

    The background is never merged. A design of fewer than 3 layers, or with no neighbours to merge, has none.
    """
    design = sample.design
    if len(design.layers) < 3 or config.partitions == 0:
        return ()
    placed = sample.placed()
    relations = _relate(placed, sample, config)
    if not relations.neighbours:
        return ()
    reference = sample.composite()
    found: dict[tuple[tuple[int, ...], ...], Grouping] = {}
    tried = set()
    for attempt in range(4 * config.partitions):
        if len(found) == config.partitions:
            break
        seed = _seed(design.design_id, attempt)
        grouping = Grouping(seed=seed, parts=_partition(relations, len(placed), random.Random(seed), config))
        if len(grouping.parts) == len(placed) or grouping.parts in tried:
            continue
        tried.add(grouping.parts)
        proof = prove(placed, grouping, reference)
        if proof.worst <= config.max_error and proof.mean <= config.max_mean_error:
            found[grouping.parts] = grouping
    return tuple(found.values())


def prove(placed: Sequence[Placed], grouping: Grouping, reference: Rgba) -> Proof:
    """Compare the stack with its parts merged against ``reference``, the composite (``uint8 [height, width, 4]``).

    Premultiplied colour and alpha are compared, so that the colour of a nearly transparent pixel does not count. Tiles
    where no part of several layers lies are left out: there the stack is as it was.
    """
    merged = merge_parts(placed, grouping)
    changed = [box for part, (_, box) in zip(grouping.parts, merged, strict=True) if len(part) > 1]
    height, width = reference.shape[:2]
    worst, total = 0.0, 0.0
    for top in range(0, height, TILE):
        for left in range(0, width, TILE):
            tile = Box(left, top, min(left + TILE, width), min(top + TILE, height))
            if all(tile.intersect(box).empty for box in changed):
                continue
            most, much = _difference(composite(merged, tile), reference[tile.slices])
            worst, total = max(worst, most), total + much
    return Proof(worst, total / (height * width * 4))


def _difference(one: Rgba, two: Rgba) -> tuple[float, float]:
    """The largest difference of premultiplied colour and alpha, and the sum of all."""
    if np.array_equal(one, two):
        return 0.0, 0.0
    most, total = 0, 0
    alphas = [pixels[..., 3].astype(np.int32) for pixels in (one, two)]
    for channel in range(4):
        # Both in 1/255 of a level: alpha is compared as it is, colour as colour x alpha.
        factors = alphas if channel < 3 else [np.int32(255), np.int32(255)]
        apart = np.abs(one[..., channel] * factors[0] - two[..., channel] * factors[1])
        most, total = max(most, int(apart.max())), total + int(apart.sum(dtype=np.int64))
    return most / 255, total / 255


def _seed(design_id: str, attempt: int) -> int:
    return int.from_bytes(hashlib.sha256(f"group:{design_id}:{attempt}".encode()).digest()[:6], "big")


@dataclass(frozen=True)
class _Relations:
    """``below[i]``: the layers under layer i that it overlaps. ``neighbours``: the pairs that may be merged."""

    below: tuple[tuple[int, ...], ...]
    neighbours: tuple[tuple[int, int], ...]


def _relate(placed: Sequence[Placed], sample: Sample, config: GroupConfig) -> _Relations:
    design = sample.design
    side = max(sample.canvas.width, sample.canvas.height)
    cell = max(1, min(MAX_CELL, side // GRID))
    reach = max(design.visible.width, design.visible.height) * config.max_gap / cell
    masks = [_cells(layer, sample.canvas, cell) for layer in placed]
    wide = [_grow(mask, max(1, round(reach))) for mask in masks]
    fixed = {LayerKind.BACKGROUND} if config.merge_text else {LayerKind.BACKGROUND, LayerKind.TEXT}
    free = [layer.kind not in fixed for layer in design.layers]
    below: list[tuple[int, ...]] = []
    neighbours = []
    for j, mask in enumerate(masks):
        below.append(tuple(i for i in range(j) if bool((masks[i] & mask).any())))
        neighbours += [(i, j) for i in range(j) if free[i] and free[j] and bool((wide[i] & mask).any())]
    return _Relations(tuple(below), tuple(neighbours))


def _cells(layer: Placed, canvas: Box, cell: int) -> Mask:
    """Which cells of the canvas the layer's alpha touches: bool ``[ceil(height / cell), ceil(width / cell)]``."""
    pixels, box = layer
    rows, columns = -(-canvas.height // cell), -(-canvas.width // cell)
    out = np.zeros((rows, columns), bool)
    first_row, first_column = box.y0 // cell, box.x0 // cell
    pad = ((box.y0 - first_row * cell, -box.y1 % cell), (box.x0 - first_column * cell, -box.x1 % cell))
    alpha = np.pad(pixels[..., 3] > 0, pad)
    blocks = alpha.reshape(alpha.shape[0] // cell, cell, alpha.shape[1] // cell, cell).any(axis=(1, 3))
    out[first_row : first_row + blocks.shape[0], first_column : first_column + blocks.shape[1]] = blocks
    return out


def _grow(mask: Mask, cells: int) -> Mask:
    """``mask`` grown by ``cells`` to every side, in a square."""
    grown: Mask = ndimage.maximum_filter(mask, size=2 * cells + 1, mode="constant", cval=0)
    return grown


def _partition(
    relations: _Relations, count: int, rng: random.Random, config: GroupConfig
) -> tuple[tuple[int, ...], ...]:
    """Merge random neighbours as long as the parts can still be put in order; parts bottom to top."""
    chance = config.min_merge + (config.max_merge - config.min_merge) * rng.random()
    part_of = list(range(count))
    parts = count
    order = list(range(count))
    pairs = [(rng.random(), rng.random(), pair) for pair in relations.neighbours]
    for _, luck, (i, j) in sorted(pairs):
        if luck >= chance or part_of[i] == part_of[j] or parts <= config.min_parts:
            continue
        joined = [part_of[i] if part == part_of[j] else part for part in part_of]
        if (sequence := _order(joined, relations.below)) is not None:
            part_of, order, parts = joined, sequence, parts - 1
    return tuple(tuple(k for k in range(count) if part_of[k] == part) for part in order)


def _order(part_of: Sequence[int], below: Sequence[tuple[int, ...]]) -> list[int] | None:
    """The parts bottom to top so that overlapping layers keep their order; None where there is no such order.

    Among the parts that may come next, the one with the lowest layer does (Kahn, 1962).
    """
    lowest: dict[int, int] = {}
    under: dict[int, set[int]] = {}
    for index, part in enumerate(part_of):
        lowest.setdefault(part, index)
        under.setdefault(part, set()).update(part_of[i] for i in below[index] if part_of[i] != part)
    above: dict[int, list[int]] = {part: [] for part in under}
    for part, parts in under.items():
        for other in parts:
            above[other].append(part)
    ready = [(lowest[part], part) for part, parts in under.items() if not parts]
    heapq.heapify(ready)
    waiting = {part: len(parts) for part, parts in under.items()}
    out = []
    while ready:
        _, part = heapq.heappop(ready)
        out.append(part)
        for other in above[part]:
            waiting[other] -= 1
            if waiting[other] == 0:
                heapq.heappush(ready, (lowest[other], other))
    return out if len(out) == len(under) else None
