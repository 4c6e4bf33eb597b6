"""Layouts of designs on the token grid without their pictures: drawn at random, or read from a record.

All boxes are in tokens, those of layers bottom to top with the background first.
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from model.errors import LayoutError
from model.tasks import COMPOSED, FOREGROUND, LAYERED_INPUT, Box, Region, Task, lay_out

SHARE, SPREAD = 0.045, 1.0
"""Median of a layer's share of the canvas, and the standard deviation of its logarithm: these give the token counts
that ART reports (mean 11.4k at 1024 px).
"""
ASPECT = 3.0
"""A drawn layer is at most so many times as wide as high, or as high as wide, unless the canvas cuts it."""
MAX_SIDE = 1_000_000
"""Px of a canvas: a record with more is damaged."""
_EPSILON = 1e-8
"""Of a token: what a box may reach over the grid by float noise before it gets another token."""


@dataclass(frozen=True)
class Layout:
    """``canvas``: width and height. ``visible``: what a viewer sees of it. ``boxes``: of the background and up."""

    canvas: tuple[int, int]
    visible: Box
    boxes: tuple[Box, ...]

    def regions(self, task: Task, chosen: Collection[int] = ()) -> list[Region]:
        """The regions of a task: ``tasks.lay_out``."""
        return lay_out(task, self.boxes, self.canvas, self.visible, chosen)

    def full_canvas(self) -> list[Region]:
        """The same foregrounds as Qwen-Image-Layered makes them: the composed picture, every layer as large as it, and
        the given picture. No layer overflows, and the background gets no region of its own.
        """
        foregrounds = range(FOREGROUND, FOREGROUND + len(self.boxes) - 1)
        made = [Region(number, self.visible) for number in (COMPOSED, *foregrounds)]
        return [*made, Region(LAYERED_INPUT, self.visible, clean=True)]


def draw(layers: int, side: int, seed: int) -> Layout:
    """A square canvas of ``side`` tokens with a full background and ``layers`` foregrounds.

    Each has a lognormal share of the canvas, an aspect and a place that are uniform (the aspect in its logarithm), in
    whole tokens. The same seed gives the same layout at every side, but for rounding.
    """
    at = random.Random(seed)
    boxes: list[Box] = [(0, 0, side, side)]
    for _ in range(layers):
        share = min(1.0, math.exp(at.gauss(math.log(SHARE), SPREAD)))
        wide = math.sqrt(share * math.exp(at.uniform(-math.log(ASPECT), math.log(ASPECT))))
        wide = min(1.0, max(share, wide))
        width, height = (max(1, round(part * side)) for part in (wide, share / wide))
        x, y = (round(at.random() * (side - length)) for length in (width, height))
        boxes.append((x, y, x + width, y + height))
    return Layout((side, side), (0, 0, side, side), tuple(boxes))


def of_record(record: Any, resolution: int, token_px: int) -> Layout:
    """The layout of a sample's ``json`` member, scaled so that the visible box has ``resolution`` squared px.

    Its corner lies on the grid of tokens of ``token_px``; boxes are padded outward.

    Raises:
        LayoutError: it has no canvas, visible box and layers, or a box is empty or not on the canvas.
    """
    try:
        key = str(record.get("design_id", "without an id"))
        sides = [_whole(record["canvas"][name]) for name in ("width", "height")]
        visible = [_whole(value) for value in record["visible"]]
        boxes = [[_whole(value) for value in layer["box"]] for layer in record["layers"]]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        wanted = '"canvas": {"width", "height"}, "visible": [x0, y0, x1, y1], "layers": [{"box": [x0, y0, x1, y1]}]'
        raise LayoutError(f"not the record of a design; it needs {wanted}") from error
    if not boxes:
        raise LayoutError(f"design {key} has no layers; give it at least a background", key)
    for box in (visible, *boxes):
        _check(box, sides, key)
    per_token = resolution / math.sqrt((visible[2] - visible[0]) * (visible[3] - visible[1])) / token_px
    origin = [math.ceil(corner * per_token - _EPSILON) for corner in visible[:2]]

    def to_tokens(box: list[int]) -> Box:
        x, y = (math.floor((box[i] - visible[i]) * per_token + _EPSILON) + origin[i] for i in (0, 1))
        right, top = (math.ceil((box[i + 2] - visible[i]) * per_token - _EPSILON) + origin[i] for i in (0, 1))
        return x, y, right, top

    whole = to_tokens([0, 0, *sides])
    return Layout(whole[2:], to_tokens(visible), tuple(to_tokens(box) for box in boxes))


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"{value!r} is no whole number")
    return value


def _check(box: list[int], sides: list[int], key: str) -> None:
    on_canvas = len(box) == 4 and all(0 <= box[i] < box[i + 2] <= sides[i] for i in (0, 1))
    if not on_canvas or max(sides) > MAX_SIDE:
        raise LayoutError(f"design {key}: box {box} is empty or not on its canvas of {sides} px; correct it", key)
