"""Styles of PSD layers: what effect descriptors, gradients, contours, patterns and blending options say."""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from psd_tools import PSDImage
from psd_tools.constants import BlendMode, ColorMode, ColorSpaceID, EffectOSType, Resource, Tag
from psd_tools.psd.color import Color
from psd_tools.psd.descriptor import Descriptor, List
from psd_tools.psd.effects_layer import (
    BevelInfo,
    CommonStateInfo,
    EffectsLayer,
    InnerGlowInfo,
    OuterGlowInfo,
    ShadowInfo,
)
from psd_tools.psd.image_resources import ImageResource
from psd_tools.psd.tagged_blocks import ChannelBlendingRestrictionsSetting, ReferencePoint

from pipelines.formats.psd_blending import blending_of
from pipelines.formats.psd_colours import Colours
from pipelines.formats.psd_contours import contour
from pipelines.formats.psd_descriptors import blend_mode, number
from pipelines.formats.psd_effects import Light, style_of
from pipelines.formats.psd_gradients import STEPS, gradient, ramp
from pipelines.formats.psd_paints import paint_of_descriptor, paint_of_fill
from pipelines.formats.psd_patterns import pattern
from pipelines.formats.psd_swatches import colour_of
from pipelines.formats.style import PLAIN, Bevel, Glow, Gradient, Overlay, Pattern, Range, Satin, Shadow, Solid, Stroke
from tests.pipelines import psd_styles as make

RED, BLUE = make.rgb(255, 0, 0), make.rgb(0, 0, 255)
NAMES = {
    "drop-shadow",
    "inner-shadow",
    "outer-glow",
    "inner-glow",
    "color-overlay",
    "gradient-overlay",
    "pattern-overlay",
    "stroke",
    "bevel-emboss",
    "satin",
}


def at(levels: Any, place: int) -> list[float]:
    return [round(float(value), 4) for value in levels[place]]


def test_a_drop_shadow_is_read_whole() -> None:
    shadow = make.effect(
        b"DrSh",
        Md=make.mode(b"Mltp"),
        Clr=RED,
        Opct=make.unit(40, b"#Prc"),
        uglg=make.flag(False),
        lagl=make.unit(-30, b"#Ang"),
        Dstn=make.unit(12),
        Ckmt=make.unit(25),
        blur=make.unit(9),
        Nose=make.unit(10, b"#Prc"),
        TrnS=make.curve((0, 0, False), (255, 128, False)),
        layerConceals=make.flag(False),
    )
    style, names, problems = make.styled(DrSh=shadow)
    (found,) = style
    assert isinstance(found, Shadow) and names == ("drop-shadow",) and not problems
    assert (found.blend_mode, found.opacity, found.colour) == ("multiply", 0.4, (1.0, 0.0, 0.0))
    assert (found.angle, found.distance, found.size, found.spread, found.noise) == (-30, 12, 9, 0.25, 0.1)
    assert not found.inner and not found.concealed
    assert found.contour is not None and found.contour[255] == pytest.approx(128 / 255)


def test_global_light_replaces_the_local_angle() -> None:
    local = make.unit(5, b"#Ang")
    style, _, _ = make.styled(
        IrSh=make.effect(b"IrSh", Clr=RED, uglg=make.flag(True), lagl=local),
        ebbl=make.effect(b"ebbl", hglC=RED, sdwC=BLUE, uglg=make.flag(True), lagl=local, Lald=local),
    )
    inner, bevel = style
    assert isinstance(inner, Shadow) and inner.inner and inner.angle == 120
    assert isinstance(bevel, Bevel) and (bevel.angle, bevel.altitude) == (120, 40)


def test_light_comes_from_the_document_and_is_30_degrees_without() -> None:
    psd = make.document()
    assert Light.of(psd) == Light(30, 30)
    for key, value in ((Resource.GLOBAL_ANGLE, -90), (Resource.GLOBAL_ALTITUDE, 700)):
        stored: Any = make.whole(value)
        psd.image_resources[key] = ImageResource(key=key, data=stored)
    assert Light.of(psd) == Light(270, 90)


