"""Layouts for paper: menus, cards, invitations, magazine covers, flyers. A few are as large as print needs."""

from __future__ import annotations

import numpy as np

from pipelines.formats.tree import Mask
from pipelines.synth import shapes, words
from pipelines.synth.grounds import decorate, ground, scrim
from pipelines.synth.palettes import Rgb, mix
from pipelines.synth.posters import details, title
from pipelines.synth.scene import Scene
from pipelines.synth.text import RIGHT_TO_LEFT, fit
from pipelines.synth.things import badge, logo, rule, thing
from schemas.geometry import Box


def menu(s: Scene) -> None:
    """A bill of fare in two courses."""
    base = ground(s, s.dice.pick((s.palette.paper, s.palette.paper, s.palette.deep)))
    decorate(s, base, "waves", "lines", "burst")
    dishes, language = words.words("dishes", s.language)
    ink, strong, margin = s.palette.on(base), s.palette.accent_on(base), 9 * s.unit
    inset = round(3.5 * s.unit)
    s.shape(
        "Border",
        shapes.outline(
            s.width - 2 * inset, s.height - 2 * inset, s.dice.pick((0, 2)) * s.unit, max(1, round(0.3 * s.unit))
        ),
        strong,
        inset,
        inset,
    )
    s.icon(s.dice.pick(("cup", "leaf", "star", "sun")), 8 * s.unit, strong, s.width / 2 - 4 * s.unit, 7 * s.unit)
    y = title(s, margin, 17 * s.unit, s.width - 2 * margin, s.head(9, ink), align="centre", most=9)
    rule(s, s.width * 0.38, y + s.unit, s.width * 0.24, max(1, 0.4 * s.unit), strong)
    y += 5 * s.unit
    _courses(s, dishes, language, y, ink, strong)
    style = fit(s.copy.subtitle, s.body(3, s.palette.muted_on(base), italic=True), s.width * 0.8, most=2.6 * s.unit)
    s.type(s.copy.subtitle, style, s.width / 2, s.height - 11 * s.unit, align="centre")


def _courses(s: Scene, dishes: list[str], language: str, y: float, ink: Rgb, strong: Rgb) -> None:
    """Rows of dish, dotted leader and price, in reading direction."""
    margin, rtl = 9 * s.unit, language in RIGHT_TO_LEFT
    chosen = s.dice.some(dishes, min(len(dishes), s.dice.integer(6, 9)))
    step = min(6.6 * s.unit, (s.height - y - 16 * s.unit) / len(chosen))
    size, period = min(2.9 * s.unit, step * 0.5), 1.4 * s.unit
    name = s.body(size, ink, language=language, weight=600)
    cost = s.body(size, strong, language="en", weight=700)
    at, far = (s.width - margin, margin) if rtl else (margin, s.width - margin)
    with s.group("Dishes"):
        for i, dish in enumerate(chosen):
            price, row = words.draw_price(s.dice), y + i * step
            left, right = (cost.width(price), name.width(dish)) if rtl else (name.width(dish), cost.width(price))
            length = round(s.width - 2 * margin - left - right - 2 * s.unit)
            with s.group(f"Dish {i + 1}"):
                s.type(dish, name, at, row, align="right" if rtl else "left", language=language)
                s.type(price, cost, far, row, align="left" if rtl else "right", language="en")
                if length > 4 * s.unit:
                    leader = shapes.dots(length, max(2, round(period)), period, 0.22 * s.unit)
                    s.shape("Leader", leader, ink, margin + left + s.unit, row + size * 0.45, opacity=0.5)


def card(s: Scene) -> None:
    """A business card."""
    base = ground(s)
    decorate(s, base, "slabs", "circles", "lines", "blobs", "halftone")
    ink, strong, margin = s.palette.on(base), s.palette.accent_on(base), 8 * s.unit
    brand = words.draw_brand(s.dice)
    language = s.language
    name = s.dice.pick(words.names(language))
    if language in RIGHT_TO_LEFT:
        x, align = s.width - margin, "right"
    else:
        x, align = margin, "left"
    s.panel(
        "Plate",
        margin * 0.45,
        s.height * 0.42,
        s.width * 0.6 if align == "left" else s.width - 0.9 * margin,
        s.height * 0.5,
        base,
        2 * s.unit,
        opacity=0.8,
    )
    logo(s, brand, margin, margin, 4.6 * s.unit, ink)
    with s.group("Person"):
        s.type(
            name,
            fit(name, s.head(9, ink), s.width * 0.48, most=8 * s.unit),
            x,
            s.height * 0.46,
            align="right" if align == "right" else "left",
        )
        s.type(
            s.dice.pick(words.words("roles", language)[0]),
            s.body(4 * s.unit, strong, weight=600),
            x,
            s.height * 0.605,
            align="right" if align == "right" else "left",
        )
    rule(s, margin, s.height * 0.715, 10 * s.unit, 0.5 * s.unit, strong)
    with s.group("Contact"):
        site = brand.lower().replace(" & ", "").replace(" ", "")
        rows = (
            ("chat", f"hello@{site}.example"),
            ("pin", f"{s.dice.integer(1, 99)} {s.dice.pick(('Harbour', 'Mill', 'Garden', 'Station'))} Street"),
        )
        for i, (icon, text) in enumerate(rows):
            y = s.height * 0.755 + i * 6 * s.unit
            s.icon(icon, 3.2 * s.unit, strong, margin, y + 0.3 * s.unit)
            s.type(text, s.body(3 * s.unit, ink, language="en"), margin + 5 * s.unit, y, language="en")


