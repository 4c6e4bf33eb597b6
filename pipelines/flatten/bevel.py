"""Bevels and embosses: a relief's light as a highlight and a shade.

The two shading ramps as observed in previews: each reaches from the light on flat ground to full and to none.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pipelines.flatten.drawn import Piece
from pipelines.flatten.levels import to_bytes
from pipelines.flatten.relief import light, margin_of, width_of
from pipelines.flatten.shape import Shape, grown
from pipelines.flatten.stroke import cover_over, widths
from pipelines.formats.style import Bevel, Solid, Stroke
from schemas.geometry import Box

Plane = npt.NDArray[np.float32]


def bevel_pieces(bevel: Bevel, shape: Shape, stroke: Stroke | None) -> tuple[list[Piece], list[Piece]]:
    """(behind, inside): what reaches out of the shape and is hidden by it, and what lies in it.

    ``stroke``: the line that a stroke emboss raises; without one it draws nothing.
    """
    if not width_of(bevel):
        return [], []
    if bevel.kind == "stroke":
        return ([], []) if stroke is None else _on_stroke(bevel, shape, stroke)
    behind: list[Piece] = []
    if bevel.kind != "inner":
        out = shape.seen(margin_of(bevel) - 1)
        behind = [replace(piece, concealed=True) for piece in _pieces(bevel, shape, out, shape, bevel.kind == "pillow")]
    return behind, [] if bevel.kind == "outer" else _pieces(bevel, shape, shape.seen(), shape, False)


def _on_stroke(bevel: Bevel, shape: Shape, stroke: Stroke) -> tuple[list[Piece], list[Piece]]:
    within, beyond = widths(stroke)
    whole = shape.seen(beyond + 1)
    around = grown(shape.box, beyond + 1).intersect(grown(whole, margin_of(bevel)))
    line = Shape(to_bytes(cover_over(stroke, shape, around)), around, shape.document, shape.reach, shape.channels)
    behind = _pieces(bevel, line, whole, shape, False) if beyond > 0 else []
    inside = _pieces(bevel, line, shape.seen(), shape, False) if within > 0 else []
    return [replace(_under(piece, line), concealed=True) for piece in behind], [_under(piece, line) for piece in inside]


def _under(piece: Piece, line: Shape) -> Piece:
    """The piece where the line is."""
    pixels = piece.pixels
    pixels[..., -1] = to_bytes(pixels[..., -1] * np.float32(1 / 255) * (line.over(piece.box) * np.float32(1 / 255)))
    return piece


def _pieces(bevel: Bevel, raised: Shape, out: Box, shape: Shape, sunken: bool) -> list[Piece]:
    """The shade and the highlight of ``raised``, or of what is ``sunken`` by as much, in ``out``."""
    if out.empty:
        return []
    region = grown(out, margin_of(bevel))
    lit = light(bevel, raised.over(region), region, sunken=sunken)[out.within(region).slices]
    flat = math.sin(math.radians(bevel.altitude))
    bright = np.clip((lit - np.float32(flat)) / np.float32(max(1 - flat, 1e-3)), 0, 1)
    dark = np.clip((np.float32(flat) - lit) / np.float32(max(flat, 1e-3)), 0, 1)
    pieces: list[Piece] = []
    for name, overlay, levels in (("bevel-shade", bevel.shade, dark), ("bevel", bevel.highlight, bright)):
        if overlay.opacity > 0 and isinstance(overlay.paint, Solid):
            colour = overlay.paint.colour
            pieces.append(shape.coloured(name, colour, levels, overlay.opacity, out, overlay.blend_mode))
    return pieces
