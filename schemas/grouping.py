"""Applying a grouping: a partition of the layers whose parts each become one layer (DESIGN section 7, group)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from schemas.compositing import Placed, composite
from schemas.design import Grouping
from schemas.geometry import Box, union

STRIP_PIXELS = 1 << 20
"""Pixels that are composited at once in float: bounds the memory of a merge, not its result."""


def merge_parts(placed: Sequence[Placed], grouping: Grouping) -> list[Placed]:
    """The merged layers of ``placed`` (all layers of a design, bottom to top), bottom to top: one a part.

    A part of one layer is that layer itself (the same array); a larger one is the composite of its members, rounded
    once to 8 bit, in the union of their boxes.

    Raises:
        IndexError: the grouping names a layer that is not there.
    """
    return [_merge([placed[index] for index in part]) for part in grouping.parts]


def _merge(members: Sequence[Placed]) -> Placed:
    if len(members) == 1:
        return members[0]
    box = union(member for _, member in members)
    out = np.empty((box.height, box.width, 4), np.uint8)
    rows = max(1, STRIP_PIXELS // max(1, box.width))
    for top in range(box.y0, box.y1, rows):
        strip = Box(box.x0, top, box.x1, min(top + rows, box.y1))
        out[strip.within(box).slices] = composite(members, strip)
    return out, box
