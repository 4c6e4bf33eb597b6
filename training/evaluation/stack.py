"""A design as evaluation sees it: pictures with their boxes on a canvas, part of which is visible."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from schemas import compositing
from schemas.compositing import Rgba
from schemas.geometry import Box

Placed = tuple[Box, Tensor]
"""A box in px of the canvas, and the picture that fills it: uint8 ``[h, w, 4]``, straight RGBA, sRGB."""
WHITE = 255


@dataclass(frozen=True, eq=False)
class Stack:
    """A layered design: ``layers`` bottom to top, the background first; they may reach out of the canvas.

    ``canvas``: width and height in px. ``visible``: ``x0, y0, x1, y1`` in px of the canvas, possibly between pixels.

    Raises:
        ValueError: no layer, a picture that is not the size of its box or no uint8 RGBA, or no visible pixel.
    """

    layers: Sequence[Placed]
    canvas: tuple[int, int]
    visible: tuple[float, float, float, float]

    def __post_init__(self) -> None:
        if not self.layers:
            raise ValueError("a design of no layers cannot be judged")
        for number, (box, picture) in enumerate(self.layers):
            if picture.dtype != torch.uint8 or tuple(picture.shape) != (box.height, box.width, 4):
                said = f"{picture.dtype} {list(picture.shape)}"
                raise ValueError(f"layer {number} is {said}; its box {list(box)} asks for RGBA in uint8")
        if self.shown.empty:
            raise ValueError(f"no pixel of the canvas {self.canvas} is inside the visible box {self.visible}")

    @property
    def frame(self) -> Box:
        """The canvas as a box."""
        return Box(0, 0, *self.canvas)

    @property
    def shown(self) -> Box:
        """The visible pixels: those whose centres are inside the visible box."""
        return Box(*(math.ceil(corner - 0.5) for corner in self.visible)).intersect(self.frame)


def composite(stack: Stack, ground: int | None = None) -> Tensor:
    """The picture of the whole canvas, uint8 ``[h, w, 4]``: the layers over one another by straight alpha.

    ``ground``: the gray value 0..255 of an opaque ground under them; None leaves the canvas transparent.
    """
    return torch.from_numpy(flattened(stack.layers, stack.frame, ground))


def flattened(layers: Sequence[Placed], frame: Box, ground: int | None = None) -> Rgba:
    """As ``composite``, of the pixels in ``frame``."""
    placed = [(picture.numpy(force=True), box) for box, picture in layers]
    if ground is not None:
        opaque = np.full((frame.height, frame.width, 4), (ground, ground, ground, 255), np.uint8)
        placed.insert(0, (opaque, frame))
    return compositing.composite(placed, frame)


def cut(placed: Placed, frame: Box) -> Rgba:
    """The pixels of a layer in ``frame``, uint8 ``[h, w, 4]``, zero where the layer has none; hidden colour is kept."""
    box, picture = placed
    out = np.zeros((frame.height, frame.width, 4), np.uint8)
    part = box.intersect(frame)
    if not part.empty:
        out[part.within(frame).slices] = picture[part.within(box).slices].numpy(force=True)
    return out


def exact_box(placed: Placed) -> Box:
    """The smallest box around the pixels with alpha > 0, in px of the canvas; an empty one where there are none."""
    box, picture = placed
    solid = picture[..., 3].numpy(force=True) > 0
    ys, xs = np.flatnonzero(solid.any(1)), np.flatnonzero(solid.any(0))
    if len(ys) == 0:
        return Box(box.x0, box.y0, box.x0, box.y0)
    return Box(int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1).shift(box.x0, box.y0)


def clipped(made: Stack, true: Stack) -> Stack:
    """``made`` with each layer cut to the exact box of the true layer of the same number.

    A layout says where a layer is, not where its pixels are: every method is judged as if it had been told the latter,
    or a method with narrower boxes would win by them.

    Raises:
        ValueError: the designs have not as many layers, or not the same canvas.
    """
    check_pair(made, true)
    boxes = [exact_box(layer) for layer in true.layers]
    layers = [(box, torch.from_numpy(cut(layer, box))) for layer, box in zip(made.layers, boxes, strict=True)]
    return replace(made, layers=layers)


def check_pair(made: Stack, true: Stack) -> None:
    """Refuse designs whose layers cannot be compared by their numbers.

    Raises:
        ValueError: they have not as many layers, or not the same canvas.
    """
    if made.canvas != true.canvas:
        raise ValueError(f"a canvas of {made.canvas} px is not judged by one of {true.canvas} px")
    if len(made.layers) != len(true.layers):
        raise ValueError(f"{len(made.layers)} layers cannot be compared one by one with {len(true.layers)}")
