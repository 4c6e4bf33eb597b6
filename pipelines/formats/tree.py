"""The neutral tree between ``formats`` and ``flatten``: what a layered document says, with nothing of its file format.

Nodes are bottom to top. Boxes are in document pixels, may lie outside the visible box and may be negative. Colours are
8-bit sRGB, straight alpha. Pixels are read when asked for, so that a hidden layer costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from schemas.compositing import Rgba
from schemas.design import LayerKind, Text
from schemas.geometry import Box


@dataclass(frozen=True)
class Mask:
    """A layer or group mask: ``pixels`` uint8 ``[height, width]`` at ``box``, ``outside`` (0..255) everywhere else."""

    box: Box
    pixels: npt.NDArray[np.uint8]
    outside: int = 0


@dataclass(frozen=True)
class Node:
    """What leaves and groups share.

    ``clipped``: painted only where the nearest unclipped sibling below is. ``blend_mode`` is a CSS name (``multiply``,
    ``color-dodge``, ...) or the file format's own name where CSS has none. ``effects`` names the layer effects present
    and ``undrawn`` what the reader could not turn into pixels (effects, adjustments, blend-if): the reason given when
    the recomposition then fails.
    """

    name: str
    visible: bool = True
    opacity: float = 1.0
    blend_mode: str = "normal"
    clipped: bool = False
    mask: Mask | None = None
    effects: tuple[str, ...] = ()
    undrawn: tuple[str, ...] = ()


@dataclass(frozen=True)
class Leaf(Node):
    """A layer with pixels: ``pixels()`` gives uint8 ``[box.height, box.width, 4]`` without mask, opacity or effects."""

    kind: LayerKind = LayerKind.IMAGE
    box: Box = Box(0, 0, 0, 0)
    pixels: Callable[[], Rgba] = field(default=lambda: np.zeros((0, 0, 4), np.uint8), repr=False)
    text: Text | None = None


@dataclass(frozen=True)
class Group(Node):
    """A group. ``isolated`` ones are composited alone first; in the others children blend with what lies below."""

    children: tuple[Node, ...] = ()
    isolated: bool = False


@dataclass(frozen=True)
class Document:
    """A layered document of ``width`` x ``height`` visible pixels.

    ``preview`` is what the file itself shows (uint8 ``[height, width, 4]``), None where it has none that can be
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
