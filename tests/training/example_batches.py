"""Micro-batches of drawn designs of every task, as a stream would deliver them, and a codec that loses nothing."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from model.codecs.pca import PcaCodec
from model.pictures import clip
from model.tasks import COMPOSED, LAYOUTS, Box, Extent, Region, Task, lay_out
from training.batch import MicroBatch
from training.streaming.draws import generator

TOKEN_PX = 4
CANVAS = (10, 8)
SHOWN: Box = (2, 1, 8, 7)
VISIBLE = (8.0, 4.0, 30.5, 28.0)
"""In px: the last column of its tokens is partly outside."""
OUTSIDE: Box = (8, 0, 10, 3)
BOXES: tuple[Box, ...] = (SHOWN, (0, 0, 4, 3), (3, 2, 6, 6), (8, 6, 10, 8), (5, 5, 9, 8), OUTSIDE)
"""The background; two foregrounds that are seen; one that is not; one that overflows; another that is not seen."""
RESTYLED = (2, 5)


@functools.cache
def codec() -> PcaCodec:
    """All 64 components of patches of 4 px: what it encodes it decodes to the same bytes."""
    noise = torch.randint(0, 256, (160, 160, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return PcaCodec.fit([noise], token_px=TOKEN_PX, token_dim=64)


def key(number: int) -> str:
    return f"{number:032x}"


def picture(name: str, box: Box) -> Tensor:
    """Drawn pixels that belong to a name, transparent in about a third of the places and black there."""
    height, width = ((box[axis + 2] - box[axis]) * TOKEN_PX for axis in (1, 0))
    pixels = torch.from_numpy(generator(name, 0, 0, "picture").integers(0, 256, (height, width, 4)).astype("uint8"))
    pixels[..., 3] = pixels[..., 3].int().mul(3).sub(255).clamp(0, 255).to(torch.uint8)
    return pixels * (pixels[..., 3:] > 0)


def micro_batch(designs: Sequence[tuple[int, Task]], *, epoch: int = 0, position: int = 0) -> MicroBatch:
    """Designs by number and task."""
    rows: list[tuple[int, Region, Tensor]] = []
    for number, (name, task) in enumerate(designs):
        chosen = RESTYLED if LAYOUTS[task].others_clean else ()
        for region in lay_out(task, BOXES, CANVAS, SHOWN, chosen):
            drawn = picture(f"{key(name)} {region.layer} {region.condition}", region.box)
            if region.layer == COMPOSED and LAYOUTS[task].composed is Extent.VISIBLE:
                drawn = clip(drawn, (0, 0, VISIBLE[2] - VISIBLE[0], VISIBLE[3] - VISIBLE[1]))
            rows.append((number, region, drawn))
    counts = torch.tensor([region.tokens for _, region, _ in rows], dtype=torch.int64)
    tensors = {
        "pixels": torch.cat([torch.zeros(0, 4, dtype=torch.uint8), *(drawn.reshape(-1, 4) for _, _, drawn in rows)]),
        "starts": torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)]),
        "boxes": torch.tensor([region.box for _, region, _ in rows], dtype=torch.int32).reshape(-1, 4),
        "layer": torch.tensor([region.layer for _, region, _ in rows], dtype=torch.int32),
        "design": torch.tensor([number for number, _, _ in rows], dtype=torch.int32),
        "clean": torch.tensor([region.clean for _, region, _ in rows], dtype=torch.bool),
        "condition": torch.tensor([region.condition for _, region, _ in rows], dtype=torch.bool),
        "canvas": torch.tensor([CANVAS for _ in designs], dtype=torch.int32).reshape(-1, 2),
        "visible": torch.tensor([VISIBLE for _ in designs], dtype=torch.float64).reshape(-1, 4),
    }
    keys = tuple(key(name) for name, _ in designs)
    tasks, prompts = tuple(task for _, task in designs), tuple(f"a picture {name}" for name, _ in designs)
    return MicroBatch(keys, position, epoch, tasks, prompts, tensors)