def test_glows_overlays_satin_stroke_and_bevel_are_read_whole() -> None:
    style, names, problems = make.styled(
        OrGl=make.effect(
            b"OrGl",
            Clr=RED,
            GlwT=make.chosen(b"BETE", b"PrBL"),
            Inpr=make.unit(80),
            ShdN=make.unit(5),
            blur=make.unit(7),
        ),
        IrGl=make.effect(b"IrGl", Grad=make.stops((0, RED), (4096, BLUE)), glwS=make.chosen(b"IGSr", b"SrcC")),
        SoFi=make.effect(b"SoFi", Clr=BLUE, Md=make.mode(b"linearDodge")),
        GrFl=make.effect(b"GrFl", Grad=make.stops((0, RED), (4096, BLUE)), Type=make.chosen(b"GrdT", b"Dmnd")),
        ChFX=make.effect(b"ChFX", Clr=RED, lagl=make.unit(19), Dstn=make.unit(11), Invr=make.flag(False)),
        FrFX=make.effect(
            b"FrFX", Clr=RED, Sz=make.unit(3), Styl=make.chosen(b"FStl", b"CtrF"), overprint=make.flag(True)
        ),
        ebbl=make.effect(
            b"ebbl",
            hglC=RED,
            hglM=make.mode(b"Scrn"),
            hglO=make.unit(60),
            sdwC=BLUE,
            sdwM=make.mode(b"Mltp"),
            bvlS=make.chosen(b"BESl", b"PlEb"),
            bvlT=make.chosen(b"bvlT", b"Slmt"),
            bvlD=make.chosen(b"BESs", b"Out "),
            srgR=make.unit(250, b"#Prc"),
            blur=make.unit(6),
            Sftn=make.unit(2),
            useShape=make.flag(True),
            MpgS=make.curve((0, 255, False), (255, 0, False)),
            Inpr=make.unit(30),
        ),
    )
    outer, over, flat, satin, inner, stroke, bevel = style
    assert isinstance(outer, Glow) and outer.precise and (outer.range, outer.jitter, outer.size) == (0.8, 0.05, 7)
    assert isinstance(over, Overlay) and isinstance(over.paint, Gradient) and over.paint.kind == "diamond"
    assert isinstance(flat, Overlay) and flat.blend_mode == "linear-dodge" and flat.paint == Solid((0.0, 0.0, 1.0))
    assert isinstance(satin, Satin) and not satin.invert and satin.distance == 11
    assert isinstance(inner, Glow) and inner.inner and inner.from_centre and isinstance(inner.paint, Gradient)
    assert isinstance(stroke, Stroke) and (stroke.size, stroke.position, stroke.overprint) == (3, "center", True)
    assert isinstance(bevel, Bevel) and (bevel.kind, bevel.technique, bevel.up) == ("pillow", "chisel-soft", False)
    assert (bevel.depth, bevel.size, bevel.soften, bevel.contour_range) == (2.5, 6, 2, 0.3)
    assert (bevel.highlight.blend_mode, bevel.highlight.opacity, bevel.shade.blend_mode) == ("screen", 0.6, "multiply")
    assert bevel.contour is not None and bevel.contour[0] == 1 and bevel.gloss is None
    assert set(names) == NAMES - {"drop-shadow", "inner-shadow", "pattern-overlay"} and not problems


def test_what_is_off_is_not_there_and_what_lacks_the_key_present_is() -> None:
    off, on = make.flag(False), make.flag(True)
    legacy = make.made(b"SoFi", enab=on, Clr=RED)
    assert make.styled(SoFi=legacy)[1] == ("color-overlay",)
    assert make.styled(SoFi=make.made(b"SoFi", enab=on, present=off, Clr=RED)) == ((), (), ())
    assert make.styled(SoFi=make.made(b"SoFi", enab=off, present=on, Clr=RED)) == ((), (), ())
    psd = make.document()
    target = make.layer(psd)
    make.put(target, Tag.OBJECT_BASED_EFFECTS_LAYER_INFO, make.block(masterFXSwitch=off, SoFi=legacy))
    assert style_of(target, Colours.of(psd), make.LIGHT) == ((), (), ())


