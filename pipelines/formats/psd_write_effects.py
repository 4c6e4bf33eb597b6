"""A layer's style as the object-based effects of a PSD (``lfx2``), with global light resolved."""

from __future__ import annotations

from typing import Any

from psd_tools.psd.descriptor import Descriptor, DescriptorBlock2

from pipelines.errors import UsageError
from pipelines.formats.blending import DESCRIPTOR
from pipelines.formats.psd_write_paint import (
    Items,
    Paints,
    chosen,
    contour,
    degrees,
    described,
    flag,
    listed,
    percent,
    pixels,
)
from pipelines.formats.style import (
    AnyEffect,
    Bevel,
    Glow,
    Gradient,
    Overlay,
    Satin,
    Shadow,
    Solid,
    Stroke,
)

_MULTIPLE = {
    b"DrSh": b"dropShadowMulti",
    b"IrSh": b"innerShadowMulti",
    b"SoFi": b"solidFillMulti",
    b"GrFl": b"gradientFillMulti",
    b"FrFX": b"frameFXMulti",
}
"""Effects a layer may have several of, and the key of their list."""
_PLACES = {"outside": b"OutF", "inside": b"InsF", "center": b"CtrF"}
_BEVELS = {"outer": b"OtrB", "inner": b"InrB", "emboss": b"Embs", "pillow": b"PlEb", "stroke": b"strokeEmboss"}
_TECHNIQUES = {"smooth": b"SfBL", "chisel-hard": b"PrBL", "chisel-soft": b"Slmt"}


def effects_block(style: tuple[AnyEffect, ...], paints: Paints, layer: str) -> DescriptorBlock2:
    """The ``lfx2`` descriptor of a style, whose effects of one kind are bottom to top.

    Raises:
        UsageError: an unknown blend mode, or two of an effect that a layer has once.
    """
    found: dict[bytes, list[Descriptor]] = {}
    try:
        for effect in style:
            made = _effect(effect, paints)
            found.setdefault(made.classID, []).append(made)
    except KeyError as error:
        raise UsageError(f"layer {layer!r}: a PSD has no effects in blend mode {error}") from None
    items: Items = [(b"Scl ", percent(1)), (b"masterFXSwitch", flag(True))]
    for key, several in found.items():
        if len(several) == 1:
            items.append((key, several[0]))
        elif key in _MULTIPLE:
            items.append((_MULTIPLE[key], listed(reversed(several))))  # the file has the topmost first
        else:
            raise UsageError(f"layer {layer!r}: a PSD layer has one {key.decode().strip()} effect, not {len(several)}")
    stored: Any = items
    return DescriptorBlock2(items=stored, name="\0", version=0)  # type: ignore[call-arg]


def _effect(effect: AnyEffect, paints: Paints) -> Descriptor:
    if isinstance(effect, Shadow):
        return _shadow(effect, paints)
    if isinstance(effect, Glow):
        return _glow(effect, paints)
    if isinstance(effect, Overlay):
        return _overlay(effect, paints)
    if isinstance(effect, Satin):
        return _satin(effect, paints)
    return _stroke(effect, paints) if isinstance(effect, Stroke) else _bevel(effect, paints)


def _blend(mode: str) -> Any:
    return chosen(b"BlnM", DESCRIPTOR[mode])


def _on() -> Items:
    return [(b"enab", flag(True)), (b"present", flag(True)), (b"showInDialog", flag(True))]


def _common(effect: Shadow | Glow | Overlay | Satin | Stroke) -> Items:
    return [*_on(), (b"Md  ", _blend(effect.blend_mode)), (b"Opct", percent(effect.opacity))]


def _spread(share: float) -> Any:
    """Spread and choke are percents that the format says in pixels."""
    return pixels(100 * share)


def _shadow(shadow: Shadow, paints: Paints) -> Descriptor:
    items = [
        *_common(shadow),
        (b"Clr ", paints.colour(shadow.colour)),
        (b"uglg", flag(False)),
        (b"lagl", degrees(shadow.angle)),
        (b"Dstn", pixels(shadow.distance)),
        (b"Ckmt", _spread(shadow.spread)),
        (b"blur", pixels(shadow.size)),
        (b"Nose", percent(shadow.noise)),
        (b"AntA", flag(False)),
        (b"TrnS", contour(shadow.contour)),
    ]
    if shadow.inner:
        return described(b"IrSh", items)
    return described(b"DrSh", [*items, (b"layerConceals", flag(shadow.concealed))])


