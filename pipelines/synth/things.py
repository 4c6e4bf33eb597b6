"""Illustrations made of shapes, each a group: products, plants, badges, charts, avatars."""

from __future__ import annotations

import numpy as np

from pipelines.synth import shapes
from pipelines.synth.noise import radial, slope, tint
from pipelines.synth.palettes import WHITE, Rgb, mix, turned
from pipelines.synth.scene import Scene
from pipelines.synth.text import fit
from schemas.design import LayerKind


def phone(s: Scene, x: float, y: float, height: float) -> None:
    """A phone that shows a photograph."""
    h, w = round(height), round(height * 0.49)
    rim = max(2, round(w * 0.045))
    with s.group("Phone"):
        body = shapes.rounded(w, h, w * 0.15)
        look = s.shadow("Phone", body, x, y, blur=w * 0.1, drop=w * 0.08, opacity=0.4)
        s.shape("Phone body", body, (22, 22, 28), x, y, style=look)
        screen = shapes.rounded(w - 2 * rim, h - 2 * rim, w * 0.11)
        box = s.shape(
            "Screen",
            screen,
            tint(slope(w - 2 * rim, h - 2 * rim, 60), s.palette.primary, s.palette.secondary),
            x + rim,
            y + rim,
        )
        if not box.empty:
            s.picture("Screen photo", x + rim, y + rim, w - 2 * rim, (h - 2 * rim) * 0.6, clipped=True)
        s.panel("Card on screen", x + w * 0.14, y + h * 0.66, w * 0.72, h * 0.1, s.palette.paper, w * 0.05)
        s.panel("Line on screen", x + w * 0.14, y + h * 0.8, w * 0.5, h * 0.03, s.palette.paper, w * 0.02, opacity=0.7)
        glare = shapes.polygon([(0, 0), (w * 0.55, 0), (0, h * 0.62)], w - 2 * rim, h - 2 * rim)
        s.shape("Glare", glare, WHITE, x + rim, y + rim, opacity=0.1, blend="screen")


def bottle(s: Scene, x: float, y: float, height: float) -> None:
    h, w = round(height), round(height * 0.36)
    colour = s.dice.pick(s.palette.accents)
    neck, shoulder = h * 0.2, h * 0.34
    left = [(w * 0.36, h * 0.04), (w * 0.36, neck), (w * 0.06, shoulder), (w * 0.04, h * 0.97), (w * 0.1, h - 1)]
    outline = left + [(w - px, py) for px, py in reversed(left)]
    glass = shapes.polygon(outline, w, h)
    light = np.abs(slope(w, h, 0) - np.float32(0.32)) * 1.5
    with s.group("Bottle"):
        ground = shapes.ellipse(round(w * 1.3), max(4, round(w * 0.22)))
        s.soft("Bottle", ground, x - w * 0.15, y + h - w * 0.14, blur=w * 0.07, drop=0, opacity=0.45)
        s.shape("Glass", glass, tint(light, mix(colour, WHITE, 0.5), colour, mix(colour, (0, 0, 0), 0.45)), x, y)
        label = shapes.rounded(round(w * 0.92), round(h * 0.3), 2)
        s.shape("Label", label, s.palette.paper, x + w * 0.04, y + h * 0.5, clipped=True)
        s.icon(s.dice.pick(("leaf", "drop", "sun", "star")), w * 0.36, colour, x + w * 0.32, y + h * 0.57)
        s.panel("Cap", x + w * 0.33, y, w * 0.34, h * 0.1, mix(colour, (0, 0, 0), 0.55), w * 0.04)
        s.shape(
            "Highlight",
            shapes.rounded(max(2, round(w * 0.07)), round(h * 0.5), w * 0.03),
            WHITE,
            x + w * 0.16,
            y + h * 0.4,
            opacity=0.35,
            blend="screen",
        )