def test_of_several_effects_alike_the_first_of_the_list_is_painted_last() -> None:
    strokes = [make.effect(b"FrFX", Clr=RED, Sz=make.unit(size)) for size in (1, 2, 3)]
    style, names, _ = make.styled(frameFXMulti=make.listed(*strokes), FrFX=strokes[0])
    assert [effect.size for effect in style if isinstance(effect, Stroke)] == [3, 2, 1]
    assert names == ("stroke",)


def test_the_block_with_every_instance_goes_before_the_one_for_older_programs() -> None:
    psd = make.document()
    target = make.layer(psd)
    one = make.effect(b"SoFi", Clr=RED)
    make.put(target, Tag.OBJECT_BASED_EFFECTS_LAYER_INFO, make.block(SoFi=one))
    several = make.listed(make.effect(b"SoFi", Clr=BLUE), one)
    make.put(target, Tag.OBJECT_BASED_EFFECTS_LAYER_INFO_V0, make.block(solidFillMulti=several))
    assert len(style_of(target, Colours.of(psd), make.LIGHT)[0]) == 2


def test_an_unknown_effect_is_named() -> None:
    style, names, problems = make.styled(newFX=make.effect(b"newFX", Clr=RED))
    assert (style, names, problems) == ((), ("newFX",), ("effect newFX",))


def test_effects_of_old_programs_are_read_where_there_is_nothing_newer() -> None:
    psd = make.document()
    target = make.layer(psd)
    red = Color(ColorSpaceID.RGB, [65535, 0, 0, 0])
    shadow = ShadowInfo(0, 5 << 16, 50 << 16, 30 << 16, 7 << 16, red, BlendMode.MULTIPLY, 1, 0, 51, red)
    glow = OuterGlowInfo(2, 4 << 16, 0, red, BlendMode.SCREEN, 0, 255, red)
    within = InnerGlowInfo(2, 4 << 16, 0, red, BlendMode.SCREEN, 1, 255, 0, red)
    bevel = BevelInfo(
        2, 30 << 16, 6 << 16, 3 << 16, BlendMode.SCREEN, BlendMode.MULTIPLY, red, red, 3, 255, 128, 1, 1, 1, red, red
    )
    items = {
        EffectOSType.COMMON_STATE: CommonStateInfo(0, 1),
        EffectOSType.DROP_SHADOW: shadow,
        EffectOSType.OUTER_GLOW: glow,
        EffectOSType.INNER_GLOW: within,
        EffectOSType.BEVEL: bevel,
    }
    stored: Any = list(items.items())
    make.put(target, Tag.EFFECTS_LAYER, EffectsLayer(items=stored))  # type: ignore[call-arg]
    style, names, problems = style_of(target, Colours.of(psd), make.LIGHT)
    assert names == ("drop-shadow", "inner-glow", "bevel-emboss") and not problems
    found, inner, raised = style
    assert isinstance(inner, Glow) and inner.inner and inner.from_centre and inner.size == 4
    assert isinstance(found, Shadow) and (found.size, found.distance, found.angle) == (5, 7, 30)
    assert found.opacity == 0.2 and found.colour == (1, 0, 0) and found.blend_mode == "multiply"
    assert found.contour is not None and found.contour[100] == pytest.approx(150 / 255)
    assert isinstance(raised, Bevel) and raised.kind == "emboss" and not raised.up and raised.angle == 120
    assert (raised.depth, raised.size) == (2, 6)
    make.put(target, Tag.OBJECT_BASED_EFFECTS_LAYER_INFO, make.block(masterFXSwitch=make.flag(True)))
    assert style_of(target, Colours.of(psd), make.LIGHT) == ((), (), ())


@pytest.mark.parametrize(
    ("colour", "expected"),
    [
        (make.rgb(255, 51, 0), (1, 0.2, 0)),
        (
            make.made(b"RGBC", redFloat=make.number(1), greenFloat=make.number(0.2), blueFloat=make.number(0)),
            (1, 0.2, 0),
        ),
        (make.made(b"Grsc", Gry=make.number(75)), (0.25, 0.25, 0.25)),
        (make.made(b"HSBC", H=make.unit(120), Strt=make.number(100), Brgh=make.number(50)), (0, 0.5, 0)),
        (
            make.made(b"CMYC", Cyn=make.number(100), Mgnt=make.number(0), Ylw=make.number(0), Blck=make.number(50)),
            (0, 0.5, 0.5),
        ),
        (make.made(b"LbCl", Lmnc=make.number(100), A=make.number(0), B=make.number(0)), (1, 1, 1)),
        (make.made(b"LbCl", Lmnc=make.number(54.29), A=make.number(80.81), B=make.number(69.89)), (1, 0, 0)),
    ],
)
def test_colours_of_every_kind_are_in_the_documents_channels(colour: Any, expected: Any) -> None:
    assert colour_of(colour, make.colours()) == pytest.approx(expected, abs=0.02)


