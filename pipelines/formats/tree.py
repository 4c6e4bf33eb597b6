"""The neutral tree between ``formats`` and ``flatten``: what a layered document says, with nothing of its file format.

Nodes are bottom to top. Boxes are in document pixels, may lie outside the visible box and may be negative. Pixels are
8-bit codes of the document's own space with straight alpha, because that is where it is composed; they are read when
asked for, so that a hidden layer costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.formats.style import PLAIN, AnyEffect, Blending, Paint, PathStroke
from schemas.compositing import Rgba
from schemas.design import LayerKind, Text
from schemas.geometry import Box

Pixels = npt.NDArray[np.uint8]
"""uint8 ``[height, width, channels + 1]``, straight alpha last."""
Colours = npt.NDArray[np.floating[Any]]
"""Colour 0..1, ``[..., channels]``."""
REACH = 3.0
"""In visible sides: what lies farther off casts nothing into the visible box, and need not be read."""


@dataclass(frozen=True)
class Space:
    """The colours a document is composed in: 3 channels (RGB, gray three times, Lab) or 4 (CMYK, each as what is left
    of white). ``convert`` turns uint8 codes ``[h, w, channels]`` into sRGB ``[h, w, 3]``; None where they are sRGB.
    ``linear``: sRGB codes that are composed in linear light, as 32-bit documents are.
    """

    name: str = "sRGB"
    channels: int = 3
    convert: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]] | None = None
    linear: bool = False

    def rgba(self, pixels: Pixels) -> Rgba:
        """Codes with alpha as sRGB with the same alpha."""
        if self.convert is None:
            return pixels
        return np.concatenate([self.convert(np.ascontiguousarray(pixels[..., :-1])), pixels[..., -1:]], axis=2)


SRGB = Space()


@dataclass(frozen=True)
class Mask:
    """A layer or group mask: ``pixels`` uint8 ``[height, width]`` at ``box``, ``outside`` (0..255) everywhere else."""

    box: Box
    pixels: npt.NDArray[np.uint8]
    outside: int = 0


@dataclass(frozen=True)
class Node:
    """What leaves, groups and adjustments share.

    ``opacity`` scales all of it, effects included; ``fill_opacity`` its own paint alone. ``clipped``: painted only
    where the nearest unclipped sibling below is. ``blend_mode`` is a CSS name (``multiply``, ``color-dodge``, ...) or
    the file format's own name where CSS has none. ``style``: the effects that are switched on. ``effects`` names them
    and ``undrawn`` what the reader could not make sense of: the reason given when the recomposition then fails.
    """

    name: str
    visible: bool = True
    opacity: float = 1.0
    blend_mode: str = "normal"
    clipped: bool = False
    mask: Mask | None = None
    effects: tuple[str, ...] = ()
    undrawn: tuple[str, ...] = ()
    fill_opacity: float = 1.0
    style: tuple[AnyEffect, ...] = field(default=(), repr=False)
    blending: Blending = PLAIN


@dataclass(frozen=True)
class Leaf(Node):
    """A layer with paint of its own, without mask, opacity or effects.

    ``pixels()`` gives uint8 ``[box.height, box.width, channels + 1]``. Where there is a ``fill``, that is the paint
    and only the alpha of ``pixels()`` counts: the shape it is painted in. ``endless``: a fill without a shape, whose
    box is the document's for want of another. ``laid``: the box of the whole shape, on which a gradient is laid out,
    where ``box`` is only the part of it that matters. ``stroke``: a shape's pen line, above what is clipped to the
    layer; ``pixels()`` may hold it too.
    """

    kind: LayerKind = LayerKind.IMAGE
    box: Box = Box(0, 0, 0, 0)
    pixels: Callable[[], Pixels] = field(default=lambda: np.zeros((0, 0, 4), np.uint8), repr=False)
    fill: Paint | None = field(default=None, repr=False)
    endless: bool = False
    laid: Box | None = None
    stroke: Callable[[], PathStroke | None] | None = field(default=None, repr=False)
    text: Text | None = None


@dataclass(frozen=True, eq=False)
class PerChannel:
    """A function on colours that changes each channel by its own value alone: a table of 256 codes says it all."""

    function: Callable[[Colours], Colours]

    def __call__(self, colours: Colours) -> Colours:
        return self.function(colours)


@dataclass(frozen=True)
class Adjustment(Node):
    """A layer that changes what lies below it: ``apply`` maps colours 0..1 ``[..., channels]``, each alone;
    a ``PerChannel`` does it faster.

    ``kind`` is its name (``curves``, ``hue-saturation``, ...).
    """

    kind: str = "adjustment"
    apply: Callable[[Colours], Colours] = field(default=lambda colours: colours, repr=False)


@dataclass(frozen=True)
class Group(Node):
    """A group. ``isolated`` ones are composited alone first; in the others children blend with what lies below.

    ``clip``: an artboard's box, beyond which nothing of it shows.
    """

    children: tuple[Node, ...] = ()
    isolated: bool = False
    clip: Box | None = None


@dataclass(frozen=True)
class Document:
    """A layered document of ``width`` x ``height`` visible pixels.

    ``preview`` is what the file itself shows (sRGB, uint8 ``[height, width, 4]``), None where it has none that can be
    trusted; ``render`` then draws the whole document by other means than this tree, where the format has such means.
    ``opaque_on_white``: the preview has no alpha plane and shows the document on white.
    """

    width: int
    height: int
    nodes: tuple[Node, ...]
    preview: Rgba | None = None
    render: Callable[[], Rgba | None] | None = None
    colour_mode: str = "RGB"
    depth: int = 8
    opaque_on_white: bool = False
    space: Space = SRGB

    @property
    def visible(self) -> Box:
        return Box(0, 0, self.width, self.height)

    def walk(self) -> Iterator[tuple[int, Node]]:
        """Every node with its depth, top level first, bottom to top."""

        def descend(nodes: tuple[Node, ...], depth: int) -> Iterator[tuple[int, Node]]:
            for node in nodes:
                yield depth, node
                if isinstance(node, Group):
                    yield from descend(node.children, depth + 1)

        return descend(self.nodes, 0)

    @property
    def leaves(self) -> int:
        return sum(isinstance(node, Leaf) for _, node in self.walk())
