"""Backgrounds and decoration: what lies under the words. Every part works on any canvas and sticks out where it may."""

from __future__ import annotations

import numpy as np

from pipelines.synth import shapes
from pipelines.synth.looks import ramp
from pipelines.synth.noise import fractal, radial, slope, tint
from pipelines.synth.palettes import Rgb, mix, turned
from pipelines.synth.scene import Scene
from schemas.design import LayerKind


def ground(s: Scene, colour: Rgb | None = None) -> Rgb:
    """The background layer: plain, gradient, paper or translucent. Returns the colour to set type against."""
    base = colour or s.palette.ground
    other = turned(mix(base, s.dice.pick(s.palette.accents), s.dice.uniform(0.08, 0.35)), s.dice.uniform(-15, 15))
    style = s.dice.pick(("plain", "linear", "radial", "paper", "translucent"), (0.23, 0.33, 0.18, 0.18, 0.08))
    if style == "translucent":
        cover = shapes.rounded(s.width, s.height, s.dice.pick((0, 5)) * s.unit) * np.float32(s.dice.uniform(0.75, 0.95))
        s.add("Translucent background", shapes.filled(cover.astype(np.uint8), base), 0, 0, kind=LayerKind.BACKGROUND)
    elif style == "plain":
        s.fill("Background", base, kind=LayerKind.BACKGROUND, bleed=s.dice.pick((0, 0, 0.03)))
    elif style == "linear":
        degrees = s.dice.uniform(0, 180)
        s.fill(
            "Background gradient",
            tint(slope(s.width, s.height, degrees), base, other),
            kind=LayerKind.BACKGROUND,
            paint=ramp((base, 1), (other, 1), angle=-degrees),
        )
    elif style == "radial":
        field = radial(s.width, s.height, s.dice.uniform(0.2, 0.8), s.dice.uniform(0.1, 0.7), s.dice.uniform(0.6, 0.95))
        s.fill("Background glow", tint(field, mix(base, (255, 255, 255), 0.18), base, other), kind=LayerKind.BACKGROUND)
    else:
        fibre = (
            fractal(s.dice, s.width, s.height, cell=0.02, octaves=3) * 0.6
            + fractal(s.dice, s.width, s.height, cell=0.4, octaves=2) * 0.4
        )
        s.fill(
            "Paper", tint(fibre, mix(base, (0, 0, 0), 0.06), mix(base, (255, 255, 255), 0.1)), kind=LayerKind.BACKGROUND
        )
    return base


def _tints(s: Scene, base: Rgb) -> list[Rgb]:
    return [colour for colour in s.palette.accents if colour != base] + [mix(base, s.palette.on(base), 0.15)]


def circles(s: Scene, base: Rgb) -> None:
    """A few large discs and rings from the edges."""
    for i in range(s.dice.integer(2, 4)):
        size = int(s.dice.uniform(25, 75) * s.unit)
        x = (
            s.dice.pick((-0.5, 0.45, 0.8)) * size * 0.8
            if s.dice.chance(0.5)
            else s.width - size * s.dice.uniform(0.3, 0.9)
        )
        y = s.dice.uniform(-0.4, 0.9) * s.height
        mask = shapes.ellipse(size, size) if s.dice.chance(0.7) else shapes.ring(size, size * s.dice.uniform(0.06, 0.2))
        blend = s.dice.pick(("normal", "multiply", "screen", "overlay"), (0.6, 0.2, 0.1, 0.1))
        s.shape(
            f"Circle {i + 1}",
            mask,
            s.dice.pick(_tints(s, base)),
            x,
            y,
            opacity=s.dice.pick((1.0, 0.85, 0.6, 0.35)),
            blend=blend,
        )


def blobs(s: Scene, base: Rgb) -> None:
    for i in range(s.dice.integer(2, 3)):
        size = int(s.dice.uniform(45, 95) * s.unit)
        cx, cy = s.dice.pick(((0.0, 0.05), (1.0, 0.0), (1.0, 0.95), (0.0, 1.0), (0.9, 0.5)))
        colour = s.dice.pick(_tints(s, base))
        field = slope(size, size, s.dice.uniform(0, 360))
        s.shape(
            f"Blob {i + 1}",
            shapes.blob(s.dice, size),
            tint(field, colour, turned(colour, 25, 0.08)),
            cx * s.width - size / 2,
            cy * s.height - size / 2,
            opacity=s.dice.uniform(0.55, 1),
        )


def bands(s: Scene, base: Rgb) -> None:
    """Soft waves along the lower edge."""
    count = s.dice.integer(2, 4)
    out = s.reach(0.1)
    for i in range(count):
        height = int(s.height * (0.36 - 0.28 * i / count)) + out
        mask = shapes.waves(s.dice, s.width + 2 * out, height, depth=0.35)
        colour = mix(s.palette.primary, base, 0.65 - 0.55 * i / count)
        s.shape(f"Wave {i + 1}", mask, colour, -out, s.height - height + out, opacity=s.dice.pick((1.0, 0.8)))


def burst(s: Scene, base: Rgb) -> None:
    """A sunburst behind the middle."""
    out = s.reach(0.12)
    width, height = s.width + 2 * out, s.height + 2 * out
    mask = shapes.rays(width, height, s.dice.integer(9, 18), s.dice.uniform(0.35, 0.65), s.dice.uniform(0.35, 0.65))
    s.shape(
        "Sunburst",
        mask,
        mix(base, s.palette.on(base), 0.5),
        -out,
        -out,
        opacity=s.dice.uniform(0.1, 0.25),
        blend=s.dice.pick(("normal", "soft-light")),
    )