def test_cmyk_documents_say_what_is_left_of_white() -> None:
    ink = make.made(b"CMYC", Cyn=make.number(100), Mgnt=make.number(0), Ylw=make.number(0), Blck=make.number(25))
    assert colour_of(ink, make.colours("CMYK")) == pytest.approx((0, 1, 1, 0.75))
    assert colour_of(make.made(b"Grsc", Gry=make.number(25)), make.colours("L")) == (0.75, 0.75, 0.75)
    assert colour_of(make.made(b"BkCl"), make.colours()) is None


def test_a_ramp_runs_straight_between_stops_and_stays_at_its_ends() -> None:
    problems: list[str] = []
    levels = ramp(make.stops((1024, RED), (3072, BLUE), clear=[(0, 100), (4096, 0)]), make.colours(), problems)
    assert levels.shape == (STEPS, 4) and levels.dtype == np.float32 and not problems
    assert at(levels, 0) == [1, 0, 0, 1] and at(levels, 2048) == [0.5, 0, 0.5, 0.5] and at(levels, 4096) == [0, 0, 1, 0]


def test_the_midpoint_of_the_later_stop_bends_the_ramp() -> None:
    levels = ramp(make.stops((0, RED), (4096, BLUE), mid=25), make.colours(), [])
    assert at(levels, 1024) == [0.5, 0, 0.5, 1] and at(levels, 2560) == [0.25, 0, 0.75, 1]


def test_smoothness_eases_the_ramp() -> None:
    """As in Photoshop's own pixels: t / 2 + 3 t^2 / 2 - t^3 between two stops."""
    full = ramp(make.stops((0, RED), (4096, BLUE), smooth=4096), make.colours(), [])
    half = ramp(make.stops((0, RED), (4096, BLUE), smooth=2048), make.colours(), [])
    assert full[1024, 2] == pytest.approx(0.203125, abs=1e-5)
    assert half[1024, 2] == pytest.approx((0.203125 + 0.25) / 2, abs=1e-5)
    assert full[2048, 2] == pytest.approx(0.5)


def test_a_smooth_ramp_never_goes_beyond_two_neighbouring_stops() -> None:
    """Photoshop's own pixels stay at the higher stop where the spline would overshoot it."""
    grays = [(0, 40), (1024, 220), (2048, 210), (4096, 30)]
    levels = ramp(make.stops(*[(at, make.rgb(v, v, v)) for at, v in grays], smooth=4096), make.colours(), [])[:, 0]
    assert levels.max() == pytest.approx(220 / 255) and levels[1100] == pytest.approx(220 / 255)
    assert levels[1024:2049].min() == pytest.approx(210 / 255)


def test_documents_of_32_bit_blend_stops_in_linear_light() -> None:
    deep = replace(make.colours(), depth=32)
    black_white = make.stops((0, make.rgb(0, 0, 0)), (4096, make.rgb(255, 255, 255)))
    assert ramp(black_white, deep, [])[2048, 0] == pytest.approx(0.7354, abs=1e-3)
    assert colour_of(make.rgb(127.5, 0, 255), deep) == pytest.approx((0.7354, 0, 1), abs=1e-3)


def test_a_method_that_is_not_known_is_a_problem() -> None:
    stops = make.stops((0, RED), (4096, BLUE))
    for method, expected in ((b"Gcls", []), (b"Perc", []), (b"Strp", ["gradient method"])):
        problems: list[str] = []
        laid = make.made(b"GrFl", Grad=stops, gs99=make.chosen(b"gradientInterpolationMethodType", method))
        assert gradient(laid, make.colours(), problems) is not None and problems == expected


