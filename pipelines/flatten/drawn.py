"""What a layer's style draws around and inside its shape: the contract between the effects and the lowering."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.formats.style import AnyEffect
from pipelines.formats.tree import Pixels
from schemas.geometry import Box


@dataclass(frozen=True, eq=False)
class Piece:
    """One picture that an effect paints: ``pixels`` uint8 ``[box.height, box.width, channels + 1]`` in the document's
    space; its alpha holds coverage and the effect's own opacity, not the layer's.

    ``concealed``: it shows only where the layer's shape is not, whatever the layer's fill. ``cuts`` uint8
    ``[box.height, box.width]``: how much of what the layer has painted so far this piece takes away before it is
    painted (a stroke that does not overprint).
    """

    name: str
    pixels: Pixels
    box: Box
    blend_mode: str = "normal"
    concealed: bool = False
    cuts: npt.NDArray[np.uint8] | None = None


@dataclass(frozen=True, eq=False)
class Drawn:
    """The pieces of a style, each tuple bottom to top.

    ``behind``: under the layer. ``inside``: over the layer's own paint; whoever paints them confines them to the
    shape, so their alpha is not multiplied by it. ``above``: over all of it and not confined.
    """

    behind: tuple[Piece, ...] = ()
    inside: tuple[Piece, ...] = ()
    above: tuple[Piece, ...] = ()


def cast_by(style: Sequence[AnyEffect]) -> int:
    """How far a style may paint out of its layer's shape, in px."""
    lengths = ("size", "distance", "soften")
    return max((math.ceil(sum(getattr(effect, name, 0.0) for name in lengths)) + 2 for effect in style), default=0)


_INTERIOR = ("color-overlay", "gradient-overlay", "pattern-overlay", "satin", "inner-glow")


def interior(pieces: Sequence[Piece]) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
    """The inner pieces that "blend interior effects as group" makes part of the layer's paint, and the others."""
    count = sum(piece.name in _INTERIOR for piece in pieces)
    return tuple(pieces[:count]), tuple(pieces[count:])
