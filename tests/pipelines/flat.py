"""Small documents to lower in tests, and how far their stack is from what they mean."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipelines.flatten import FlattenConfig, Stack, StackLayer, render_tree
from pipelines.formats.tree import Document, Leaf, Node
from schemas.compositing import on_solid
from schemas.design import LayerKind
from schemas.geometry import Box

SIDE = 24
ANY = FlattenConfig(min_layers=1, min_side=1)


def flat_pixels(colour: tuple[int, ...], box: Box) -> np.ndarray:
    """One colour, RGB or with the alpha last: uint8 ``[box.height, box.width, 4]``."""
    pixels = np.empty((box.height, box.width, 4), np.uint8)
    pixels[:] = (*colour, 255)[:4]
    return pixels


def leaf(colour: tuple[int, ...], box: tuple[int, ...] = (0, 0, SIDE, SIDE), **fields: Any) -> Leaf:
    pixels = flat_pixels(colour, Box(*box))
    return Leaf(**{"name": "leaf", **fields}, box=Box(*box), pixels=lambda: pixels)


def document(*nodes: Node, width: int = SIDE, height: int = SIDE, **fields: Any) -> Document:
    return Document(width, height, nodes, **fields)


def painted(colour: tuple[int, ...], box: tuple[int, ...] = (0, 0, SIDE, SIDE), **fields: Any) -> StackLayer:
    """A layer of a stack, of one colour."""
    return StackLayer(flat_pixels(colour, Box(*box)), Box(*box), **{"name": "layer", "kind": LayerKind.IMAGE, **fields})


def shown(stack: Stack) -> np.ndarray:
    return stack.composite[stack.visible.slices]


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference of any channel, in 1/255, on black and on white."""
    return max(float(np.abs(on_solid(ours, ground) - on_solid(theirs, ground)).max()) for ground in (0, 255))


def off(stack: Stack, document: Document) -> float:
    """How far a stack is from the definition of what the document means."""
    return difference(shown(stack), render_tree(document))