def test_two_stops_at_one_place_are_a_hard_step() -> None:
    levels = ramp(make.stops((0, RED), (2048, RED), (2048, BLUE), (4096, BLUE), smooth=4096), make.colours(), [])
    assert at(levels, 2047)[:3] == [1, 0, 0] and at(levels, 2048)[:3] == [0, 0, 1]


def test_perceptual_and_linear_gradients_do_not_run_in_codes() -> None:
    black_white = make.stops((0, make.rgb(0, 0, 0)), (4096, make.rgb(255, 255, 255)), smooth=4096)
    levels = {key: float(ramp(black_white, make.colours(), [], key)[2048, 0]) for key in (b"Perc", b"Lnr ", b"Gcls")}
    assert levels[b"Gcls"] == pytest.approx(0.5) and levels[b"Lnr "] == pytest.approx(0.7354, abs=1e-3)
    assert levels[b"Perc"] == pytest.approx(0.3885, abs=1e-3)  # half of Oklab's lightness: 1/8 of the light


def test_how_a_gradient_is_laid_out() -> None:
    placed = make.made(
        b"GrFl",
        Grad=make.stops((0, RED), (4096, BLUE)),
        Type=make.chosen(b"GrdT", b"Rdl "),
        Angl=make.unit(45, b"#Ang"),
        Scl=make.unit(150, b"#Prc"),
        Rvrs=make.flag(True),
        Algn=make.flag(False),
        Ofst=make.made(b"Pnt ", Hrzn=make.unit(10, b"#Prc"), Vrtc=make.unit(-20, b"#Prc")),
    )
    found = gradient(placed, make.colours(), [])
    assert found is not None and (found.kind, found.angle, found.scale) == ("radial", 45, 1.5)
    assert found.offset == (0.1, -0.2) and not found.aligned and at(found.ramp, 0)[:3] == [0, 0, 1]


def test_noise_gradients_stay_in_their_bounds_and_are_the_same_each_time() -> None:
    def noisy(low: int, high: int) -> Descriptor:
        bounds = [make.listed(*[make.whole(value)] * 4) for value in (low, high)]
        return make.made(
            b"Grdn", GrdF=make.chosen(b"GrdF", b"ClNs"), RndS=make.whole(-7), Smth=make.whole(2048), Mnm=bounds[0],
            Mxm=bounds[1], ClrS=make.chosen(b"ClrS", b"RGBC"), ShTr=make.flag(False),
        )  # fmt: skip

    problems: list[str] = []
    levels = ramp(noisy(20, 60), make.colours(), problems)
    assert problems == ["noise gradient"]
    assert 0.2 <= levels[:, :3].min() < levels[:, :3].max() <= 0.6 and (levels[:, 3] == 1).all()
    assert np.array_equal(levels, ramp(noisy(20, 60), make.colours(), []))
    flat: list[str] = []
    assert np.allclose(ramp(noisy(40, 40), make.colours(), flat)[:, :3], 0.4) and not flat


def test_contours() -> None:
    assert contour(make.curve((0, 0, False), (255, 255, False))) is None
    assert contour(make.curve((0, 0, True), (100, 100, True), (255, 255, True))) is None
    assert contour(None) is None and contour(make.made(b"ShpC")) is None
    cone = contour(make.curve((0, 0, False), (127, 255, False), (255, 0, False)))
    assert cone is not None and cone.shape == (256,) and cone.dtype == np.float32
    assert cone[[0, 127, 255]].tolist() == [0, 1, 0] and cone[64] == pytest.approx(64 / 127)
    round_ = contour(make.curve((0, 0, True), (128, 200, True), (255, 255, True)))
    assert round_ is not None and round_[128] == pytest.approx(200 / 255) and (np.diff(round_) > 0).all()
    assert round_[64] > (200 / 255) / 2  # bulges over the straight line
    flat = contour(make.curve((64, 32, True), (192, 224, True)))
    assert flat is not None and flat[0] == pytest.approx(32 / 255) and flat[255] == pytest.approx(224 / 255)


