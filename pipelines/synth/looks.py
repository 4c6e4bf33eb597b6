"""Layer effects as designers use them: shadows under what lies on top, outlines, glows, gradients over flat colour.

A design has one light and one taste, drawn from a stream of their own, so that effects never shift what a layout draws.
Where they are off (formats that cannot keep them), nothing has effects and shadows are layers of their own.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from pipelines.formats.style import (
    AnyEffect,
    Bevel,
    Colour,
    Glow,
    Gradient,
    Overlay,
    Pattern,
    Satin,
    Shadow,
    Solid,
    Stroke,
)
from pipelines.synth.dice import Dice
from pipelines.synth.palettes import WHITE, Palette, Rgb, mix

Effects = tuple[AnyEffect, ...]
Place = Literal["inside", "outside", "center"]
BLACK: Rgb = (0, 0, 0)
_PLACES: tuple[Place, ...] = ("inside", "outside", "center")
_KERNEL = math.sqrt(6)  # the size of an effect whose blur is as wide as a Gaussian of radius 1


def share(colour: Rgb) -> Colour:
    return tuple(level / 255 for level in colour)


def ramp(*stops: tuple[Rgb, float], angle: float = 90.0, scale: float = 1.0) -> Gradient:
    """A linear gradient through evenly spaced (colour, opacity) stops, from below upwards at 90 degrees."""
    at, known = np.linspace(0, 1, 257), np.linspace(0, 1, len(stops))
    rows = np.array([(*share(colour), opacity) for colour, opacity in stops])
    table = np.stack([np.interp(at, known, column) for column in rows.T], axis=1)
    return Gradient(table.astype(np.float32), angle=angle, scale=scale)


class Looks:
    """Draws the effects of one design; all of them empty where effects are off."""

    def __init__(self, dice: Dice, palette: Palette, unit: float, *, on: bool) -> None:
        self.dice = dice
        self.palette = palette
        self.unit = unit
        self.on = on
        self.light = dice.pick((90.0, 120.0, 60.0, 135.0), (0.4, 0.3, 0.15, 0.15))
        self.rich = dice.uniform(0.2, 0.9)  # how often something gets an effect at all

    def _maybe(self, share_: float = 1.0) -> bool:
        return self.on and self.dice.chance(self.rich * share_)

    def off(self) -> Looks:
        """No effects, for parts that become plain pixels."""
        return Looks(Dice(0), self.palette, self.unit, on=False)

    def lift(self, blur: float, drop: float, opacity: float, colour: Rgb) -> Effects:
        """A drop shadow: ``blur`` (a Gaussian's radius) and ``drop`` in px; a negative drop falls upwards."""
        return (
            Shadow(
                colour=share(colour),
                blend_mode=self.dice.pick(("multiply", "normal"), (0.8, 0.2)),
                opacity=round(opacity, 2),
                angle=self.light if drop >= 0 else -90.0,
                distance=float(round(abs(drop))),
                size=float(max(1, round(blur * _KERNEL))),
                spread=self.dice.pick((0.0, 0.0, 0.1)),
            ),
        )

    def card(self, colour: Rgb) -> Effects:
        """A hairline, a lit edge or nothing."""
        if not self._maybe(0.9):
            return ()
        width = float(max(1, round(self.unit * 0.15)))
        edge = mix(colour, self.palette.on(colour), 0.25)
        looks: tuple[Effects, ...] = (
            (Stroke(paint=Solid(share(edge)), size=width, position="inside", opacity=0.6),),
            (self._edge(WHITE, "screen", 90.0, width, 1.0),),
            (Glow(paint=Solid(share(edge)), inner=True, opacity=0.35, size=4 * width, range=0.6),),
        )
        return self.dice.pick(looks)

    def button(self, colour: Rgb, height: float) -> Effects:
        """A sheen, a pressed edge, a rim, a bevel or a glow."""
        if not self._maybe():
            return ()
        dark, bright = mix(colour, BLACK, 0.25), mix(colour, WHITE, 0.35)
        small = float(max(1, round(height * 0.06)))
        return self.dice.pick(
            (
                (Overlay(paint=ramp((dark, 1), (bright, 1)), opacity=0.8),),
                (Overlay(paint=ramp((WHITE, 0), (WHITE, 1)), blend_mode="soft-light", opacity=0.7),),
                (self._edge(BLACK, "multiply", -90.0, small, 2 * small),),
                (Stroke(paint=Solid(share(dark)), size=small, position=self.dice.pick(_PLACES)),),
                (self.bevel(2 * small),),
                (Glow(paint=Solid(share(bright)), blend_mode="screen", opacity=0.7, size=6 * small, spread=0.1),),
            )
        )

    def _edge(self, colour: Rgb, blend_mode: str, angle: float, distance: float, size: float) -> Shadow:
        """An inner shadow, dark or lit."""
        return Shadow(
            colour=share(colour),
            inner=True,
            blend_mode=blend_mode,
            opacity=0.45,
            angle=angle,
            distance=distance,
            size=size,
        )

    def bevel(self, size: float) -> Bevel:
        return Bevel(
            highlight=Overlay(paint=Solid(share(WHITE)), blend_mode="screen", opacity=0.6),
            shade=Overlay(paint=Solid(share(BLACK)), blend_mode="multiply", opacity=0.45),
            kind=self.dice.pick(("inner", "inner", "emboss")),
            size=float(max(1, round(size))),
            soften=self.dice.pick((0.0, 1.0)),
            angle=self.light,
            altitude=30.0,
        )

    def icon(self, colour: Rgb, size: float) -> Effects:
        if size < 14 or not self._maybe(0.55):
            return ()
        bright = mix(colour, WHITE, 0.4)
        return self.dice.pick(
            (
                (self.bevel(size * 0.06),),
                (Overlay(paint=ramp((colour, 1), (bright, 1), angle=self.light)),),
                (Shadow(colour=share(BLACK), opacity=0.3, angle=self.light, distance=1, size=2),),
            )
        )

    def headline(self, colour: Rgb, size: float) -> tuple[Effects, float]:
        """(effects, fill opacity) of large type; nothing that makes it hard to read."""
        if not self._maybe(0.8):
            return (), 1.0
        far, contrast = float(max(1, round(size * 0.04))), self.palette.on(colour)
        rim, half = float(max(1, round(size * 0.025))), mix(colour, self.palette.accent, 0.5)
        looks: list[tuple[Effects, float]] = [
            (self.lift(far * 0.8, far, 0.4, BLACK), 1.0),
            ((Stroke(paint=Solid(share(contrast)), size=rim),), 1.0),
            ((Stroke(paint=Solid(share(colour)), size=max(2.0, rim), position="center"),), 0.0),
            ((Glow(paint=Solid(share(half)), opacity=0.6, size=3 * far, spread=0.05),), 1.0),
            ((Overlay(paint=ramp((mix(colour, half, 0.6), 1), (colour, 1))),), 1.0),
            ((self.bevel(far), *self.lift(far * 0.6, far * 0.6, 0.35, BLACK)), 1.0),
        ]
        return self.dice.pick(looks, (0.34, 0.14, 0.1, 0.14, 0.18, 0.1))

    def photo(self) -> Effects:
        """A frame or a vignette."""
        if not self._maybe(0.5):
            return ()
        rim = float(max(1, round(0.7 * self.unit)))
        return self.dice.pick(
            (
                (Stroke(paint=Solid(share(self.palette.paper)), size=rim, position="inside"),),
                (self._edge(BLACK, "multiply", self.light, rim, 6 * rim),),
                (Glow(paint=Solid(share(BLACK)), inner=True, blend_mode="multiply", opacity=0.45, size=12 * rim),),
            )
        )

    def ornament(self, side: int) -> Effects:
        """What a plain shape of ``side`` px gets now and then."""
        if side < 12 or not self._maybe(0.35):
            return ()
        accent, glow = self.dice.pick(self.palette.accents), float(max(2, min(30, side // 8)))
        return self.dice.pick(
            (
                (Overlay(paint=ramp((accent, 0), (accent, 1), angle=self.dice.uniform(0, 360)), opacity=0.6),),
                (Overlay(paint=self.texture(accent), opacity=0.35),),
                (Overlay(paint=Solid(share(accent)), blend_mode="multiply", opacity=0.3),),
                (Glow(paint=Solid(share(accent)), blend_mode="screen", opacity=0.6, size=glow),),
                (Glow(paint=ramp((accent, 1), (mix(accent, WHITE, 0.5), 0)), opacity=0.7, size=glow),),
                (Satin(colour=share(BLACK), blend_mode="multiply", opacity=0.25, distance=glow, size=glow),),
                (Stroke(paint=ramp((accent, 1), (mix(accent, BLACK, 0.4), 1)), size=max(1.0, glow // 4)),),
            )
        )

    def texture(self, colour: Rgb) -> Pattern:
        """A tile of slanted lines or of dots, clear between them."""
        side = self.dice.integer(4, 9)
        row, column = np.mgrid[:side, :side]
        lines = (row + column) % side < side // 2
        dots = np.hypot(row - side / 2 + 0.5, column - side / 2 + 0.5) < side / 3
        tile = np.empty((side, side, 4), np.uint8)
        tile[..., :3] = colour
        tile[..., 3] = np.where(self.dice.pick((lines, dots)), 255, 0)
        return Pattern(tile)
