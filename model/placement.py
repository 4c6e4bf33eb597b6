"""From source pixels to tokens: how a design is scaled, and where its boxes lie on the token grid.

Everything is vectorised over N designs in float64 and uses only correctly rounded operations (no transcendental
function, no fused multiply-add), so a design gives the same tokens alone, while it is decoded, as among a million,
while an epoch is planned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from model.errors import LayoutError

Integers = npt.NDArray[np.integer[Any]]
Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]

MAX_SIDE = 1_000_000
"""Px of a canvas side; a larger one is taken for a mistake."""
EPSILON = 1e-8
"""Of a token: what a box may reach over the grid before it gets another token, against float noise.

Far over the noise (of 1e7 tokens a side), and under half a source pixel at the least scale (16 px over MAX_SIDE, tokens
of 256 px), so that a box of one pixel still has a token and none leaves its canvas.
"""
SHRINK = 0.99
"""What a canvas over the limit is scaled by at most, until it fits: so it is within about 1 % of the largest fit."""
BLOCK = 1 << 14
"""Boxes that are worked on at once, so that the intermediate arrays stay in the cache of a core."""


@dataclass(frozen=True)
class Grid:
    """What designs are scaled to, and the tokens that they are laid on.

    ``resolution`` px, 16 or more: the visible box is scaled to about its square. ``token_px``: side of a token, at most
    256. ``max_canvas_tokens``: tokens of a canvas beyond which a design is scaled down; None is four times those of the
    visible box.
    """

    resolution: int
    token_px: int
    max_canvas_tokens: int | None = None

    @property
    def canvas_limit(self) -> int:
        """Tokens of the largest canvas."""
        return self.max_canvas_tokens or 4 * max(1, round(self.resolution / self.token_px)) ** 2


@dataclass(frozen=True)
class Placement:
    """N designs on the token grid. Output pixels are tokens times ``token_px``; the canvas is padded outward.

    ``scale`` f64 [N]: output px for a source px, the same in x and y. ``corner`` i64 [N, 2]: x, y of the visible box's
    corner, source px. ``origin`` i64 [N, 2]: x, y of that corner on the padded canvas, tokens. ``canvas`` i64 [N, 2]:
    width and height, tokens. ``visible`` i64 [N, 4]: the tokens that the visible box touches. ``scaled_down`` bool [N]:
    the canvas was too large at the configured resolution.
    """

    scale: Float64
    corner: Int64
    origin: Int64
    canvas: Int64
    visible: Int64
    scaled_down: npt.NDArray[np.bool_]
    token_px: int


def place(sizes: Integers, visible: Integers, grid: Grid) -> Placement:
    """Scale designs so that the visible box has about ``resolution`` squared pixels and its corner is on the grid.

    ``sizes`` [N, 2]: width and height of the canvases; ``visible`` [N, 4]: half-open visible boxes; both source px.
    A canvas of more than ``grid.canvas_limit`` tokens is scaled down until it fits, or has a single token before and
    after the corner.

    Raises:
        LayoutError: a canvas has no pixels or a side over MAX_SIDE, or a visible box is empty or not on its canvas.
    """
    check_boxes(visible, np.arange(len(sizes)), sizes)
    sides, corner = sizes.astype(np.int64), visible[:, :2].astype(np.int64)
    extent = visible[:, 2:] - corner
    scale = grid.resolution / np.sqrt(extent[:, 0] * extent[:, 1])
    origin, canvas = _canvas(sides, corner, scale, grid.token_px)
    over = np.flatnonzero(_tokens(canvas) > grid.canvas_limit)
    scaled_down = np.zeros(len(sizes), np.bool_)
    scaled_down[over] = True
    while len(over):
        scale[over] *= np.minimum(np.sqrt(grid.canvas_limit / _tokens(canvas[over])), SHRINK)
        origin[over], canvas[over] = _canvas(sides[over], corner[over], scale[over], grid.token_px)
        large = _tokens(canvas[over]) > grid.canvas_limit
        over = over[large & (canvas[over] > 1 + (corner[over] > 0)).any(axis=1)]
    reach = np.ceil(extent * _per_token(scale, grid.token_px) - EPSILON).astype(np.int64)
    return Placement(scale, corner, origin, canvas, np.hstack([origin, origin + reach]), scaled_down, grid.token_px)


def to_tokens(boxes: Integers, design: Int64, placement: Placement) -> Int64:
    """Boxes [B, 4] on the canvases (source px) of the designs ``design`` [B] as token boxes i64 [B, 4].

    A token box lies on the padded canvas, contains its box and exceeds it by less than a token a side.
    """
    spans = _spans(boxes, design, placement).transpose(2, 0, 1).astype(np.int64)
    out: Int64 = (spans + placement.origin.take(design, axis=0)[:, None]).reshape(-1, 4)
    return out


def token_areas(boxes: Integers, design: Int64, placement: Placement) -> Int64:
    """The number of tokens i64 [B] of each of ``to_tokens(boxes, design, placement)``, without making those."""
    out = np.empty(len(boxes), np.int64)
    for start in range(0, len(boxes), BLOCK):
        block = slice(start, start + BLOCK)
        low, high = _spans(boxes[block], design[block], placement)
        width, height = np.subtract(high, low, out=high)
        np.multiply(width, height, out=out[block], casting="unsafe")
    return out


def to_pixels(boxes: npt.NDArray[Any], design: Int64, placement: Placement) -> Float64:
    """Boxes [B, 4] in source px as exact boxes f64 [B, 4] in output px on the padded canvas."""
    corner = np.tile(placement.corner[design], 2)
    origin = np.tile(placement.origin[design], 2) * placement.token_px
    out: Float64 = (boxes - corner) * placement.scale[design, None] + origin
    return out


def areas(boxes: Int64) -> Int64:
    """Width times height i64 [B] of boxes [B, 4]."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def check_boxes(boxes: Integers, starts: Int64, sizes: Integers) -> None:
    """Check boxes [B, 4] against the canvases [N, 2], in source px; a design's boxes begin at ``starts`` [N].

    Raises:
        LayoutError: a canvas has no pixels or a side over MAX_SIDE, or a box is empty or not on its canvas.
    """
    absurd = ((sizes < 1) | (sizes > MAX_SIDE)).any(axis=1)
    if absurd.any():
        width, height = sizes[np.argmax(absurd)]
        raise LayoutError(f"a canvas of {width} x {height} px; a side has 1 to {MAX_SIDE} px")
    for axis in (0, 1) if len(boxes) else ():
        low, high = boxes[:, axis], boxes[:, 2 + axis]
        bad = (low < 0) | (high <= low)
        if bad.any():
            raise LayoutError(f"box {boxes[np.argmax(bad)].tolist()} is empty or begins outside its canvas")
        reach = np.maximum.reduceat(high, starts)
        if (over := reach > sizes[:, axis]).any():
            at = np.argmax(over)
            raise LayoutError(f"a box reaches to {reach[at]} px on a canvas of {sizes[at, axis]} px")


