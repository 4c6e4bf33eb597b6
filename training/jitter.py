"""A layout is never exact: boxes that a person or a detector draws, as augmentation of image-to-layers.

Boxes are in tokens on a design's padded canvas; pictures are straight RGBA, u8 ``[h t, w t, 4]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import numpy as np
from pydantic import Field
from torch import Tensor

from model.tasks import FOREGROUND, Box, Region
from schemas.settings import Section

Reach = Annotated[int, Field(ge=0, le=64)]


class JitterConfig(Section):
    """``share``: of the image-to-layers designs whose layout is jittered.

    ``grow`` and ``shrink``: tokens that each side of a foreground's box moves outward or inward at most. To shrink cuts
    off what the layer has there, and a tight box hides what lies outside: 0 by default. To grow makes more tokens than
    were planned, so that a micro-batch may pass ``token_budget``.
    """

    share: Annotated[float, Field(ge=0, le=1)] = 0.5
    grow: Reach = 1
    shrink: Reach = 0


def jittered(
    regions: Sequence[Region],
    pictures: Sequence[Tensor],
    canvas: tuple[int, int],
    token_px: int,
    config: JitterConfig,
    rng: np.random.Generator,
) -> tuple[list[Region], list[Tensor]]:
    """The regions of a design with the boxes of its noised foregrounds moved, and the pictures that belong there.

    Whether the design is among the share is drawn too. A box stays on its ``canvas`` (width and height) and keeps a
    token. What the composed picture, the background and everything given are stays as it is.
    """
    if rng.random() >= config.share:
        return list(regions), list(pictures)
    moved = [
        replace(region, box=_moved(region.box, canvas, config, rng))
        if region.layer >= FOREGROUND and not region.clean
        else region
        for region in regions
    ]
    out = [
        reboxed(picture, old.box, new.box, token_px) for picture, old, new in zip(pictures, regions, moved, strict=True)
    ]
    return moved, out


def reboxed(picture: Tensor, box: Box, wanted: Box, token_px: int) -> Tensor:
    """What the picture of a box shows in another: cut off where that ends, transparent where it reaches further."""
    if box == wanted:
        return picture
    x, y, right, bottom = wanted
    out = picture.new_zeros((bottom - y) * token_px, (right - x) * token_px, 4)
    x0, x1 = max(x, box[0]), min(right, box[2])
    y0, y1 = max(y, box[1]), min(bottom, box[3])
    if x0 < x1 and y0 < y1:
        there, here = (
            (
                slice((y0 - top) * token_px, (y1 - top) * token_px),
                slice((x0 - left) * token_px, (x1 - left) * token_px),
            )
            for left, top in ((x, y), box[:2])
        )
        out[there] = picture[here]
    return out


def _moved(box: Box, canvas: tuple[int, int], config: JitterConfig, rng: np.random.Generator) -> Box:
    left, top, right, bottom = rng.integers(-config.shrink, config.grow, 4, endpoint=True).tolist()
    x0, x1 = _side(box[0], box[2], left, right, canvas[0])
    y0, y1 = _side(box[1], box[3], top, bottom, canvas[1])
    return x0, y0, x1, y1


def _side(low: int, high: int, before: int, after: int, length: int) -> tuple[int, int]:
    """A side moved outward by so many tokens at both ends; as it was where nothing would be left of it."""
    start, stop = max(0, low - before), min(length, high + after)
    return (start, stop) if start < stop else (low, high)
