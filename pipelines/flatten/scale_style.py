"""Styles scaled with their document: lengths in px and the size and place of patterns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from pipelines.formats.style import (
    AnyEffect,
    Bevel,
    Glow,
    Overlay,
    Paint,
    Pattern,
    Satin,
    Shadow,
    Stroke,
    Texture,
)


def scaled_style(style: Sequence[AnyEffect], sx: float, sy: float) -> tuple[AnyEffect, ...]:
    """Every effect as it looks on a grid ``sx`` by ``sy`` times as fine; lengths take the geometric mean."""
    return tuple(_scaled(effect, sx, sy) for effect in style)


def scaled_paint(paint: Paint, sx: float, sy: float) -> Paint:
    """A pattern scaled and moved; other paints are laid out on boxes and stay."""
    if not isinstance(paint, Pattern):
        return paint
    x, y = paint.origin
    return replace(paint, scale=paint.scale * math.sqrt(sx * sy), origin=(x * sx, y * sy))


def _scaled(effect: AnyEffect, sx: float, sy: float) -> AnyEffect:
    factor = math.sqrt(sx * sy)
    match effect:
        case Shadow() | Satin():
            return replace(effect, distance=effect.distance * factor, size=effect.size * factor)
        case Glow():
            return replace(effect, size=effect.size * factor)
        case Overlay():
            return replace(effect, paint=scaled_paint(effect.paint, sx, sy))
        case Stroke():
            return replace(effect, size=effect.size * factor, paint=scaled_paint(effect.paint, sx, sy))
        case Bevel():
            texture = None if effect.texture is None else _scaled_texture(effect.texture, sx, sy)
            return replace(effect, size=effect.size * factor, soften=effect.soften * factor, texture=texture)


def _scaled_texture(texture: Texture, sx: float, sy: float) -> Texture:
    pattern = scaled_paint(texture.pattern, sx, sy)
    return replace(texture, pattern=pattern) if isinstance(pattern, Pattern) else texture
