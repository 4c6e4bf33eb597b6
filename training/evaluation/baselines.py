"""What needs no model: methods that a model must beat, and the pictures of a control that it must not.

A baseline knows the layout, and the exact box of each layer's pixels, to which every method is cut when it is judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from schemas.geometry import Box
from training.evaluation.sets import Case
from training.evaluation.stack import Placed, Stack, exact_box

NEAR, FAR = 8, 48
"""Of a channel, of 255: a pixel that differs from the ground by no more than the first is ground, from the second on it
is the layer.
"""


def crop(case: Case) -> Stack:
    """Every layer is what the given picture shows in its exact box, opaque; black where it has no pixel."""
    layers = []
    for true in case.truth.layers:
        box = exact_box(true)
        nothing = (true[0], torch.zeros_like(true[1]))
        layers.append(nothing if box.empty else (box, _within(case.composed, box)))
    return replace(case.truth, layers=layers)


def colour_key(case: Case) -> Stack:
    """As the crop, with an alpha that grows with the distance to the colour of the ground around the layer.

    That colour is the median of the given pixels next to the layer's exact box. The background, which lies on nothing,
    stays opaque.
    """
    layers = [
        (placed[0], _keyed(placed, case.composed)) if place > 0 and placed[1].any() else placed
        for place, placed in enumerate(crop(case).layers)
    ]
    return replace(case.truth, layers=layers)


def deranged(pictures: Sequence[Placed]) -> list[Placed]:
    """For each the picture of the next design, for the last that of the first: where there are two, nobody's own."""
    return [*pictures[1:], *pictures[:1]]


def _within(given: Placed, box: Box) -> Tensor:
    """The given picture in a box, opaque; black where it does not reach."""
    whole, picture = given
    out = picture.new_zeros(box.height, box.width, 4)
    out[..., 3] = 255
    part = box.intersect(whole)
    if not part.empty:
        out[part.within(box).slices] = picture[part.within(whole).slices]
    return out


def _keyed(layer: Placed, given: Placed) -> Tensor:
    box, picture = layer
    colours = picture[..., :3].int()
    ground = _around(box, given).int().median(dim=0).values
    distance = (colours - ground).abs().amax(dim=-1)
    alpha = ((distance - NEAR) * 255 // (FAR - NEAR)).clamp(0, 255).to(torch.uint8)
    return torch.cat([picture[..., :3], alpha[..., None]], dim=-1)


def _around(box: Box, given: Placed) -> Tensor:
    """The colours [n, 3] of the given pixels next to a box; white where the picture does not reach around it."""
    whole, picture = given
    outer = Box(box.x0 - 1, box.y0 - 1, box.x1 + 1, box.y1 + 1).intersect(whole)
    beside = torch.ones(outer.height, outer.width, dtype=torch.bool)
    beside[box.intersect(outer).within(outer).slices] = False
    colours = picture[outer.within(whole).slices][beside][:, :3]
    return colours if len(colours) else colours.new_full((1, 3), 255)