def _per_token(scale: Float64, token_px: int) -> Float64:
    return (scale / token_px)[:, None]


def _tokens(canvas: Int64) -> Float64:
    """In float: before it is scaled down, a canvas may have more tokens than 64 bits count."""
    return canvas[:, 0].astype(np.float64) * canvas[:, 1]


def _canvas(sizes: Int64, corner: Int64, scale: Float64, token_px: int) -> tuple[Int64, Int64]:
    """Origin and size i64 [N, 2] of the canvases in tokens, padded outward from the corner."""
    per_token = _per_token(scale, token_px)
    origin = np.ceil(corner * per_token - EPSILON)
    beyond = np.ceil((sizes - corner) * per_token - EPSILON)
    return origin.astype(np.int64), (origin + beyond).astype(np.int64)


def _spans(boxes: Integers, design: Int64, placement: Placement) -> Float64:
    """First token, and one past the last, of boxes in x and y from the corner: whole f64 [2 ends, 2 axes, B].

    ``take`` is many times faster than indexing rows with an array.
    """
    out = np.empty((2, 2, len(boxes)))
    out[...] = boxes.reshape(-1, 2, 2).transpose(1, 2, 0)
    out -= placement.corner.take(design, axis=0).T.astype(np.float64, order="C")
    out *= placement.scale.take(design) / placement.token_px
    low, high = out
    low += EPSILON
    np.floor(low, out=low)
    high -= EPSILON
    np.ceil(high, out=high)
    return out
