"""Poster layouts: a function of the scene each, which it fills bottom to top."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipelines.formats.tree import Mask
from pipelines.synth import shapes, words
from pipelines.synth.grounds import DECOR, confetti, decorate, ground, scrim
from pipelines.synth.palettes import WHITE, mix
from pipelines.synth.scene import Scene
from pipelines.synth.text import Align, Style, fit
from pipelines.synth.things import badge, logo, rule, thing
from schemas.geometry import Box


def title(
    s: Scene,
    x: float,
    y: float,
    width: float,
    style: Style,
    *,
    align: Align = "left",
    most: float = 16.0,
    room: float = 1e9,
    name: str | None = None,
) -> float:
    """The title within ``width`` and ``room`` (height) px and ``most`` units of size. Returns the y below it.

    It stands on one line, or a word a line where that lets it be larger.
    """
    text, most = s.copy.title, most * s.unit
    parts = text.split(" ")
    one = fit(text, style, width, most=min(most, room / 1.1))
    longest = max(parts, key=lambda part: style.sized(100).width(part))
    many = fit(longest, style, width, most=min(most, room / (1.1 * len(parts))))
    if 1 < len(parts) < 4 and many.size > one.size * 1.25:
        text, one = "\n".join(parts), many
    setting = s.type(text, one, x, y, width=width, align=align, leading=1.08, name=name)
    return y + setting.height


def details(s: Scene) -> list[str]:
    dice = s.dice
    return [
        words.draw_date(dice),
        f"{dice.integer(17, 21)}:{dice.pick(('00', '30'))}",
        f"HALL {dice.integer(1, 9)}",
        words.draw_price(dice),
    ]


def full_photo(s: Scene) -> None:
    """A photograph to the edges and beyond, a scrim, type on top."""
    out = s.reach(0.08)
    s.picture("Photo", -out, -out, s.width + 2 * out, s.height + 2 * out)
    low = s.dice.chance(0.7)
    scrim(s, mix(s.palette.deep, (0, 0, 0), 0.4), 270 if low else 90, 0.5, start=0.72)
    scrim(s, mix(s.palette.deep, (0, 0, 0), 0.3), 90 if low else 270, 0.88, blend=s.dice.pick(("normal", "multiply")))
    margin, colour = 6 * s.unit, s.palette.paper
    y = s.height * (0.6 if low else 0.06)
    with s.group("Headline"):
        rule(s, margin, y, 12 * s.unit, 0.7 * s.unit, s.palette.accent_on(s.palette.deep))
        y = title(s, margin, y + 2.5 * s.unit, s.width - 2 * margin, s.head(10, colour), room=s.height * 0.2)
        s.type(
            s.copy.subtitle, s.body(3.9 * s.unit, colour), margin, y + s.unit, width=s.width - 2 * margin, opacity=0.9
        )
    foot = s.body(
        2.3 * s.unit, s.palette.accent_on(s.palette.deep) if low else WHITE, language="en", weight=700, tracking=60
    )
    s.type("  •  ".join(details(s)[:3]), foot, margin, s.height - 8 * s.unit, language="en")
    logo(
        s,
        words.draw_brand(s.dice),
        s.width - margin,
        s.height * (0.05 if low else 0.93),
        2.6 * s.unit,
        colour,
        align="right",
    )
    if s.dice.chance(0.35):
        badge(
            s,
            f"{s.dice.integer(4, 20)}th",
            s.width - 10 * s.unit,
            s.height * (0.16 if low else 0.8),
            18 * s.unit,
            s.palette.accent,
        )


def _figure(s: Scene, kind: str, size: int) -> shapes.Coverage:
    if kind == "square":
        return shapes.full(size, size)
    if kind == "ring":
        return shapes.ring(size, size * 0.2)
    if kind == "triangle":
        return shapes.regular(size, 3, s.dice.pick((-90, 30, 90)))
    disc = shapes.ellipse(size, size)
    return disc[: size // 2] if kind == "half" else disc


def swiss(s: Scene) -> None:
    """Large overlapping geometry, a grid of small type."""
    base = ground(s)
    margin = 7 * s.unit
    with s.group("Geometry", isolated=s.dice.chance(0.5)):
        for i, colour in enumerate(s.dice.some(s.palette.accents, s.dice.integer(2, 4))):
            size = round(s.dice.uniform(45, 80) * s.unit)
            kind = s.dice.pick(("disc", "square", "half", "ring", "triangle"))
            mask = _figure(s, kind, size)
            if kind in ("square", "half") and s.dice.chance(0.5):
                mask = shapes.turned(mask, s.dice.pick((15, 30, 45, 90)))
            x, y = (
                s.dice.uniform(-0.25, 0.75) * s.width,
                s.height * s.dice.uniform(0.42, 0.62) + s.height * 0.1 * (i % 2) - size * 0.1,
            )
            s.shape(
                f"{kind.title()} {i + 1}",
                mask,
                colour,
                x,
                y,
                blend=s.dice.pick(("normal", "multiply" if base == s.palette.paper else "screen")),
            )
    ink = s.palette.on(base)
    y = title(s, margin, margin, s.width - 2 * margin, s.head(12, ink), most=20, room=s.height * 0.32)
    s.type(s.copy.subtitle, s.body(3.6 * s.unit, ink), margin, y + 1.5 * s.unit, width=s.width * 0.6)
    rule(s, margin, s.height - 15 * s.unit, s.width - 2 * margin, 0.25 * s.unit, ink)
    column = (s.width - 2 * margin) / 3
    with s.group("Details"):
        for i, text in enumerate(details(s)[:3]):
            s.type(
                text,
                s.body(2.2 * s.unit, ink, language="en", weight=700),
                margin + i * column,
                s.height - 12.5 * s.unit,
                language="en",
            )
    if s.dice.chance(0.5):
        name = s.dice.pick(words.names("en"))
        s.type(
            name, s.body(1.9 * s.unit, ink, language="en"), margin, s.height - 8.5 * s.unit, language="en", opacity=0.75
        )


def window(s: Scene) -> None:
    """A photograph in an arch, a disc or a rounded box, type below."""
    base = ground(s)
    if s.dice.chance(0.6):
        decorate(s, base, "circles", "lines", "halftone", "blobs")
    w = round(s.width * s.dice.uniform(0.62, 0.8))
    h = round(min(w * s.dice.uniform(1.0, 1.2), s.height * 0.56))
    x, y = (s.width - w) / 2, s.height * 0.07
    shape = s.dice.pick((shapes.arch(w, h), shapes.rounded(w, h, 4 * s.unit), shapes.ellipse(w, h)))
    frame = round(1.6 * s.unit)
    s.shape("Frame", np.asarray(shape), s.palette.accent_on(base, 1.4), x + frame, y + frame)
    mask = Mask(Box(round(x), round(y), round(x) + w, round(y) + h), shape)
    out = s.reach(0.12)
    s.picture("Photo", round(x) - out, round(y) - out // 2, w + 2 * out, h + out, mask=mask)
    ink = s.palette.on(base)
    margin = 7 * s.unit
    y = title(
        s, margin, s.height * 0.665, s.width - 2 * margin, s.head(9, ink), align="centre", most=11, room=s.height * 0.14
    )
    lines = s.type(
        s.copy.subtitle,
        s.body(3.2 * s.unit, s.palette.muted_on(base)),
        margin,
        y + s.unit,
        width=s.width - 2 * margin,
        align="centre",
    )
    y = max(y + lines.height + 3 * s.unit, s.height * 0.88)
    s.type(
        " · ".join(details(s)[:2]),
        s.body(2.4 * s.unit, s.palette.accent_on(base), language="en", weight=700, tracking=80),
        s.width / 2,
        y,
        align="centre",
        language="en",
    )


def retro(s: Scene) -> None:
    """Sun, hills and rays in flat colour."""
    base = ground(s, s.dice.pick((s.palette.paper, s.palette.primary, s.palette.deep)))
    DECOR["burst"](s, base)
    size = round(s.width * s.dice.uniform(0.6, 0.85))
    warm = mix(s.palette.accent, (255, 190, 90), 0.3)
    x, y = (s.width - size) / 2 + s.dice.uniform(-8, 8) * s.unit, s.height * 0.34
    s.shape("Sun", shapes.ellipse(size, size), warm, x, y)
    cuts = shapes.stripes(size, size, size / s.dice.integer(9, 14), 90, 0.35)
    cuts = (cuts * (np.arange(size) > size * 0.5)[:, None]).astype(np.uint8)
    s.shape("Sun stripes", cuts, base, x, y, clipped=True, opacity=s.dice.pick((1.0, 0.8)))
    out = s.reach(0.1)
    with s.group("Hills"):
        for i in range(3):
            height = round(s.height * (0.42 - 0.1 * i)) + out
            hill = shapes.waves(s.dice, s.width + 2 * out, height, depth=0.3)
            s.shape(
                f"Hill {i + 1}",
                hill,
                mix(s.palette.primary, s.palette.deep, 0.25 + 0.3 * i),
                -out,
                s.height - height + out,
            )
    margin = 6 * s.unit
    y = title(
        s,
        margin,
        margin,
        s.width - 2 * margin,
        s.head(12, s.palette.on(base)),
        align="centre",
        most=17,
        room=s.height * 0.2,
    )
    s.type(
        s.copy.subtitle,
        s.body(3.6 * s.unit, s.palette.on(base)),
        margin,
        y + s.unit,
        width=s.width - 2 * margin,
        align="centre",
    )
    foot = s.body(2.4 * s.unit, s.palette.paper, language="en", weight=700, tracking=100)
    s.type("  /  ".join(details(s)[:3]), foot, s.width / 2, s.height - 8 * s.unit, align="centre", language="en")


def typographic(s: Scene) -> None:
    """The title set huge and again, in fading lines that run out of the page."""
    base = ground(s, s.dice.pick((s.palette.primary, s.palette.deep, s.palette.secondary, s.palette.paper)))
    ink, strong = s.palette.on(base), s.palette.accent_on(base)
    text = s.copy.title.upper() if s.language != "tr" else s.copy.title
    style = fit(text, s.head(14, ink, weight=900), s.width * (1.12 if s.overflow else 0.9), most=24 * s.unit)
    count = s.dice.integer(4, 6)
    step = min(s.height * 0.72 / count, style.size * 1.25)
    chosen = s.dice.integer(0, count - 1)
    if s.dice.chance(0.4):
        confetti(s, s.dice.integer(6, 16))
    with s.group("Repeated title"):
        for i in range(count):
            look = replace(style, colour=strong) if i == chosen else style
            shift = (i - chosen) * s.dice.uniform(-2, 2) * s.unit
            s.type(
                text,
                look,
                s.width / 2 + shift,
                s.height * 0.05 + i * step,
                align="centre",
                leading=1.1,
                opacity=1.0 if i == chosen else max(0.12, 0.55 - 0.12 * abs(i - chosen)),
            )
    thing(s, s.width * 0.5, s.height * 0.55, min(s.width * 0.45, s.height * 0.34))
    margin = 7 * s.unit
    s.type(s.copy.subtitle, s.body(3.6 * s.unit, ink), margin, s.height * 0.76, width=s.width * 0.42)
    s.type(
        "\n".join(details(s)[:3]),
        s.body(2.4 * s.unit, strong, language="en", weight=700),
        margin,
        s.height - 13 * s.unit,
        language="en",
        leading=1.35,
    )


def minimal(s: Scene) -> None:
    """A picture or a plain ground, a title, hardly more."""
    s.sparse = True
    out = s.reach(0.15)
    if s.dice.chance(0.6):
        s.picture(
            "Photo",
            -out,
            -out,
            s.width + 2 * out,
            s.height + 2 * out,
            scene=s.dice.pick(("night", "aurora", "sea", "dunes")),
        )
        scrim(s, (0, 0, 0), 270, 0.55, start=0.4)
        colour = WHITE
    else:
        colour = s.palette.on(ground(s))
        size = round(s.dice.uniform(50, 95) * s.unit)
        mask = s.dice.pick(
            (shapes.ellipse(size, size), shapes.blob(s.dice, size), shapes.regular(size, s.dice.integer(3, 6)))
        )
        s.shape(
            "Shape",
            mask,
            s.dice.pick(s.palette.accents),
            s.dice.uniform(-0.2, 0.5) * s.width,
            s.dice.uniform(0.3, 0.6) * s.height,
        )
    margin = 8 * s.unit
    align: Align = s.dice.pick(("left", "centre"))
    y = title(
        s,
        margin,
        s.dice.pick((0.07, 0.1, 0.14)) * s.height,
        s.width - 2 * margin,
        s.head(12, colour),
        align=align,
        room=s.height * 0.3,
    )
    if s.dice.chance(0.5):
        s.type(
            s.copy.subtitle, s.body(3.8 * s.unit, colour), margin, y + s.unit, width=s.width - 2 * margin, align=align
        )


LAYOUTS = {
    "minimal": minimal,
    "full-photo": full_photo,
    "swiss": swiss,
    "window": window,
    "retro": retro,
    "typographic": typographic,
}
SIZES = ((600, 900), (720, 960), (640, 905), (700, 1000), (800, 1132), (560, 840), (900, 1200), (760, 760))
