"""Colour for the transparent pixels of straight RGBA, out of the visible ones near by.

A codec that is linear in straight colour has to spend tokens on the colour of pixels that nobody sees, and an edge
between a colour and the black under transparency costs the most. So a transparent pixel takes the mean colour of its
patch, weighted by alpha; a patch without a visible pixel takes that of the smallest aligned square of 2, 4, 8 ...
patches a side that has one: a pull-push pyramid, O(n) on every device. Of nearest pixel, pyramid inside the patch and
mean of the patch, the mean has the least error in tokens of principal components: no edge is left in the hole.

A visible pixel keeps its colour, however low its alpha. Where it came from premultiplied bytes it may be noise, but
nobody can tell that noise from a true colour, the measures of the field count it as any other (RGB L1 over alpha > 0),
and its weight in the fill is its alpha.

Shapes: N cells of R pictures, one picture after another, row-major; T patches of P pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

NOTHING = 128.0
"""Every channel of a picture in which nothing is visible: the middle, near the mean of pictures."""

Sizes = Sequence[tuple[int, int]]


def bleed(patches_TP4: Tensor, sizes: Sizes) -> Tensor:
    """The same patches, u8 [T, P, 4], with colour under their transparent pixels.

    ``sizes``: height and width of each picture in patches; P may be 1, then the patches are the pixels of pictures of
    any size. Pictures do not see each other. The same input gives the same bytes.
    """
    if len(patches_TP4) == 0:
        return patches_TP4
    alpha_TP1 = patches_TP4[..., 3:].to(torch.float32)
    colour_TP3 = patches_TP4[..., :3].to(torch.float32)
    weight_T1 = alpha_TP1.sum(dim=1)
    fill_T3 = _filled(_mean((colour_TP3 * alpha_TP1).sum(dim=1), weight_T1), weight_T1, sizes)
    seen = torch.cat([patches_TP4[..., 3:] > 0] * 3 + [torch.ones_like(patches_TP4[..., 3:], dtype=torch.bool)], dim=-1)
    opaque_T14 = torch.cat([fill_T3.round(), torch.zeros_like(weight_T1)], dim=-1).to(torch.uint8)[:, None]
    return torch.where(seen, patches_TP4, opaque_T14)


def _filled(colour_N3: Tensor, weight_N1: Tensor, sizes: Sizes) -> Tensor:
    """The colour of each cell; where its weight is 0, that of the smallest square around it that has any."""
    if all(size == (1, 1) for size in sizes):
        return torch.where(weight_N1 > 0, colour_N3, NOTHING)
    fine = _Grid.of(sizes, colour_N3.device)
    halved = [((height + 1) // 2, (width + 1) // 2) for height, width in sizes]
    coarse = _Grid.of(halved, colour_N3.device)
    child_M4, there_M4 = coarse.children(fine)
    weights_M41 = weight_N1[child_M4] * there_M4[..., None]
    weight_M1 = weights_M41.sum(dim=1)
    colour_M3 = _mean((colour_N3[child_M4] * weights_M41).sum(dim=1), weight_M1)
    around_N3 = _filled(colour_M3, weight_M1, halved)[fine.parents(coarse)]
    return torch.where(weight_N1 > 0, colour_N3, around_N3)


def _mean(sum_N3: Tensor, weight_N1: Tensor) -> Tensor:
    return sum_N3 / weight_N1.clamp(min=1)


class _Grid(NamedTuple):
    """The cells of R pictures of any sizes, i64: ``region``, ``row``, ``column`` [N]; ``first`` to ``widths`` [R]."""

    region: Tensor
    row: Tensor
    column: Tensor
    first: Tensor
    heights: Tensor
    widths: Tensor

    @classmethod
    def of(cls, sizes: Sizes, device: torch.device) -> _Grid:
        heights, widths = torch.tensor(sizes, dtype=torch.int64, device=device).unbind(1)
        cells = heights * widths
        first = cells.cumsum(0) - cells
        total = sum(height * width for height, width in sizes)
        region = torch.repeat_interleave(torch.arange(len(sizes), device=device), cells, output_size=total)
        offset = torch.arange(total, device=device) - first[region]
        return cls(region, offset // widths[region], offset % widths[region], first, heights, widths)

    def parents(self, coarse: _Grid) -> Tensor:
        """i64 [N]: the cell of the grid of half the size in which each cell lies."""
        return coarse.first[self.region] + self.row // 2 * coarse.widths[self.region] + self.column // 2

    def children(self, fine: _Grid) -> tuple[Tensor, Tensor]:
        """i64 and bool [M, 4]: the cells of the finer grid in each cell, and which of the four are inside it."""
        steps = torch.tensor([(0, 0), (0, 1), (1, 0), (1, 1)], device=self.row.device)
        row, column = self.row[:, None] * 2 + steps[:, 0], self.column[:, None] * 2 + steps[:, 1]
        widths = fine.widths[self.region][:, None]
        there = (row < fine.heights[self.region][:, None]) & (column < widths)
        cell = fine.first[self.region][:, None] + row * widths + column
        return cell.where(there, 0), there
