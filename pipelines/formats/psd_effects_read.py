"""Effect descriptors as effects, one function a class. Sizes are in px already: a style's ``Scl `` only remembers by
what they were scaled (observed in Photoshop's files).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from psd_tools import PSDImage
from psd_tools.constants import Resource
from psd_tools.psd.descriptor import Descriptor

from pipelines.formats.psd_colours import Colours
from pipelines.formats.psd_contours import contour
from pipelines.formats.psd_descriptors import angle, blend_mode, child, enum, finite, flag, number
from pipelines.formats.psd_gradients import gradient
from pipelines.formats.psd_patterns import pattern
from pipelines.formats.psd_swatches import BLACK, colour_of, of_rgb
from pipelines.formats.style import (
    Bevel,
    Colour,
    Curve,
    Glow,
    Overlay,
    Paint,
    Satin,
    Shadow,
    Solid,
    Stroke,
    Texture,
)

_LIGHT = (Resource.GLOBAL_ANGLE, Resource.GLOBAL_ALTITUDE)
MAX_SIZE = 250.0
MAX_DISTANCE = 30_000.0
_BEVELS: Mapping[bytes, Literal["outer", "inner", "emboss", "pillow", "stroke"]] = {
    b"OtrB": "outer",
    b"InrB": "inner",
    b"Embs": "emboss",
    b"PlEb": "pillow",
    b"strokeEmboss": "stroke",
}
_TECHNIQUES: Mapping[bytes, Literal["smooth", "chisel-hard", "chisel-soft"]] = {
    b"SfBL": "smooth",
    b"PrBL": "chisel-hard",
    b"Slmt": "chisel-soft",
}
_POSITIONS: Mapping[bytes, Literal["inside", "center", "outside"]] = {
    b"InsF": "inside",
    b"CtrF": "center",
    b"OutF": "outside",
}


@dataclass(frozen=True)
class Light:
    """Where the document's global light comes from, in degrees; 30 each where it says nothing."""

    angle: float = 30.0
    altitude: float = 30.0

    @classmethod
    def of(cls, psd: PSDImage) -> Light:
        angle, altitude = (finite(psd.image_resources.get_data(key)) for key in _LIGHT)
        return cls(30.0 if angle is None else angle % 360, 30.0 if altitude is None else min(90.0, max(0.0, altitude)))


@dataclass(frozen=True)
class Source:
    """What reading an effect needs besides its descriptor; ``problems`` collects what cannot be drawn."""

    layer: Any
    colours: Colours
    light: Light
    problems: list[str] = field(default_factory=list)


def drop_shadow(data: Descriptor, source: Source) -> Shadow:
    return _shadow(data, source, inner=False)


def inner_shadow(data: Descriptor, source: Source) -> Shadow:
    return _shadow(data, source, inner=True)


def outer_glow(data: Descriptor, source: Source) -> Glow | None:
    return _glow(data, source, inner=False)


def inner_glow(data: Descriptor, source: Source) -> Glow | None:
    return _glow(data, source, inner=True)


def color_overlay(data: Descriptor, source: Source) -> Overlay:
    return Overlay(blend_mode=_mode(data), opacity=_opacity(data), paint=Solid(_colour(data, b"Clr ", source)))


def gradient_overlay(data: Descriptor, source: Source) -> Overlay | None:
    return _overlay(data, gradient(data, source.colours, source.problems))


def pattern_overlay(data: Descriptor, source: Source) -> Overlay | None:
    return _overlay(data, pattern(data, source.layer, source.colours, source.problems))


def satin(data: Descriptor, source: Source) -> Satin:
    return Satin(
        blend_mode=_mode(data),
        opacity=_opacity(data),
        colour=_colour(data, b"Clr ", source),
        angle=angle(data, b"lagl", 19.0),
        distance=number(data, b"Dstn", 11.0, 0.0, MAX_SIZE),
        size=number(data, b"blur", 14.0, 0.0, MAX_SIZE),
        invert=flag(data, b"Invr", True),
        contour=contour(child(data, b"MpgS")),
    )


def stroke(data: Descriptor, source: Source) -> Stroke | None:
    kind = enum(data, b"PntT")
    paint: Paint | None
    if kind == b"GrFl":
        paint = gradient(data, source.colours, source.problems)
    elif kind == b"Ptrn":
        paint = pattern(data, source.layer, source.colours, source.problems)
    else:
        paint = Solid(_colour(data, b"Clr ", source))
    size = number(data, b"Sz  ", 3.0, 0.0, MAX_SIZE)
    if paint is None or size == 0:
        return None
    return Stroke(
        blend_mode=_mode(data),
        opacity=_opacity(data),
        paint=paint,
        size=size,
        position=_POSITIONS.get(enum(data, b"Styl"), "outside"),
        overprint=flag(data, b"overprint", False),
    )


