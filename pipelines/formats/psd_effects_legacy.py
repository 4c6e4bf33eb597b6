"""Effects of Photoshop 5 and 6, which files of those days hold alone (``lrFX``) and later ones repeat.

Blur, distance, depth and angle are 16.16 fixed point, opacities bytes, as files show that hold both. Intensity, 0 in
all of those, raises a shadow's or a glow's level by its percentage.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from psd_tools.constants import ColorSpaceID, EffectOSType

from pipelines.formats.blending import FROM_PSD
from pipelines.formats.psd_descriptors import finite
from pipelines.formats.psd_effects_read import MAX_DISTANCE, MAX_SIZE, Source
from pipelines.formats.psd_swatches import BLACK, of_cmyk, of_gray, of_lab, of_rgb
from pipelines.formats.style import AnyEffect, Bevel, Colour, Curve, Glow, Overlay, Shadow, Solid

_FIXED = 65536.0
_BEVELS: Mapping[int, Literal["outer", "inner", "emboss", "pillow", "stroke"]] = {
    1: "outer",
    2: "inner",
    3: "emboss",
    4: "pillow",
    5: "stroke",
}


def style_of(data: Any, source: Source) -> tuple[tuple[AnyEffect, ...], tuple[str, ...], tuple[str, ...]]:
    """The style, names and problems of an ``EffectsLayer``; nothing where there is none or it is switched off."""
    found = {_key(key): data[key] for key in data} if hasattr(data, "items") else {}
    if not getattr(found.get(EffectOSType.COMMON_STATE.value), "visible", 1):
        found = {}
    style: list[AnyEffect] = []
    names: list[str] = []
    for key, (name, build) in _KINDS.items():
        info = found.get(key)
        if info is not None and getattr(info, "enabled", False):
            names.append(name)
            style.append(build(info, source))
    return tuple(style), tuple(names), tuple(dict.fromkeys(source.problems))


def _key(key: Any) -> bytes:
    value = getattr(key, "value", key)
    return value if isinstance(value, bytes) else b""


def _drop_shadow(info: Any, source: Source) -> Shadow:
    return _shadow(info, source, inner=False)


def _inner_shadow(info: Any, source: Source) -> Shadow:
    return _shadow(info, source, inner=True)


def _shadow(info: Any, source: Source, inner: bool) -> Shadow:
    return Shadow(
        blend_mode=_mode(info.blend_mode),
        opacity=_byte(info.opacity),
        colour=_colour(info, source),
        inner=inner,
        angle=source.light.angle if info.use_global_angle else _fixed(info.angle, -360.0, 360.0),
        distance=_fixed(info.distance, 0.0, MAX_DISTANCE),
        size=_fixed(info.blur, 0.0, MAX_SIZE),
        contour=_raised(info),
    )


def _outer_glow(info: Any, source: Source) -> Glow:
    return _glow(info, source, inner=False)


def _inner_glow(info: Any, source: Source) -> Glow:
    return _glow(info, source, inner=True)


def _glow(info: Any, source: Source, inner: bool) -> Glow:
    return Glow(
        blend_mode=_mode(info.blend_mode),
        opacity=_byte(info.opacity),
        paint=Solid(_colour(info, source)),
        inner=inner,
        size=_fixed(info.blur, 0.0, MAX_SIZE),
        from_centre=inner and getattr(info, "invert", None) == 0,
        contour=_raised(info),
    )


def _fill(info: Any, source: Source) -> Overlay:
    return Overlay(blend_mode=_mode(info.blend_mode), opacity=_byte(info.opacity), paint=Solid(_colour(info, source)))


def _bevel(info: Any, source: Source) -> Bevel:
    """Depth is in px, where later ones say its share of the size; an emboss' blur is half of the later size."""
    style = int(finite(info.bevel_style) or 0)
    kind = _BEVELS.get(style, "inner")
    blur = _fixed(info.blur, 0.0, MAX_SIZE)
    return Bevel(
        highlight=Overlay(
            blend_mode=_mode(info.highlight_blend_mode),
            opacity=_byte(info.highlight_opacity),
            paint=Solid(_of(info.real_highlight_color or info.highlight_color, source)),
        ),
        shade=Overlay(
            blend_mode=_mode(info.shadow_blend_mode),
            opacity=_byte(info.shadow_opacity),
            paint=Solid(_of(info.real_shadow_color or info.shadow_color, source)),
        ),
        kind=kind,
        depth=min(10.0, _fixed(info.depth, 0.0, 10 * MAX_SIZE) / blur) if blur else 1.0,
        up=not info.direction,
        size=min(MAX_SIZE, blur * 2) if kind in ("emboss", "pillow") else blur,
        angle=source.light.angle if info.use_global_angle else _fixed(info.angle, -360.0, 360.0),
        altitude=source.light.altitude,
    )


Build = Callable[[Any, Source], AnyEffect]
_KINDS: Mapping[bytes, tuple[str, Build]] = {
    EffectOSType.DROP_SHADOW.value: ("drop-shadow", _drop_shadow),
    EffectOSType.OUTER_GLOW.value: ("outer-glow", _outer_glow),
    EffectOSType.SOLID_FILL.value: ("color-overlay", _fill),
    EffectOSType.INNER_GLOW.value: ("inner-glow", _inner_glow),
    EffectOSType.INNER_SHADOW.value: ("inner-shadow", _inner_shadow),
    EffectOSType.BEVEL.value: ("bevel-emboss", _bevel),
}
"""In the order in which they are painted."""


def _fixed(value: Any, low: float, high: float) -> float:
    return min(high, max(low, (finite(value) or 0.0) / _FIXED))


def _byte(value: Any) -> float:
    return min(1.0, max(0.0, (finite(value) or 0.0) / 255))


def _mode(value: Any) -> str:
    return FROM_PSD.get(_key(value), "normal")


def _raised(info: Any) -> Curve | None:
    """The curve of a level times 1 + intensity, intensity in per cent."""
    intensity = _fixed(info.intensity, 0.0, 100.0)
    if intensity == 0:
        return None
    return np.minimum(np.arange(256, dtype=np.float32) / 255 * np.float32(1 + intensity / 100), 1)


def _colour(info: Any, source: Source) -> Colour:
    return _of(getattr(info, "native_color", None) or info.color, source)


def _of(colour: Any, source: Source) -> Colour:
    """A colour of 16-bit components: RGB, HSB, CMYK (what is left of white), Lab or gray."""
    values = [finite(value) or 0.0 for value in list(getattr(colour, "values", ()))[:4]]
    values += [0.0] * (4 - len(values))
    space = getattr(colour, "id", None)
    if space == ColorSpaceID.RGB:
        return of_rgb([value / 65535 for value in values[:3]], source.colours)
    if space == ColorSpaceID.CMYK:
        return of_cmyk([value / 65535 for value in values], source.colours)
    if space == ColorSpaceID.LAB:
        return of_lab([value / 100 for value in values[:3]], source.colours)
    if space == ColorSpaceID.GRAYSCALE:
        return of_gray(1 - values[0] / 10000, source.colours)
    source.problems.append("effect colour")
    return of_rgb(BLACK, source.colours)