def pattern_of(mode: str, *planes: Any, kind: ColorMode = ColorMode.RGB, alpha: Any = None, **items: Any) -> Any:
    psd = make.document(mode)
    target = make.layer(psd)
    point: Any = [3.0, -2.0]
    make.put(target, Tag.REFERENCE_POINT, ReferencePoint(point))  # type: ignore[call-arg]
    make.carry(psd, make.tile("other", [make.CHECKER]), make.tile("key", planes, kind, alpha))
    problems: list[str] = []
    data = make.made(b"patternFill", Ptrn=make.named("key"), **items)
    return pattern(data, target, Colours.of(psd), problems), problems


def test_patterns_are_tiles_in_the_documents_channels() -> None:
    checker, other = make.CHECKER, 255 - make.CHECKER
    phase = make.made(b"Pnt ", Hrzn=make.number(4), Vrtc=make.number(5))
    found, problems = pattern_of("RGB", checker, other, checker, phase=phase, Scl=make.unit(50), alpha=other)
    assert isinstance(found, Pattern) and not problems and (found.origin, found.scale) == ((7, 3), 0.5)
    assert found.tile.shape == (2, 2, 4) and found.tile[0, 0].tolist() == [0, 255, 0, 255]
    assert found.tile[0, 1].tolist() == [255, 0, 255, 0]
    loose, _ = pattern_of("RGB", checker, other, checker, Algn=make.flag(False))
    assert loose.origin == (0, 0) and loose.tile[0, 0, 3] == 255


def test_patterns_of_other_modes() -> None:
    checker = make.CHECKER
    gray, _ = pattern_of("RGB", checker, kind=ColorMode.GRAYSCALE)
    assert gray.tile[0].tolist() == [[0, 0, 0, 255], [255, 255, 255, 255]]
    deep, _ = pattern_of("RGB", checker.astype(np.uint16) * 257, kind=ColorMode.GRAYSCALE)
    assert np.array_equal(deep.tile, gray.tile)
    indexed, _ = pattern_of("RGB", checker, kind=ColorMode.INDEXED)
    assert indexed.tile[0].tolist() == [[0, 255, 7, 255], [255, 0, 7, 255]]
    left = [checker, checker * 0 + 255, checker * 0 + 255, checker * 0 + 255]
    ink, _ = pattern_of("CMYK", *left, kind=ColorMode.CMYK)
    assert ink.tile[0, 0].tolist() == [0, 255, 255, 255, 255]
    mixed, _ = pattern_of("RGB", *left, kind=ColorMode.CMYK)
    assert mixed.tile[0, 0].tolist() == [0, 255, 255, 255]
    in_gray, _ = pattern_of("L", checker, checker, checker)
    assert in_gray.tile[0].tolist() == gray.tile[0].tolist()


def test_a_missing_or_broken_pattern_is_a_problem() -> None:
    psd = make.document()
    problems: list[str] = []
    data = make.made(b"patternFill", Ptrn=make.named("key"))
    assert pattern(data, make.layer(psd), Colours.of(psd), problems) is None and problems == ["pattern missing"]
    broken = [make.tile("key", [make.CHECKER] * 3) for _ in range(4)]
    broken[0].data.rectangle = (0, 0, 2**31 - 1, 2**31 - 1)
    broken[1].data.channels[0].rectangle = (0, 0, 4, 2)
    broken[2].data.channels[0].data = b"\0"
    broken[3].data.channels = broken[3].data.channels[:1]
    for one in broken:
        psd = make.document()
        make.carry(psd, one)
        problems = []
        assert pattern(data, make.layer(psd), Colours.of(psd), problems) is None
        assert problems == ["pattern unreadable"]


def test_layers_share_the_tile_of_a_pattern() -> None:
    psd = make.document()
    make.carry(psd, make.tile("key", [make.CHECKER] * 3))
    data = make.made(b"patternFill", Ptrn=make.named("key"))
    first, second = (pattern(data, make.layer(psd), Colours.of(psd), []) for _ in range(2))
    assert first is not None and second is not None and first.tile is second.tile