def bevel(data: Descriptor, source: Source) -> Bevel:
    from_global = flag(data, b"uglg", True)
    shaped = flag(data, b"useShape", False)
    return Bevel(
        highlight=_lit(data, source, (b"hglM", b"hglO", b"hglC"), (1.0, 1.0, 1.0)),
        shade=_lit(data, source, (b"sdwM", b"sdwO", b"sdwC"), BLACK),
        kind=_BEVELS.get(enum(data, b"bvlS"), "inner"),
        technique=_TECHNIQUES.get(enum(data, b"bvlT"), "smooth"),
        depth=number(data, b"srgR", 100.0, 0.0, 1000.0) / 100,
        up=enum(data, b"bvlD") != b"Out ",
        size=number(data, b"blur", 5.0, 0.0, MAX_SIZE),
        soften=number(data, b"Sftn", 0.0, 0.0, MAX_SIZE),
        angle=source.light.angle if from_global else angle(data, b"lagl", 120.0),
        altitude=source.light.altitude if from_global else number(data, b"Lald", 30.0, 0.0, 90.0),
        gloss=contour(child(data, b"TrnS")),
        contour=_shaping(child(data, b"MpgS")) if shaped else None,
        contour_range=number(data, b"Inpr", 50.0, 1.0, 100.0) / 100,
        texture=_texture(data, source) if flag(data, b"useTexture", False) else None,
    )


def _shaping(data: Descriptor | None) -> Curve:
    """A bevel's contour, a straight one too: its range counts."""
    found = contour(data)
    return np.linspace(0, 1, 256, dtype=np.float32) if found is None else found


def _shadow(data: Descriptor, source: Source, inner: bool) -> Shadow:
    return Shadow(
        blend_mode=_mode(data),
        opacity=_opacity(data),
        colour=_colour(data, b"Clr ", source),
        inner=inner,
        angle=source.light.angle if flag(data, b"uglg", True) else angle(data, b"lagl", 120.0),
        distance=number(data, b"Dstn", 0.0, 0.0, MAX_DISTANCE),
        size=number(data, b"blur", 0.0, 0.0, MAX_SIZE),
        spread=_share(data, b"Ckmt", 0.0),
        noise=_share(data, b"Nose", 0.0),
        contour=contour(child(data, b"TrnS")),
        concealed=flag(data, b"layerConceals", True),
    )


def _glow(data: Descriptor, source: Source, inner: bool) -> Glow | None:
    paint = gradient(data, source.colours, source.problems) if child(data, b"Grad") is not None else None
    return Glow(
        blend_mode=_mode(data),
        opacity=_opacity(data),
        paint=paint or Solid(_colour(data, b"Clr ", source)),
        inner=inner,
        size=number(data, b"blur", 5.0, 0.0, MAX_SIZE),
        spread=_share(data, b"Ckmt", 0.0),
        range=number(data, b"Inpr", 100.0, 1.0, 100.0) / 100,
        precise=enum(data, b"GlwT") == b"PrBL",
        from_centre=inner and enum(data, b"glwS") == b"SrcC",
        noise=_share(data, b"Nose", 0.0),
        jitter=_share(data, b"ShdN", 0.0),
        contour=contour(child(data, b"TrnS")),
    )


def _overlay(data: Descriptor, paint: Paint | None) -> Overlay | None:
    return None if paint is None else Overlay(blend_mode=_mode(data), opacity=_opacity(data), paint=paint)


def _lit(data: Descriptor, source: Source, keys: tuple[bytes, bytes, bytes], default: Colour) -> Overlay:
    """One side of a bevel: blend mode, opacity and colour."""
    mode, opacity, colour = keys
    return Overlay(
        blend_mode=blend_mode(data, mode),
        opacity=_share(data, opacity, 75.0),
        paint=Solid(_colour(data, colour, source, default)),
    )


def _texture(data: Descriptor, source: Source) -> Texture | None:
    """A bevel's texture. Photoshop leaves out one whose pattern is missing."""
    found = pattern(data, source.layer, source.colours, source.problems)
    if found is None:
        return None
    depth = number(data, b"textureDepth", 100.0, -1000.0, 1000.0) / 100
    return Texture(pattern=found, depth=depth, invert=flag(data, b"InvT", False))


def _colour(data: Descriptor, key: bytes, source: Source, default: Colour = BLACK) -> Colour:
    found = colour_of(data.get(key), source.colours)
    if found is None:
        source.problems.append("effect without colour")
        return of_rgb(default, source.colours)
    return found


def _mode(data: Descriptor) -> str:
    return blend_mode(data, b"Md  ")


def _opacity(data: Descriptor) -> float:
    return _share(data, b"Opct", 100.0)


def _share(data: Descriptor, key: bytes, default: float) -> float:
    """A percentage as 0..1. Spread is one too, though files call its unit px."""
    return number(data, key, default, 0.0, 100.0) / 100
