"""Layouts of social posts: square, portrait and story."""

from __future__ import annotations

from pipelines.synth import shapes, words
from pipelines.synth.grounds import confetti, decorate, ground, scrim
from pipelines.synth.palettes import WHITE, mix
from pipelines.synth.posters import details, title
from pipelines.synth.scene import Scene
from pipelines.synth.text import fit
from pipelines.synth.things import avatar, badge, logo, rule, thing


def quote(s: Scene) -> None:
    """A saying with large marks and its author."""
    base = ground(s)
    decorate(s, base)
    text, language = words.words("quotes", s.language)
    saying, ink, margin = s.dice.pick(text), s.palette.on(base), 10 * s.unit
    inset, around = 5 * s.unit, s.palette.on(base)
    if s.dice.chance(0.6):
        base, ink = s.palette.paper, s.palette.deep
        radius = s.dice.pick((0, 3, 6)) * s.unit
        with s.group("Card"):
            s.card("Card", inset, s.height * 0.16, s.width - 2 * inset, s.height * 0.68, base, radius, lift=1.6)
    mark, faint = s.head(34 * s.unit, s.palette.accent_on(base, 1.5), language="en"), s.dice.pick((1.0, 0.5))
    s.type("“", mark, margin - 2 * s.unit, s.height * 0.15, language="en", leading=1.0, opacity=faint)
    style, top = s.head(7.4 * s.unit, ink, language=language, italic=s.dice.chance(0.5), weight=600), s.height * 0.36
    setting = s.type(saying, style, margin, top, width=s.width - 2 * margin, leading=1.22, language=language)
    y = min(top + setting.height + 6 * s.unit, s.height * 0.74)
    avatar(s, margin + 4 * s.unit, y + 2 * s.unit, 8 * s.unit)
    name, bold = s.dice.pick(words.names(language)), s.body(2.9 * s.unit, ink, language=language, weight=700)
    s.type(name, bold, margin + 10 * s.unit, y + 0.2 * s.unit, language=language)
    if s.dice.chance(0.5):
        logo(s, words.draw_brand(s.dice), s.width / 2, s.height * 0.91, 2.4 * s.unit, around, align="centre")


def sale(s: Scene) -> None:
    """A big number, a product, a ribbon."""
    base = ground(s, s.dice.pick((s.palette.primary, s.palette.secondary, s.palette.accent, s.palette.deep)))
    decorate(s, base, "burst", "circles", "slabs", "halftone")
    ink, strong = s.palette.on(base), s.palette.accent_on(base)
    margin = 7 * s.unit
    off = f"{s.dice.integer(2, 7)}0%"
    if s.dice.chance(0.55):
        size = min(s.height * 0.5, s.width * 0.6)
        thing(s, s.width * 0.56, s.height * 0.42, size)
    with s.group("Offer"):
        y = title(s, margin, s.height * 0.07, s.width - 2 * margin, s.head(9, ink), most=13, room=s.height * 0.2)
        number = s.head(30 * s.unit, strong, language="en", weight=900)
        runs = [("-", number.sized(18 * s.unit)), (off, number)]
        setting = s.type(runs, None, margin, y, leading=1.05, language="en", name=f"Discount {off}")
        y += setting.height
    s.type(s.copy.subtitle, s.body(3.8 * s.unit, ink), margin, y + s.unit, width=s.width * 0.55)
    s.button(s.copy.call, margin, s.height * 0.84, 3.4 * s.unit, s.palette.on(base) if strong == ink else strong)
    confetti(s, s.dice.integer(5, 22))


def collage(s: Scene) -> None:
    """Three or four photographs in rounded windows around a label."""
    base = ground(s)
    gap, rows = 2 * s.unit, 2
    columns = 2
    w, h = (s.width - gap * (columns + 1)) / columns, (s.height - gap * (rows + 1)) / rows
    radius, merged = s.dice.pick((0, 2, 4)) * s.unit, s.dice.integer(0, 2)
    scenes = s.dice.some(words.scenes(s.copy.theme), 4)
    boxes = [(gap, gap, w, h), (gap * 2 + w, gap, w, h), (gap, gap * 2 + h, w, h), (gap * 2 + w, gap * 2 + h, w, h)]
    if merged:
        x, y, _, h0 = boxes[0] if merged == 1 else boxes[2]
        boxes = [(x, y, 2 * w + gap, h0), *(boxes[2:] if merged == 1 else boxes[:2])]
    out = s.reach(0.05)
    with s.group("Photos"):
        for i, (x, y, wide, high) in enumerate(boxes):
            window = shapes.rounded(round(wide), round(high), radius)
            s.shape(f"Window {i + 1}", window, s.palette.accent, x, y)
            s.picture(f"Photo {i + 1}", x - out, y - out, wide + 2 * out, high + 2 * out, scene=scenes[i], clipped=True)
    style = fit(s.copy.title, s.head(8, s.palette.deep), s.width * 0.62, most=9 * s.unit)
    wide, high = style.width(s.copy.title) + 8 * s.unit, style.size * 1.25 + 9 * s.unit
    x, y = (s.width - wide) / 2, (s.height - high) / 2
    with s.group("Label"):
        s.card("Label", x, y, wide, high, s.palette.paper, s.dice.pick((0, 2)) * s.unit)
        s.type(s.copy.title, style, s.width / 2, y + 2 * s.unit, align="centre")
        small = fit(
            s.copy.subtitle, s.body(3, s.palette.accent_on(s.palette.paper)), wide - 5 * s.unit, most=2.8 * s.unit
        )
        s.type(s.copy.subtitle, small, s.width / 2, y + high - 5.5 * s.unit, align="centre")
    if base != s.palette.paper and s.dice.chance(0.5):
        badge(s, "NEW", s.width - 9 * s.unit, 9 * s.unit, 17 * s.unit, s.palette.accent)