def _ornaments(s: Scene, colour: Rgb, heart_colour: Rgb) -> None:
    """Round flowers on the corners of the sheet."""
    size = round(s.dice.uniform(24, 42) * s.unit)
    soft = shapes.blurred(shapes.star(size, s.dice.integer(5, 9), s.dice.uniform(0.35, 0.7)), size * 0.03)[0]
    bloom = shapes.blurred(((soft > 120) * 255).astype(np.uint8), 0.8)[0]
    heart = shapes.ellipse(round(size * 0.24), round(size * 0.24))
    with s.group("Ornaments"):
        for i, (cx, cy) in enumerate(((0, 0), (1, 0), (0, 1), (1, 1))):
            if s.dice.chance(0.2):
                continue
            tint, opacity = mix(s.dice.pick(s.palette.accents), colour, 0.25), s.dice.pick((1.0, 0.8))
            for name, mask, ink in ((f"Flower {i + 1}", bloom, tint), (f"Flower heart {i + 1}", heart, heart_colour)):
                x, y = cx * s.width - mask.shape[1] / 2, cy * s.height - mask.shape[0] / 2
                s.shape(name, mask, ink, x, y, opacity=opacity)


def invitation(s: Scene) -> None:
    """A card with a frame, ornaments in the corners and centred type."""
    base = ground(s, s.dice.pick((s.palette.paper, s.palette.paper, s.palette.primary, s.palette.deep)))
    ink, strong = s.palette.on(base), s.palette.accent_on(base, 1.8)
    _ornaments(s, base, strong)
    inset, middle = round(6 * s.unit), s.width / 2
    w, h = s.width - 2 * inset, s.height - 2 * inset
    s.panel("Sheet", inset, inset, w, h, base, 1.5 * s.unit, opacity=0.9)
    for i, step in enumerate((0, round(1.2 * s.unit))):
        thickness = max(1, round((0.4 - 0.2 * i) * s.unit))
        frame = shapes.outline(w - 2 * step, h - 2 * step, 1.5 * s.unit, thickness)
        s.shape(f"Frame {i + 1}", frame, strong, inset + step, inset + step)
    firsts = [name.split(" ")[0] for name in s.dice.some(words.names(s.language), 2)]
    y = s.height * 0.2
    s.type(s.copy.subtitle, fit(s.copy.subtitle, s.body(4, ink), w * 0.74, most=3 * s.unit), middle, y, align="centre")
    y += 7 * s.unit
    style = fit(max(firsts, key=len), s.head(12, strong, weight=600, italic=True), w * 0.6, most=12 * s.unit)
    joint = s.head(style.size * 0.6, ink, language="en", italic=True)
    with s.group("Names"):
        s.type(firsts[0], style, middle, y, align="centre")
        s.type("&", joint, middle, y + style.size * 1.15, align="centre", language="en")
        s.type(firsts[1], style, middle, y + style.size * 1.8, align="centre")
    y = max(y + style.size * 3.2, s.height * 0.72)
    s.latin(words.draw_date(s.dice), 3 * s.unit, ink, middle, y, align="centre", weight=600, tracking=120)
    rule(s, middle - 6 * s.unit, y + 5 * s.unit, 12 * s.unit, max(1, 0.3 * s.unit), strong)
    s.type(s.copy.call, s.body(2.4 * s.unit, s.palette.muted_on(base)), middle, y + 6.5 * s.unit, align="centre")