def _glow(glow: Glow, paints: Paints) -> Descriptor:
    ramp = isinstance(glow.paint, Gradient)
    paint = (b"Grad", paints.ramp(glow.paint)) if isinstance(glow.paint, Gradient) else paints.paint(glow.paint)[0]
    items = [
        *_common(glow),
        paint,
        (b"GlwT", chosen(b"BETE", b"PrBL" if glow.precise else b"SfBL")),
        (b"Ckmt", _spread(glow.spread)),
        (b"blur", pixels(glow.size)),
        (b"Nose", percent(glow.noise)),
        (b"ShdN", percent(glow.jitter if ramp else 0)),
        (b"AntA", flag(False)),
        (b"TrnS", contour(glow.contour)),
        (b"Inpr", percent(glow.range)),
    ]
    if not glow.inner:
        return described(b"OrGl", items)
    return described(b"IrGl", [*items, (b"glwS", chosen(b"IGSr", b"SrcC" if glow.from_centre else b"SrcE"))])


def _overlay(overlay: Overlay, paints: Paints) -> Descriptor:
    key = b"SoFi" if isinstance(overlay.paint, Solid) else b"patternFill"
    key = b"GrFl" if isinstance(overlay.paint, Gradient) else key
    return described(key, [*_common(overlay), *paints.paint(overlay.paint)])


def _satin(satin: Satin, paints: Paints) -> Descriptor:
    items = [
        *_common(satin),
        (b"Clr ", paints.colour(satin.colour)),
        (b"AntA", flag(True)),
        (b"Invr", flag(satin.invert)),
        (b"lagl", degrees(satin.angle)),
        (b"Dstn", pixels(satin.distance)),
        (b"blur", pixels(satin.size)),
        (b"MpgS", contour(satin.contour)),
    ]
    return described(b"ChFX", items)


def _stroke(stroke: Stroke, paints: Paints) -> Descriptor:
    paint = b"SClr" if isinstance(stroke.paint, Solid) else b"Ptrn"
    paint = b"GrFl" if isinstance(stroke.paint, Gradient) else paint
    items = [
        *_common(stroke),
        (b"Styl", chosen(b"FStl", _PLACES[stroke.position])),
        (b"PntT", chosen(b"FrFl", paint)),
        (b"Sz  ", pixels(stroke.size)),
        *paints.paint(stroke.paint),
        (b"overprint", flag(stroke.overprint)),
    ]
    return described(b"FrFX", items)


def _light(overlay: Overlay, prefix: bytes, paints: Paints) -> Items:
    return [
        (prefix + b"M", _blend(overlay.blend_mode)),
        *paints.paint(overlay.paint, prefix + b"C"),
        (prefix + b"O", percent(overlay.opacity)),
    ]


def _bevel(bevel: Bevel, paints: Paints) -> Descriptor:
    items = [
        *_on(),
        *_light(bevel.highlight, b"hgl", paints),
        *_light(bevel.shade, b"sdw", paints),
        (b"bvlT", chosen(b"bvlT", _TECHNIQUES[bevel.technique])),
        (b"bvlS", chosen(b"BESl", _BEVELS[bevel.kind])),
        (b"uglg", flag(False)),
        (b"lagl", degrees(bevel.angle)),
        (b"Lald", degrees(bevel.altitude)),
        (b"srgR", percent(bevel.depth)),
        (b"blur", pixels(bevel.size)),
        (b"bvlD", chosen(b"BESs", b"In  " if bevel.up else b"Out ")),
        (b"TrnS", contour(bevel.gloss)),
        (b"antialiasGloss", flag(False)),
        (b"Sftn", pixels(bevel.soften)),
        (b"useShape", flag(bevel.contour is not None)),
    ]
    if bevel.contour is not None:
        items += [
            (b"MpgS", contour(bevel.contour)),
            (b"AntA", flag(False)),
            (b"Inpr", percent(bevel.contour_range)),
        ]
    items.append((b"useTexture", flag(bevel.texture is not None)))
    if (texture := bevel.texture) is not None:
        items += [
            (b"InvT", flag(texture.invert)),
            (b"textureDepth", percent(texture.depth)),
            *paints.pattern(texture.pattern),
        ]
    return described(b"ebbl", items)
