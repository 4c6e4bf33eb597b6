"""Boxes: half-open integer rectangles ``[x0, y0, x1, y1]`` in pixels, origin top left, y down."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, BeforeValidator, PlainSerializer


class Box(NamedTuple):
    """A half-open integer rectangle in pixels.

    Boxes in a record lie on the canvas and are never negative; while a document is being read a box may be anywhere.
    """

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def width(self) -> int:
        return max(0, self.x1 - self.x0)

    @property
    def height(self) -> int:
        return max(0, self.y1 - self.y0)

    @property
    def area(self) -> int:
        return self.width * self.height

    @property
    def empty(self) -> bool:
        return self.area == 0

    @property
    def slices(self) -> tuple[slice, slice]:
        """(rows, columns) of this box in an array whose origin is the box's coordinate origin."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    def shift(self, dx: int, dy: int) -> Box:
        return Box(self.x0 + dx, self.y0 + dy, self.x1 + dx, self.y1 + dy)

    def within(self, origin: Box) -> Box:
        """This box in the coordinates of an array that starts at ``origin``'s top left corner."""
        return self.shift(-origin.x0, -origin.y0)

    def intersect(self, other: Box) -> Box:
        """The common part; an empty box at a corner of it where there is none."""
        x0, y0 = max(self.x0, other.x0), max(self.y0, other.y0)
        return Box(x0, y0, max(x0, min(self.x1, other.x1)), max(y0, min(self.y1, other.y1)))

    def union(self, other: Box) -> Box:
        """The smallest box around both; an empty box adds nothing."""
        if self.empty:
            return other
        if other.empty:
            return self
        return Box(min(self.x0, other.x0), min(self.y0, other.y0), max(self.x1, other.x1), max(self.y1, other.y1))

    def contains(self, other: Box) -> bool:
        return self.intersect(other) == other


def union(boxes: Iterable[Box]) -> Box:
    """The smallest box around all of ``boxes``; ``Box(0, 0, 0, 0)`` where there is none."""
    out = Box(0, 0, 0, 0)
    for box in boxes:
        out = out.union(box)
    return out


def _on_canvas(box: Box) -> Box:
    if box.x0 < 0 or box.y0 < 0 or box.empty:
        raise ValueError(f"a box must be [x0, y0, x1, y1] with 0 <= x0 < x1 and 0 <= y0 < y1, not {list(box)}")
    return box


def _to_box(value: object) -> object:
    return Box(*value) if isinstance(value, list | tuple) and len(value) == 4 else value


CanvasBox = Annotated[
    Box,
    BeforeValidator(_to_box),
    AfterValidator(_on_canvas),
    PlainSerializer(list, return_type=list[int]),
]
"""A non-empty box on the canvas, serialised as a list of four integers."""
