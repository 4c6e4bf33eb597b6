"""The ``tiny`` profile: 64 px designs of 3 to 8 layers for models that train on a CPU.

Every one has a background, text, soft alpha, and layers that lie on one another: at least half are partly covered.
"""

from __future__ import annotations

import numpy as np

from pipelines.formats.tree import Document
from pipelines.synth import shapes, words
from pipelines.synth.dice import Dice
from pipelines.synth.fonts import draw_pairing
from pipelines.synth.icons import ICONS, icon
from pipelines.synth.looks import Looks
from pipelines.synth.noise import fractal, slope, tint
from pipelines.synth.palettes import Palette, Rgb, draw_palette, mix
from pipelines.synth.photos import SCENES
from pipelines.synth.scene import Scene
from pipelines.synth.shapes import Coverage
from pipelines.synth.text import fit
from schemas.design import LayerKind
from schemas.geometry import Box

SIDE = 64
_WORDS = ["SALE", "NEW", "HI", "YES", "GO", "50%", "LOVE", "OPEN", "JAZZ", "TEA", "ART", "SUN", "SEA"]


def _background(s: Scene) -> None:
    a, b = s.palette.ground, mix(s.palette.ground, s.dice.pick(s.palette.accents), s.dice.uniform(0.2, 0.7))
    style = s.dice.pick(("plain", "gradient", "noise", "photo"), (0.25, 0.35, 0.2, 0.2))
    if style == "photo":
        scene = s.dice.pick(("mountains", "sea", "dunes", "bokeh", "aurora"))
        s.fill("Photo", SCENES[scene](s.dice.child(), SIDE, SIDE), kind=LayerKind.BACKGROUND)
    elif style == "noise":
        s.fill("Texture", tint(fractal(s.dice, SIDE, SIDE, cell=0.5, octaves=3), a, b), kind=LayerKind.BACKGROUND)
    elif style == "gradient":
        s.fill("Gradient", tint(slope(SIDE, SIDE, s.dice.uniform(0, 360)), a, b), kind=LayerKind.BACKGROUND)
    else:
        s.fill("Background", a, kind=LayerKind.BACKGROUND)


def _mask(dice: Dice, size: int) -> tuple[str, Coverage]:
    name = dice.pick(("disc", "box", "star", "ring", "blob", "triangle", "badge", "icon"))
    if name == "box":
        return name, shapes.rounded(size, max(6, int(size * dice.uniform(0.4, 1))), dice.uniform(0, 6))
    if name == "icon":
        return name, icon(dice.pick(tuple(ICONS)), size)
    if name == "blob":
        return name, shapes.blob(dice, size)
    if name == "star":
        return name, shapes.star(size, 5, 0.45, dice.uniform(0, 72))
    if name == "badge":
        return name, shapes.star(size, 12, 0.85)
    if name == "triangle":
        return name, shapes.regular(size, 3, dice.uniform(0, 120))
    return name, shapes.ring(size, size * dice.uniform(0.15, 0.3)) if name == "ring" else shapes.ellipse(size, size)


def _soft(dice: Dice, mask: Coverage) -> Coverage:
    """Sharp, blurred, or fading along a direction."""
    style = dice.pick(("sharp", "blurred", "fading"), (0.45, 0.3, 0.25))
    if style == "blurred":
        return shapes.blurred(mask, dice.uniform(1, 3))[0]
    if style == "fading":
        return (mask * (0.25 + 0.75 * slope(mask.shape[1], mask.shape[0], dice.uniform(0, 360)))).astype(np.uint8)
    return mask


def _element(s: Scene, palette: Palette, below: list[Box]) -> Box:
    """A shape; mostly on top of one that is there."""
    size = s.dice.integer(14, 40)
    name, mask = _mask(s.dice, size)
    mask = _soft(s.dice, mask)
    if below and s.dice.chance(0.8):
        target = s.dice.pick(below)
        cx, cy = s.dice.uniform(target.x0 + 2, target.x1 - 2), s.dice.uniform(target.y0 + 2, target.y1 - 2)
    else:
        cx, cy = s.dice.uniform(0, SIDE), s.dice.uniform(0, SIDE)
    height, width = mask.shape
    x = min(max(cx - width / 2, 12 - width), SIDE - 12)
    y = min(max(cy - height / 2, 12 - height), SIDE - 12)
    colour: Rgb = s.dice.pick((*palette.accents, palette.on(palette.ground)))
    paint = (
        colour
        if s.dice.chance(0.6)
        else tint(slope(width, height, s.dice.uniform(0, 360)), colour, s.dice.pick(palette.accents))
    )
    return s.shape(name.title(), mask, paint, x, y, opacity=s.dice.pick((1.0, 1.0, 0.85, 0.65)))


def design(seed: int, index: int) -> Document:
    """Tiny design ``index`` of ``seed``."""
    dice = Dice(seed, index, 7)
    palette = draw_palette(dice)
    copy = words.Copy("en", "art", "", "", "")
    looks = Looks(Dice(0), palette, SIDE / 100, on=False)
    s = Scene(SIDE, SIDE, dice, palette, draw_pairing(dice, "en"), copy, looks, overflow=dice.chance(0.75))
    _background(s)
    boxes: list[Box] = []
    for _ in range(dice.integer(1, 6)):
        boxes.append(_element(s, palette, boxes))
    target = dice.pick(boxes)
    text = dice.pick(_WORDS)
    style = fit(text, s.head(14, palette.on(palette.ground), weight=800), dice.uniform(26, 58), most=26, least=9)
    x = min(
        max((target.x0 + target.x1 - style.width(text)) / 2, -6 if s.overflow else 0),
        max(0.0, SIDE - 0.8 * style.width(text)),
    )
    y = min(max((target.y0 + target.y1) / 2 - style.size * 0.6, 0), SIDE - style.size * 1.2)
    s.type(text, style, x, y, language="en")
    return s.document()
