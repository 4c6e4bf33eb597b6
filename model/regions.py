"""The regions of a packed micro-batch as tensors, and where each of their tokens stands.

Shapes: D designs, R regions, T image tokens (regions one after another, each row-major), S text tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from model.errors import LayoutError
from model.rope import MAX_POSITION
from model.tasks import Box, Region


@dataclass(frozen=True, eq=False)
class Regions:
    """R regions of D designs, those of a design next to each other; integers, all on one device.

    ``boxes`` [R, 4]: half-open ``x0, y0, x1, y1`` in tokens on the design's padded canvas. ``layer`` [R]: position on
    the frame axis. ``design`` [R]: which of the D. ``clean`` bool [R]: given. ``condition`` bool [R]: a reference.
    ``centre`` [D, 2]: the x and y that have position 0. ``extent`` [D]: the first position on every axis that is past
    the grid and past the layers, where the text begins. ``keys``: names of the designs, for errors.
    """

    boxes: Tensor
    layer: Tensor
    design: Tensor
    clean: Tensor
    condition: Tensor
    centre: Tensor
    extent: Tensor
    keys: tuple[str, ...]

    @classmethod
    def of(
        cls,
        *,
        boxes: Tensor,
        layer: Tensor,
        design: Tensor,
        clean: Tensor,
        condition: Tensor,
        canvas: Tensor,
        visible: Tensor,
        keys: Sequence[str] = (),
        centred_on: str = "visible",
    ) -> Regions:
        """The regions of a micro-batch, the grid of each design centred on its ``visible`` box or its ``canvas``.

        ``canvas`` [D, 2]: width and height; ``visible`` [D, 4]: the tokens of the visible box. A box has the positions
        that it has in the whole grid: a crop is never centred on itself.

        Raises:
            LayoutError: a design has no region, a box is empty or not on its canvas, or a position is beyond what the
                model knows.
        """
        names = tuple(keys) or tuple(f"number {number}" for number in range(len(canvas)))
        zero = torch.zeros_like(visible[:, :2])
        grid = torch.cat([zero, canvas], dim=1) if centred_on == "canvas" else visible
        # Qwen-Image's centred grid: n positions run from -(n - n // 2) to n // 2 - 1.
        size = grid[:, 2:] - grid[:, :2]
        centre = grid[:, :2] + size - size // 2
        layers = torch.zeros(len(canvas), dtype=layer.dtype, device=layer.device)
        layers = layers.scatter_reduce(0, design.long(), layer + 1, "amax")
        extent = torch.maximum((canvas - centre).amax(dim=1), layers)
        numbers = boxes.long(), layer.long(), design.long()
        out = cls(*numbers, clean, condition, centre.long(), extent.long(), names)
        out._check(canvas)
        return out

    @classmethod
    def lay_out(
        cls,
        designs: Sequence[Sequence[Region]],
        canvases: Sequence[tuple[int, int]],
        visible: Sequence[Box],
        keys: Sequence[str] = (),
        centred_on: str = "visible",
    ) -> Regions:
        """As ``of``, from the regions of each design as ``tasks.lay_out`` gives them."""
        flat = [(number, region) for number, regions in enumerate(designs) for region in regions]
        return cls.of(
            boxes=torch.tensor([region.box for _, region in flat], dtype=torch.long).reshape(-1, 4),
            layer=torch.tensor([region.layer for _, region in flat], dtype=torch.long),
            design=torch.tensor([number for number, _ in flat], dtype=torch.long),
            clean=torch.tensor([region.clean for _, region in flat], dtype=torch.bool),
            condition=torch.tensor([region.condition for _, region in flat], dtype=torch.bool),
            canvas=torch.tensor(canvases, dtype=torch.long).reshape(-1, 2),
            visible=torch.tensor(visible, dtype=torch.long).reshape(-1, 4),
            keys=keys,
            centred_on=centred_on,
        )

    def __len__(self) -> int:
        return len(self.boxes)

    @cached_property
    def sizes(self) -> list[tuple[int, int]]:
        """Height and width of each region, in tokens."""
        corners = self.boxes.tolist()
        return [(y1 - y0, x1 - x0) for x0, y0, x1, y1 in corners]

    @cached_property
    def counts(self) -> list[int]:
        """Tokens of each region."""
        return [height * width for height, width in self.sizes]

    @cached_property
    def lengths(self) -> list[int]:
        """Tokens of each design."""
        out = [0] * len(self.keys)
        for number, count in zip(self.design.tolist(), self.counts, strict=True):
            out[number] += count
        return out

    @property
    def tokens(self) -> int:
        return sum(self.counts)

    @cached_property
    def region_T(self) -> Tensor:
        """[T]: the region of each token."""
        counts = torch.tensor(self.counts, dtype=torch.long, device=self.boxes.device)
        regions = torch.arange(len(self), device=self.boxes.device)
        return regions.repeat_interleave(counts, output_size=self.tokens)

    @cached_property
    def positions_T3(self) -> Tensor:
        """[T, 3]: layer, y and x of each token, from the centre of its design's grid."""
        region, boxes = self.region_T, self.boxes
        counts = torch.tensor(self.counts, dtype=torch.long, device=boxes.device)
        inside = torch.arange(self.tokens, device=boxes.device) - (counts.cumsum(0) - counts)[region]
        width = (boxes[:, 2] - boxes[:, 0])[region]
        centre = self.centre[self.design][region]
        y = boxes[region, 1] + inside // width - centre[:, 1]
        x = boxes[region, 0] + inside % width - centre[:, 0]
        return torch.stack([self.layer[region], y, x], dim=1)

    @cached_property
    def target_T(self) -> Tensor:
        """bool [T]: tokens that are noised, and that the loss counts."""
        return ~self.clean[self.region_T]

    def of_tokens(self, values: Tensor) -> Tensor:
        """[T, ...]: what each token's region has of ``values`` [R, ...]."""
        return values[self.region_T]

    def select(self, kept_R: Tensor) -> Regions:
        """Some of the regions, in their order, at their places; every design must keep one."""
        names = ("boxes", "layer", "design", "clean", "condition")
        kept: dict[str, Any] = {name: getattr(self, name)[kept_R] for name in names}
        out = replace(self, **kept)
        out._check(None)
        return out

    def to(self, device: torch.device | str) -> Regions:
        """All tensors on ``device``. What is derived from them stays with the old ones."""
        moved: dict[str, Any] = {
            field.name: value.to(device)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, **moved)

    def _check(self, canvas: Tensor | None) -> None:
        named = set(self.design.tolist())
        for number, key in enumerate(self.keys):
            if number not in named:
                raise LayoutError(f"design {key} has no region; give it at least one layer", key)
        apart = self.design.diff(prepend=self.design[:1]) < 0
        self._refuse(apart, "comes after one of a later design; sort the regions by design")
        if canvas is not None:
            self._check_boxes(canvas)
        corners = torch.cat([self.boxes[:, :2], self.boxes[:, 2:] - 1], dim=1).view(-1, 2, 2)
        reach = corners - self.centre[self.design, None]
        far = ((reach < -MAX_POSITION) | (reach >= MAX_POSITION)).any(dim=2).any(dim=1)
        self._refuse(far, f"lies over {MAX_POSITION} tokens from the centre; scale the design down")
        self._refuse(self.layer.abs() >= MAX_POSITION, f"has a layer number over {MAX_POSITION}; merge layers")

    def _check_boxes(self, canvas: Tensor) -> None:
        low, high = self.boxes[:, :2], self.boxes[:, 2:]
        self._refuse((high <= low).any(dim=1), "is empty; leave the layer out")
        outside = (low < 0).any(dim=1) | (high > canvas[self.design]).any(dim=1)
        self._refuse(outside, "reaches over its canvas; enlarge the canvas to the union of all boxes, or clip the box")

    def _refuse(self, bad_R: Tensor, why: str) -> None:
        if bad_R.any():
            at = int(bad_R.int().argmax())
            key = self.keys[int(self.design[at])]
            raise LayoutError(f"design {key}: box {self.boxes[at].tolist()} of layer {int(self.layer[at])} {why}", key)