def test_paints_of_fills() -> None:
    psd = make.document()
    target = make.layer(psd)
    colours = Colours.of(psd)
    assert paint_of_fill(target, colours) == (None, [])
    make.put(target, Tag.SOLID_COLOR_SHEET_SETTING, make.block(Clr=RED))
    assert paint_of_fill(target, colours) == (Solid((1.0, 0.0, 0.0)), [])
    laid, problems = paint_of_descriptor(make.block(Grad=make.stops((0, RED), (4096, BLUE))), target, colours)
    assert isinstance(laid, Gradient) and not problems
    assert paint_of_descriptor(make.block(Ptrn=make.named("k")), target, colours) == (None, ["pattern missing"])
    assert paint_of_descriptor(None, target, colours) == (None, ["fill without paint"])


def test_blending_options() -> None:
    psd = make.document()
    target = make.layer(psd)
    colours = Colours.of(psd)
    assert blending_of(target, colours) == (PLAIN, [])
    blocks = target.tagged_blocks
    blocks.set_data(Tag.KNOCKOUT_SETTING, 2)
    blocks.set_data(Tag.BLEND_CLIPPING_ELEMENTS, 0)
    blocks.set_data(Tag.BLEND_INTERIOR_ELEMENTS, 1)
    blocks.set_data(Tag.TRANSPARENCY_SHAPES_LAYER, 0)
    withheld: Any = [1]
    make.put(target, Tag.CHANNEL_BLENDING_RESTRICTIONS_SETTING, ChannelBlendingRestrictionsSetting(withheld))  # type: ignore[call-arg]
    found, problems = blending_of(target, colours)
    assert (found.knockout, found.channels) == ("deep", (True, False, True))
    assert not found.clipped_as_group and found.interior_as_group and problems == ["transparency-shapes-layer"]


def test_blend_if() -> None:
    target = make.layer(make.document())
    full = (0, 0xFFFF)
    ranges = target._record.blending_ranges
    ranges.composite_ranges = [(0x1020, 0xC0F0), full]
    ranges.channel_ranges = [[full, full], [full, (0x0000, 0x80FF)], [full, full], [(7, 7), (7, 7)]]
    found, problems = blending_of(target, make.colours())
    assert not problems and found.own == (Range(None, (16 / 255, 32 / 255), (192 / 255, 240 / 255)),)
    assert found.below == (Range(1, (0.0, 0.0), (128 / 255, 1.0)),)
    ranges.composite_ranges = ranges.channel_ranges = None
    assert blending_of(target, make.colours()) == (PLAIN, [])


def test_every_blend_mode_has_its_css_name() -> None:
    names = {b"Nrml": "normal", b"linearLight": "linear-light", b"mul ": "multiply", b"H   ": "hue", b"odd": "odd"}
    for key, name in names.items():
        assert blend_mode(make.made(b"x", Md=make.mode(key)), b"Md  ") == name
    assert blend_mode(make.made(b"x"), b"Md  ") == "normal"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e300, -1e300])
def test_numbers_are_finite_and_bounded(value: float) -> None:
    found = number(make.made(b"x", Sz=make.unit(value)), b"Sz  ", 3.0, 0.0, 250.0)
    assert found == (3.0 if not math.isfinite(value) else 250.0 if value > 0 else 0.0)


def every_effect() -> dict[str, Any]:
    stops = make.stops((0, RED), (1000, BLUE), (4096, RED), clear=[(0, 100), (4096, 20)], smooth=4096)
    shape = make.curve((0, 0, True), (100, 200, True), (255, 255, False))
    common = {"Md": make.mode(b"Mltp"), "Opct": make.unit(75, b"#Prc"), "Clr": RED, "blur": make.unit(5), "TrnS": shape}
    offset = make.made(b"Pnt ", Hrzn=make.unit(1), Vrtc=make.unit(2))
    laid = {"Grad": stops, "Angl": make.unit(90), "Scl": make.unit(100), "Ofst": offset}
    tiled = {"Ptrn": make.named("key"), "phase": offset, "Scl": make.unit(100), "Angl": make.unit(0)}
    return {
        "DrSh": make.effect(b"DrSh", **common, Dstn=make.unit(5), Ckmt=make.unit(5), lagl=make.unit(3)),
        "IrSh": make.effect(b"IrSh", **common, Dstn=make.unit(5), Ckmt=make.unit(5), lagl=make.unit(3)),
        "OrGl": make.effect(b"OrGl", **common, Inpr=make.unit(5), Grad=stops),
        "IrGl": make.effect(b"IrGl", **common, Inpr=make.unit(5), ShdN=make.unit(5)),
        "SoFi": make.effect(b"SoFi", **common),
        "GrFl": make.effect(b"GrFl", **laid, Type=make.chosen(b"GrdT", b"Lnr ")),
        "patternFill": make.effect(b"patternFill", **tiled),
        "ChFX": make.effect(b"ChFX", **common, MpgS=shape, Dstn=make.unit(5)),
        "FrFX": make.effect(b"FrFX", **common, Sz=make.unit(5), PntT=make.chosen(b"FrFl", b"GrFl"), Grad=stops),
        "ebbl": make.effect(
            b"ebbl",
            hglC=RED,
            sdwC=BLUE,
            useShape=make.flag(True),
            MpgS=shape,
            useTexture=make.flag(True),
            srgR=make.unit(100),
            blur=make.unit(5),
            **tiled,
        ),
    }


