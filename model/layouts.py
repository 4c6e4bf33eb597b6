"""Layouts of designs on the token grid without their pictures: drawn at random, or read from a record.

All boxes are in tokens, those of layers bottom to top with the background first.
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from model.errors import LayoutError
from model.placement import Grid, Int64, check_boxes, place, to_tokens
from model.tasks import BACKGROUND, COMPOSED, LAYERED_INPUT, Box, Region, Task, lay_out

SHARE, SPREAD = 0.045, 1.0
"""Median of a layer's share of the canvas, and the standard deviation of its logarithm: these give the token counts
that ART reports (mean 11.4k at 1024 px).
"""
ASPECT = 3.0
"""A drawn layer is at most so many times as wide as high, or as high as wide, unless the canvas cuts it."""
_BACKGROUND = "background"
"""The ``kind`` of a record's first layer, where the design has a background."""
_WANTED = '"canvas": {"width", "height"}, "visible": [x0, y0, x1, y1], "layers": [{"kind", "box": [x0, y0, x1, y1]}]'


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
        """As many layers as there are foregrounds, as Qwen-Image-Layered makes them: on a canvas that is the visible
        box alone. No layer overflows, and the background gets no region of its own.
        """
        x0, y0, x1, y1 = self.visible
        return full_canvas(len(self.boxes) - 1, (y1 - y0, x1 - x0))


def full_canvas(layers: int, size: tuple[int, int]) -> list[Region]:
    """Qwen-Image-Layered's regions of a picture of ``size`` (h, w) tokens, all as large as it.

    Frame 0 is the picture as the model draws it itself, which is thrown away; 1 and up are the ``layers``, bottom to
    top; the last region is the picture that is taken apart.
    """
    height, width = size
    box = (0, 0, width, height)
    made = [Region(number, box) for number in range(COMPOSED, BACKGROUND + layers)]
    return [*made, Region(LAYERED_INPUT, box, clean=True)]


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


def of_record(record: Any, grid: Grid) -> Layout:
    """The layout of a sample's ``json`` member: the boxes that a stream of the same resolution and tokens delivers.

    A design without a background gets a transparent one in its visible box.

    Raises:
        LayoutError: it has no canvas, visible box and layers, or a box is empty or not on the canvas.
    """
    try:
        key = str(record.get("design_id", "without an id"))
        size = np.array([[_whole(record["canvas"][name]) for name in ("width", "height")]])
        visible = np.array([_box(record["visible"])])
        boxes = np.array([_box(layer["box"]) for layer in record["layers"]])
        backed = [layer["kind"] == _BACKGROUND for layer in record["layers"]]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise LayoutError(f"not the record of a design; it needs {_WANTED}") from error
    if not backed:
        raise LayoutError(f"design {key} has no layers; give it at least a background", key)
    try:
        check_boxes(boxes, np.zeros(1, np.int64), size)
        placement = place(size, visible, grid)
    except LayoutError as error:
        raise LayoutError(f"design {key}: {error}", key) from None
    shown = _boxes(placement.visible)
    layers = _boxes(to_tokens(boxes, np.zeros(len(boxes), np.int64), placement))
    width, height = placement.canvas[0].tolist()
    return Layout((width, height), shown[0], layers if backed[0] else shown + layers)


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"{value!r} is no whole number")
    return value


def _box(values: Any) -> list[int]:
    x0, y0, x1, y1 = values
    return [_whole(value) for value in (x0, y0, x1, y1)]


def _boxes(rows: Int64) -> tuple[Box, ...]:
    return tuple((x0, y0, x1, y1) for x0, y0, x1, y1 in rows.tolist())