def story(s: Scene) -> None:
    """A photograph under a frame with the event's facts."""
    out = s.reach(0.1)
    s.picture("Photo", -out, -out, s.width + 2 * out, s.height + 2 * out)
    tone, blend = mix(s.palette.primary, (0, 0, 0), 0.55), s.dice.pick(("normal", "multiply"))
    scrim(s, tone, s.dice.pick((90, 90, 60)), 0.92, blend=blend, start=0.15)
    scrim(s, (0, 0, 0), 270, 0.5, start=0.7)
    inset = round(4 * s.unit)
    frame = shapes.outline(
        s.width - 2 * inset, s.height - 2 * inset, s.dice.pick((0, 3)) * s.unit, max(1, round(0.35 * s.unit))
    )
    s.shape("Frame", frame, WHITE, inset, inset, opacity=0.7)
    margin, paper, middle = inset + 5 * s.unit, s.palette.paper, s.width / 2
    wide, style = s.width - 2 * margin, s.head(9, paper)
    y = title(s, margin, s.height * 0.52, wide, style, align="centre", most=12, room=s.height * 0.18)
    small = s.body(3.7 * s.unit, paper)
    y += s.type(s.copy.subtitle, small, margin, y + s.unit, width=wide, align="centre").height + 3 * s.unit
    date, hour, *_ = details(s)
    with s.group("Facts", opacity=0.95):
        s.icon("pin", 3.2 * s.unit, s.palette.accent_on((30, 30, 30)), middle - 13 * s.unit, y)
        s.latin(f"{date}, {hour}", 2.8 * s.unit, paper, middle - 8 * s.unit, y, weight=700)
    y = min(y + 7 * s.unit, s.height - inset - 11 * s.unit)
    s.button(s.copy.call, middle, y, 3 * s.unit, s.palette.accent, align="centre")
    logo(s, words.draw_brand(s.dice), middle, inset + 4 * s.unit, 2.8 * s.unit, paper, align="centre")


def profile(s: Scene) -> None:
    """A person, a title, three facts: for talks and classes."""
    base = ground(s)
    decorate(s, base, "circles", "blobs", "lines", "waves")
    ink, margin = s.palette.on(base), 8 * s.unit
    side = min(s.width * 0.42, s.height * 0.4)
    hole = shapes.ellipse(round(side), round(side))
    x, y = s.width - side - margin * 0.6, s.height * 0.08
    s.shape(
        "Halo",
        shapes.ring(round(side * 1.12), side * 0.03),
        s.palette.accent_on(base),
        x - side * 0.06,
        y - side * 0.06,
    )
    s.picture("Portrait ground", x, y, side, side, cover=hole, scene=s.dice.pick(("bokeh", "spheres")))
    avatar(s, x + side / 2, y + side / 2, side * 0.82)
    y = title(
        s,
        margin,
        max(s.height * 0.5, y + side + 3 * s.unit),
        s.width - 2 * margin,
        s.head(9, ink),
        most=11,
        room=s.height * 0.16,
    )
    rule(s, margin, y + s.unit, 10 * s.unit, 0.6 * s.unit, s.palette.accent_on(base))
    setting = s.type(
        s.copy.subtitle,
        s.body(3.5 * s.unit, s.palette.muted_on(base)),
        margin,
        y + 3 * s.unit,
        width=s.width - 2 * margin,
    )
    y += setting.height + 5 * s.unit
    with s.group("Facts"):
        for name, text in zip(("bell", "pin", "star"), details(s), strict=False):
            s.icon(name, 3 * s.unit, s.palette.accent_on(base), margin, y)
            s.type(text, s.body(2.5 * s.unit, ink, language="en", weight=600), margin + 4.5 * s.unit, y, language="en")
            y += 4.4 * s.unit


LAYOUTS = {"quote": quote, "sale": sale, "collage": collage, "story": story, "profile": profile}
SIZES = ((800, 800), (720, 900), (640, 1136), (900, 900), (600, 750), (680, 680), (540, 960), (1000, 1000))