def halftone(s: Scene, base: Rgb) -> None:
    """Dots that fade across a corner."""
    period = s.dice.uniform(1.6, 3.2) * s.unit
    side = int(s.dice.uniform(45, 90) * s.unit)
    radius = (1 - radial(side, side, s.dice.pick((0.0, 1.0)), s.dice.pick((0.0, 1.0)), 0.95)) * np.float32(
        period * 0.52
    )
    x, y = s.dice.pick(((0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)))
    out = s.reach(0.12)
    left, top = x * (s.width - side) + (2 * x - 1) * out, y * (s.height - side) + (2 * y - 1) * out
    s.shape(
        "Halftone",
        shapes.dots(side, side, period, radius),
        s.palette.accent_on(base, 1.4),
        left,
        top,
        opacity=s.dice.uniform(0.5, 0.9),
    )


def lines(s: Scene, base: Rgb) -> None:
    period = s.dice.uniform(2.5, 7) * s.unit
    mask = shapes.stripes(s.width, s.height, period, s.dice.pick((0, 45, -45, 90)), s.dice.uniform(0.06, 0.4))
    s.shape(
        "Stripes",
        mask,
        s.palette.on(base),
        0,
        0,
        opacity=s.dice.uniform(0.05, 0.13),
        blend=s.dice.pick(("normal", "overlay", "multiply")),
    )


def slabs(s: Scene, base: Rgb) -> None:
    """Slanted colour blocks."""
    for i in range(s.dice.integer(1, 3)):
        width, height = int(s.width * s.dice.uniform(0.2, 0.5)), int(s.height * s.dice.uniform(1.0, 1.25))
        lean = width * s.dice.uniform(0.2, 0.5)
        mask = shapes.polygon([(lean, 0), (width, 0), (width - lean, height), (0, height)], width, height)
        s.shape(
            f"Slab {i + 1}",
            mask,
            s.dice.pick(_tints(s, base)),
            s.dice.uniform(-0.15, 0.9) * s.width,
            (s.height - height) / 2,
            opacity=s.dice.uniform(0.35, 0.95),
            blend=s.dice.pick(("normal", "multiply", "screen"), (0.7, 0.2, 0.1)),
        )


DECOR = {
    "circles": circles,
    "blobs": blobs,
    "waves": bands,
    "burst": burst,
    "halftone": halftone,
    "lines": lines,
    "slabs": slabs,
}


def decorate(s: Scene, base: Rgb, *names: str) -> None:
    """One of the named decorations (any without names), as a group."""
    name = s.dice.pick(names or tuple(DECOR))
    with s.group(f"Decoration {name}"):
        DECOR[name](s, base)


def confetti(s: Scene, count: int) -> None:
    """Small scattered pieces, some of them over the edge."""
    with s.group("Confetti"):
        for i in range(count):
            size = int(s.dice.uniform(1.5, 4.5) * s.unit) + 3
            mask = s.dice.pick(
                (
                    shapes.ellipse(size, size),
                    shapes.rounded(size, max(2, size // 3), 2),
                    shapes.regular(size, 3),
                    shapes.star(size, 4, 0.4),
                )
            )
            mask = shapes.turned(mask, s.dice.uniform(0, 360))
            edge = s.dice.chance(0.5)
            x = s.dice.uniform(-0.03, 1.0) * s.width if not edge else s.dice.pick((-0.5, s.width / size - 0.6)) * size
            y = s.dice.uniform(-0.03, 1.0) * s.height
            s.shape(f"Piece {i + 1}", mask, s.dice.pick(s.palette.accents), x, y, opacity=s.dice.pick((1.0, 0.8)))


def scrim(
    s: Scene, colour: Rgb, degrees: float, strength: float, *, blend: str = "normal", start: float = 0.25
) -> None:
    """A gradient from clear to ``colour``, so that type can be read on a photograph."""
    field = np.clip((slope(s.width, s.height, degrees) - np.float32(start)) / np.float32(1 - start), 0, 1)
    s.shape("Scrim", (field * np.float32(255 * strength)).astype(np.uint8), colour, 0, 0, blend=blend)


def finish(s: Scene) -> None:
    """What a designer leaves on top: grain, a colour wash, a hidden layer."""
    if s.sparse:
        return
    if s.dice.chance(0.22):
        light = fractal(s.dice, s.width // 2, s.height // 2, cell=0.006, octaves=1).repeat(2, 0).repeat(2, 1)
        height, width = light.shape
        gray = np.repeat((96 + light * 64)[..., None], 3, axis=2)
        s.shape(
            "Grain",
            shapes.full(width, height),
            gray,
            0,
            0,
            opacity=s.dice.uniform(0.15, 0.4),
            blend=s.dice.pick(("overlay", "soft-light")),
        )
    if s.dice.chance(0.2):
        degrees = s.dice.uniform(0, 360)
        s.fill(
            "Colour wash",
            tint(slope(s.width, s.height, degrees), s.palette.primary, s.palette.accent),
            paint=ramp((s.palette.primary, 1), (s.palette.accent, 1), angle=-degrees),
            opacity=s.dice.uniform(0.05, 0.16),
            blend=s.dice.pick(("soft-light", "multiply", "screen", "color")),
        )
    if s.looks.on and s.looks.dice.chance(0.1):
        colour = s.palette.on(s.palette.ground)
        s.fill("Pattern", colour, opacity=0.06, paint=s.looks.texture(colour))
    if s.dice.chance(0.25):
        s.type(
            "DRAFT – not for print",
            s.head(6 * s.unit, s.palette.accent, language="en"),
            4 * s.unit,
            s.height * 0.4,
            name="Note (hidden)",
            language="en",
            visible=False,
        )
