"""Drawing a layer's style: every effect as pictures behind and inside the layer's shape.

Order as in layered editors, bottom up: drop shadow, outer glow, pattern, gradient and colour overlay, satin, inner
glow, inner shadow, stroke, bevel. What reaches out of the shape lies behind it and is hidden by it, so that an
antialiased edge shows no seam.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipelines.flatten.bevel import bevel_pieces
from pipelines.flatten.drawn import Drawn, Piece
from pipelines.flatten.levels import to_bytes
from pipelines.flatten.paint import paint_pixels
from pipelines.flatten.planes import alpha_bounds
from pipelines.flatten.shadow import glow_piece, satin_piece, shadow_piece
from pipelines.flatten.shape import Shape
from pipelines.flatten.stroke import stroke_pieces
from pipelines.formats.style import AnyEffect, Bevel, Glow, Gradient, Overlay, Pattern, Satin, Shadow, Stroke
from schemas.geometry import Box

__all__ = ["draw_style", "paint_pixels"]


def draw_style(
    style: Sequence[AnyEffect],
    alpha: npt.NDArray[np.uint8],
    box: Box,
    *,
    document: Box,
    reach: Box,
    channels: int,
) -> Drawn:
    """What ``style`` draws around and in a shape, ``alpha`` uint8 ``[box.height, box.width]``: the layer's own alpha
    times its masks, without fill and opacity.

    Effects grow beyond ``box``; nothing beyond ``reach`` is computed. ``document``: the visible box. A style draws
    nothing on an empty shape.
    """
    bounds = alpha_bounds(alpha)
    if bounds.empty:
        return Drawn()
    shape = Shape(alpha[bounds.slices], bounds.shift(box.x0, box.y0), document, reach, channels)
    behind: list[Piece] = []
    inside: list[Piece] = []
    strokes = [effect for effect in style if isinstance(effect, Stroke)]
    for effect in sorted((effect for effect in style if _shows(effect)), key=_level):
        below, over = _drawn(effect, shape, strokes)
        behind += below
        inside += over
    return Drawn(tuple(behind), tuple(inside))


def _shows(effect: AnyEffect) -> bool:
    if isinstance(effect, Bevel):
        return effect.highlight.opacity > 0 or effect.shade.opacity > 0
    knocks_out = isinstance(effect, Stroke) and not effect.overprint  # even where nothing of it shows
    return effect.opacity > 0 or knocks_out


def _level(effect: AnyEffect) -> int:
    """Where in the order, bottom up; effects of one kind stay in the style's order."""
    match effect:
        case Shadow():
            return 7 if effect.inner else 0
        case Glow():
            return 6 if effect.inner else 1
        case Overlay():
            return 2 if isinstance(effect.paint, Pattern) else 3 if isinstance(effect.paint, Gradient) else 4
        case Satin():
            return 5
        case Stroke():
            return 8
        case Bevel():
            return 9


def _drawn(effect: AnyEffect, shape: Shape, strokes: Sequence[Stroke]) -> tuple[list[Piece], list[Piece]]:
    """The pieces (behind, inside) of one effect."""
    match effect:
        case Shadow():
            return _sided(shadow_piece(effect, shape), effect.inner)
        case Glow():
            return _sided(glow_piece(effect, shape), effect.inner)
        case Overlay():
            return _sided(_overlay(effect, shape), True)
        case Satin():
            return _sided(satin_piece(effect, shape), True)
        case Stroke():
            return stroke_pieces(effect, shape)
        case Bevel():
            return bevel_pieces(effect, shape, strokes[-1] if strokes else None)


def _sided(piece: Piece | None, inner: bool) -> tuple[list[Piece], list[Piece]]:
    pieces = [] if piece is None else [piece]
    return ([], pieces) if inner else (pieces, [])


def _overlay(overlay: Overlay, shape: Shape) -> Piece | None:
    out = shape.seen()
    if out.empty:
        return None
    pixels = paint_pixels(overlay.paint, out, shape.box, shape.document, shape.channels, shape.over(out))
    if overlay.opacity < 1:
        pixels = pixels.copy()
        pixels[..., -1] = to_bytes(pixels[..., -1] * np.float32(1 / 255), overlay.opacity)
    names = {Pattern: "pattern-overlay", Gradient: "gradient-overlay"}
    return Piece(names.get(type(overlay.paint), "color-overlay"), pixels, out, overlay.blend_mode)