def broken(data: Any, chance: random.Random) -> Any:
    """A copy in which one thing in twelve is wrong: its value, its type, its class, or it is missing."""
    values: list[Any] = [math.nan, math.inf, -math.inf, 1e300, -1e300, -1.0, 0.0]
    wrong = (
        make.unit(chance.choice(values)),
        make.flag(True),
        make.listed(),
        None,
        make.chosen(b"odd ", b"odd "),
        make.made(b"odd "),
        make.whole(2**31 - 1),
    )
    if chance.random() < 1 / 12:
        return chance.choice(wrong)
    if isinstance(data, List):
        return make.listed(*[item for item in (broken(item, chance) for item in data) if item is not None])
    if not isinstance(data, Descriptor):
        return data
    items = [(key, broken(data[key], chance)) for key in data]
    kept: Any = [(key, item) for key, item in items if item is not None]
    return Descriptor(items=kept, classID=data.classID if chance.random() < 0.95 else b"odd ")  # type: ignore[call-arg]


def numbers_of(value: Any) -> list[float]:
    if isinstance(value, np.ndarray):
        return [float(value.min()), float(value.max())] if value.size else []
    if isinstance(value, float | int):
        return [float(value)]
    if isinstance(value, tuple):
        return [found for item in value for found in numbers_of(item)]
    return [found for item in vars(value).values() for found in numbers_of(item)] if hasattr(value, "__dict__") else []


def test_broken_descriptors_never_crash_and_every_number_stays_in_bounds() -> None:
    chance = random.Random(7)
    psd = make.document()
    make.carry(psd, make.tile("key", [make.CHECKER] * 3))
    target = make.layer(psd)
    colours = Colours.of(psd)
    seen: Counter[str] = Counter()
    for _ in range(80):
        items = {key: broken(item, chance) for key, item in every_effect().items()}
        kept = {key: item for key, item in items.items() if item is not None}
        make.put(target, Tag.OBJECT_BASED_EFFECTS_LAYER_INFO, make.block(**kept))
        style, names, _ = style_of(target, colours, make.LIGHT)
        seen.update(names)
        assert all(math.isfinite(value) and abs(value) <= 100_000 for value in numbers_of(style))
        for effect in style:
            assert 0 <= getattr(effect, "size", 0) <= 250 and 0 <= getattr(effect, "opacity", 1) <= 1
    assert set(seen) >= NAMES


@pytest.mark.slow
def test_every_effect_of_the_corpus_is_understood(corpus: Path) -> None:
    found: Counter[str] = Counter()
    for path in sorted(path for path in corpus.rglob("*") if path.suffix.lower() in (".psd", ".psb")):
        data = path.read_bytes()
        if not any(key in data for key in (b"lfx2", b"lfxs", b"lmfx", b"PtFl")):
            continue
        psd = PSDImage.open(path)
        colours, light = Colours.of(psd), Light.of(psd)
        for layer in psd.descendants():
            style, names, problems = style_of(layer, colours, light)
            assert not problems and len(style) == len(names), (path.name, layer.name, names, problems)
            assert not paint_of_fill(layer, colours)[1] and not blending_of(layer, colours)[1], (path.name, layer.name)
            found.update(names)
    assert set(found) == NAMES and found["drop-shadow"] >= 40