def cup(s: Scene, x: float, y: float, height: float) -> None:
    h, w = round(height), round(height * 1.05)
    colour = s.dice.pick((s.palette.paper, s.palette.accent, s.palette.primary))
    with s.group("Cup"):
        saucer = shapes.ellipse(round(w * 1.35), round(h * 0.26))
        look = s.shadow("Saucer", saucer, x - w * 0.18, y + h * 0.84, blur=h * 0.06, drop=h * 0.05, opacity=0.4)
        s.shape(
            "Saucer",
            saucer,
            tint(slope(saucer.shape[1], saucer.shape[0], 90), mix(colour, WHITE, 0.4), mix(colour, (0, 0, 0), 0.2)),
            x - w * 0.18,
            y + h * 0.84,
            style=look,
        )
        s.shape(
            "Handle", shapes.ring(round(h * 0.5), h * 0.09), mix(colour, (0, 0, 0), 0.12), x + w * 0.74, y + h * 0.22
        )
        t = np.linspace(0, np.pi / 2, 14)
        side = [(w * (0.1 + 0.22 * float(1 - np.cos(a))), h * (0.16 + 0.82 * float(np.sin(a)))) for a in t]
        mug = shapes.polygon([*side, *((w * 0.92 - px, py) for px, py in reversed(side))], w, h)
        s.shape("Mug", mug, tint(slope(w, h, 10), mix(colour, WHITE, 0.35), colour, mix(colour, (0, 0, 0), 0.3)), x, y)
        rim = shapes.ellipse(round(w * 0.72), round(h * 0.26))
        s.shape("Rim", rim, mix(colour, WHITE, 0.55), x + w * 0.1, y + h * 0.03)
        drink = shapes.ellipse(round(w * 0.64), round(h * 0.2))
        s.shape(
            "Drink",
            drink,
            tint(radial(drink.shape[1], drink.shape[0], 0.4, 0.4), (150, 96, 58), (70, 40, 24)),
            x + w * 0.14,
            y + h * 0.06,
        )
        soft, pad = shapes.blurred(shapes.rounded(max(3, w // 16), round(h * 0.3), w / 30), max(1.0, w * 0.03))
        for at in (0.32, 0.5):
            s.shape("Steam", soft, WHITE, x + w * at - pad, y - h * (0.2 + 0.4 * at) - pad, blend="screen", opacity=0.6)


def vinyl(s: Scene, x: float, y: float, height: float) -> None:
    size = round(height)
    with s.group("Record"):
        disc = shapes.ellipse(size, size)
        look = s.shadow("Record", disc, x, y, blur=size * 0.04, drop=size * 0.03, opacity=0.5)
        groove = radial(size, size, 0.5, 0.5, 0.5)
        tone = (24 + 10 * np.sin(groove * np.float32(220)))[..., None].repeat(3, axis=2)
        s.shape("Record", disc, tone, x, y, style=look)
        sheen = (
            np.clip(np.cos(2 * np.arctan2(*np.meshgrid(*(np.linspace(-1, 1, size),) * 2, indexing="ij")) - 1), 0, 1)
            ** 6
        )
        s.shape("Sheen", (disc * sheen * 0.35).astype(np.uint8), WHITE, x, y, blend="screen")
        small = round(size * 0.36)
        s.shape("Label", shapes.ellipse(small, small), s.palette.accent, x + (size - small) / 2, y + (size - small) / 2)
        hole = max(3, round(size * 0.04))
        s.shape("Hole", shapes.ellipse(hole, hole), s.palette.paper, x + (size - hole) / 2, y + (size - hole) / 2)


def plant(s: Scene, x: float, y: float, height: float) -> None:
    """Leaves in a pot; the leaves may stick out of the canvas."""
    h = round(height)
    green = s.dice.pick(((70, 120, 80), (46, 94, 78), (118, 138, 72)))
    with s.group("Plant"):
        for i, angle in enumerate(np.linspace(-62, 62, s.dice.integer(5, 8))):
            long, broad = round(h * s.dice.uniform(0.5, 0.7)), round(h * 0.17)
            t = np.linspace(0, np.pi, 24)
            edge = [(long * float(a) / np.pi, broad / 2 + broad / 2 * float(np.sin(a)) ** 0.8) for a in t]
            mask = shapes.polygon([*edge, *((px, broad - py) for px, py in reversed(edge))], long, broad)
            turned_mask = shapes.turned(mask, 90 - angle)
            colour = mix(green, WHITE if i % 2 else (0, 20, 10), s.dice.uniform(0, 0.22))
            reach = long / 2
            cx, cy = x + h * 0.35 + reach * np.sin(np.radians(angle)), y + h * 0.66 - reach * np.cos(np.radians(angle))
            s.shape(f"Leaf {i + 1}", turned_mask, colour, cx - turned_mask.shape[1] / 2, cy - turned_mask.shape[0] / 2)
        w, tall = round(h * 0.36), round(h * 0.36)
        pot = shapes.polygon([(0, 0), (w, 0), (w * 0.82, tall), (w * 0.18, tall)], w, tall)
        s.shape(
            "Pot",
            pot,
            tint(slope(w, tall, 0), s.palette.accent, mix(s.palette.accent, (0, 0, 0), 0.3)),
            x + h * 0.17,
            y + h * 0.64,
        )


THINGS = {
    "music": (vinyl,),
    "travel": (phone,),
    "coffee": (cup,),
    "sale": (bottle, phone),
    "art": (plant, vinyl),
    "nature": (plant,),
    "tech": (phone,),
    "food": (cup, bottle),
    "film": (phone, vinyl),
    "sport": (bottle, phone),
    "home": (plant,),
    "winter": (cup,),
}


def thing(s: Scene, x: float, y: float, height: float) -> None:
    """An illustration that suits the theme, about as wide as high at most."""
    s.dice.pick(THINGS[s.copy.theme])(s, x, y, height)


def badge(s: Scene, text: str, cx: float, cy: float, size: float, colour: Rgb) -> None:
    """A star-edged badge with up to two lines."""
    side = round(size)
    mask = shapes.star(side, s.dice.integer(12, 20), s.dice.uniform(0.84, 0.93), s.dice.uniform(0, 30))
    ink = s.palette.on(colour)
    with s.group("Badge"):
        look = s.shadow("Badge", mask, cx - side / 2, cy - side / 2, blur=size * 0.03, drop=size * 0.03, opacity=0.35)
        s.shape("Badge star", mask, colour, cx - side / 2, cy - side / 2, style=look)
        s.shape(
            "Badge ring",
            shapes.ring(round(size * 0.78), max(1, size * 0.012)),
            ink,
            cx - round(size * 0.78) / 2,
            cy - round(size * 0.78) / 2,
            opacity=0.6,
        )
        style = fit(text, s.head(20, ink, language="en", weight=800), size * 0.62, most=size * 0.3)
        s.type(text, style, cx, cy - style.size * 0.62, align="centre", language="en")


def logo(s: Scene, name: str, x: float, y: float, size: float, colour: Rgb, *, align: str = "left") -> float:
    """A mark and a word; returns the width."""
    style = s.body(size, colour, language="en", weight=700, tracking=40)
    width = size * 1.5 + style.width(name)
    x -= {"left": 0.0, "centre": width / 2, "right": width}[align]
    side = max(6, round(size * 1.1))
    with s.group(f"Logo {name}"):
        mark = s.dice.pick(
            (
                shapes.ring(side, side * 0.22),
                shapes.regular(side, 6),
                shapes.star(side, 4, 0.45),
                shapes.rounded(side, side, side * 0.3),
            )
        )
        s.shape("Mark", mark, s.palette.accent_on(mix(colour, s.palette.on(colour), 1.0), 1.5), x, y + size * 0.08)
        s.type(name, style, x + size * 1.5, y, language="en")
    return width


def avatar(s: Scene, cx: float, cy: float, size: float) -> None:
    """A small portrait: a disc with a head and shoulders clipped to it; one layer where it is very small."""
    side = max(8, round(size))
    x, y = cx - side / 2, cy - side / 2
    skin = s.dice.pick(((241, 204, 176), (198, 140, 100), (120, 78, 54), (224, 172, 130)))
    with s.merged("Avatar") if side < 130 else s.group("Avatar"):
        s.shape(
            "Disc",
            shapes.ellipse(side, side),
            turned(s.dice.pick(s.palette.accents), s.dice.uniform(-20, 20), 0.1),
            x,
            y,
        )
        s.shape(
            "Shoulders",
            shapes.ellipse(round(side * 0.9), round(side * 0.8)),
            s.dice.pick(s.palette.accents),
            x + side * 0.05,
            y + side * 0.66,
            clipped=True,
        )
        hair = shapes.ellipse(round(side * 0.52), round(side * 0.56))
        s.shape(
            "Hair",
            hair,
            s.dice.pick(((40, 28, 24), (92, 58, 36), (206, 168, 98), (70, 70, 74))),
            x + side * 0.24,
            y + side * 0.13,
            clipped=True,
        )
        s.shape(
            "Face",
            shapes.ellipse(round(side * 0.4), round(side * 0.46)),
            skin,
            x + side * 0.3,
            y + side * 0.24,
            clipped=True,
        )


def bars(s: Scene, x: float, y: float, width: float, height: float, count: int, colour: Rgb) -> None:
    with s.merged("Bar chart", kind=LayerKind.SHAPE) if count > 6 or width < 260 else s.group("Bar chart"):
        step = width / count
        for i in range(count):
            tall = height * s.dice.uniform(0.2, 1)
            tint = colour if i % 3 else mix(colour, WHITE, 0.35)
            s.panel(
                f"Bar {i + 1}", x + i * step, y + height - tall, max(2, step * 0.62), max(2, tall), tint, step * 0.14
            )


def curve(s: Scene, x: float, y: float, width: float, height: float, colour: Rgb) -> None:
    """A line chart with a soft area below."""
    w, h = round(width), round(height)
    knots = np.cumsum(s.dice.numpy.uniform(-0.6, 1, 9))
    line = np.interp(np.linspace(0, 8, w), np.arange(9), (knots - knots.min()) / max(1e-6, np.ptp(knots))) * 0.8 + 0.1
    top = ((1 - line) * h).astype(np.float32)
    rows = np.arange(h, dtype=np.float32)[:, None]
    area = np.clip(rows - top[None, :], 0, 1) * np.clip(1 - rows / np.float32(h), 0, 1) * 120
    thick = max(1.2, h * 0.018)
    stroke = (
        np.clip(np.float32(thick) - np.abs(rows - top[None, :]) / np.hypot(1, np.gradient(top))[None, :] + 0.5, 0, 1)
        * 255
    )
    with s.merged("Line chart", kind=LayerKind.SHAPE) if width < 260 else s.group("Line chart"):
        s.shape("Area", area.astype(np.uint8), colour, x, y)
        s.shape("Line", stroke.astype(np.uint8), colour, x, y)


def rule(s: Scene, x: float, y: float, width: float, thickness: float, colour: Rgb, opacity: float = 1.0) -> None:
    s.add(
        "Rule",
        shapes.filled(shapes.full(max(1, round(width)), max(1, round(thickness))), colour),
        x,
        y,
        kind=LayerKind.SHAPE,
        opacity=opacity,
    )