def cover(s: Scene) -> None:
    """A magazine: masthead over a photograph, cover lines down one side."""
    out = s.reach(0.06)
    s.picture("Cover photo", -out, -out, s.width + 2 * out, s.height + 2 * out)
    scrim(s, (10, 12, 18), 270, 0.6, blend="multiply", start=0.55)
    scrim(s, (10, 12, 18), 90, 0.75, start=0.45)
    margin, paper = 5 * s.unit, s.palette.paper
    name = words.draw_brand(s.dice).split(" ")[0].upper()
    style = fit(name, s.head(20, paper, language="en", weight=900), s.width - 2 * margin, most=30 * s.unit)
    s.type(
        name,
        style,
        s.width / 2,
        3 * s.unit,
        align="centre",
        language="en",
        leading=1.1,
        opacity=s.dice.pick((1.0, 0.92)),
        blend=s.dice.pick(("normal", "screen", "overlay"), (0.7, 0.2, 0.1)),
    )
    issue = f"ISSUE {s.dice.integer(2, 90)}  ·  {words.draw_date(s.dice)[3:]}  ·  {words.draw_price(s.dice)}"
    s.latin(issue, 1.9 * s.unit, paper, margin, 4 * s.unit + style.size * 1.15, weight=600, tracking=60)
    y = s.height * 0.6
    width = s.width * 0.62
    y = title(s, margin, y, width, s.head(9, s.palette.accent_on((20, 22, 28))), most=10, room=s.height * 0.15)
    setting = s.type(s.copy.subtitle, s.body(3.4 * s.unit, paper), margin, y + 0.6 * s.unit, width=width)
    y += setting.height + 3 * s.unit
    with s.group("Cover lines"):
        for _ in range(2):
            other = words.draw_copy(s.dice, s.language)
            if y > s.height - 8 * s.unit:
                break
            bold, plain = s.body(2.5 * s.unit, paper, weight=700), s.body(2.5 * s.unit, paper)
            setting = s.type(
                [(other.title + "  ", bold), (other.subtitle, plain)], None, margin, y, width=width, name=other.title
            )
            y += setting.height + 1.4 * s.unit
    if s.dice.chance(0.6):
        badge(
            s,
            f"{s.dice.integer(20, 99)} tips",
            s.width - 12 * s.unit,
            s.height * s.dice.uniform(0.35, 0.85),
            19 * s.unit,
            s.palette.accent,
        )


def flyer(s: Scene) -> None:
    """A photograph above, a block of colour below, a thing across the two."""
    base = ground(s)
    top = round(s.height * s.dice.uniform(0.42, 0.52))
    out = s.reach(0.08)
    edge = shapes.waves(s.dice, s.width, round(0.12 * s.height), 0.8)[::-1]
    lower = top - round(0.06 * s.height)
    mask = shapes.full(s.width, lower + edge.shape[0])
    mask[lower:] = edge
    s.picture(
        "Photo",
        -out,
        -out,
        s.width + 2 * out,
        top + out + round(0.06 * s.height),
        mask=Mask(Box(0, 0, s.width, mask.shape[0]), mask),
    )
    ink, margin = s.palette.on(base), 7 * s.unit
    thing(s, s.width * 0.56, s.height * 0.52, s.height * 0.34)
    y = title(s, margin, top + 8 * s.unit, s.width * 0.52, s.head(9, ink), most=9, room=s.height * 0.14)
    setting = s.type(
        s.copy.subtitle, s.body(3.3 * s.unit, s.palette.muted_on(base)), margin, y + s.unit, width=s.width * 0.46
    )
    y += setting.height + 4 * s.unit
    with s.group("Facts"):
        for name, text in zip(("bell", "pin", "heart"), details(s), strict=False):
            s.icon(name, 2.8 * s.unit, s.palette.accent_on(base), margin, y)
            s.type(
                text,
                s.body(2.4 * s.unit, ink, language="en", weight=600),
                margin + 4.4 * s.unit,
                y - 0.1 * s.unit,
                language="en",
            )
            y += 4.2 * s.unit
    s.button(s.copy.call, margin, min(y + s.unit, s.height - 10 * s.unit), 2.6 * s.unit, s.palette.accent_on(base))
    logo(
        s,
        words.draw_brand(s.dice),
        s.width - margin,
        4 * s.unit,
        2.8 * s.unit,
        s.palette.paper,
        align="right",
    )


LAYOUTS = {"menu": menu, "card": card, "invitation": invitation, "cover": cover, "flyer": flyer}
SIZES = ((827, 1169), (1050, 600), (875, 1241), (1011, 638), (900, 1275), (1240, 1754), (826, 826), (1748, 2480))
FITS = {
    "menu": (0, 2, 4, 5),
    "card": (1, 3),
    "invitation": (0, 2, 6, 4),
    "cover": (0, 2, 4, 7, 5),
    "flyer": (0, 2, 4, 5),
}
"""The sizes (indices) that a layout is made for."""
