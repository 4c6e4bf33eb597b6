"""User interface layouts: phone, tablet and desktop screens with many small layers."""

from __future__ import annotations

from pipelines.formats.tree import Mask
from pipelines.synth import shapes, words
from pipelines.synth.fonts import script_of
from pipelines.synth.grounds import decorate, ground, scrim
from pipelines.synth.palettes import Palette, Rgb, mix
from pipelines.synth.scene import Scene
from pipelines.synth.text import Align, fit
from pipelines.synth.things import avatar, bars, curve, logo, rule, thing
from schemas.design import LayerKind
from schemas.geometry import Box


def _surface(s: Scene) -> tuple[Rgb, Rgb, Rgb, Palette]:
    """(page, card, ink) of a light or a dark screen, and the palette over it."""
    if s.dice.chance(0.65):
        page, card, ink = mix(s.palette.paper, (244, 246, 250), 0.6), (255, 255, 255), mix(s.palette.deep, (20, 24, 32), 0.4)
    else:
        page, card = mix(s.palette.deep, (14, 16, 22), 0.6), mix(s.palette.deep, (34, 38, 48), 0.5)
        ink = (240, 242, 246)
    return page, card, ink, s.palette.over(page)


def _status(s: Scene, ink: Rgb) -> None:
    size = 0.033 * s.width
    with s.group("Status bar"):
        s.type(f"{s.dice.integer(7, 22)}:{s.dice.integer(10, 59)}", s.body(size, ink, language="en", weight=700), s.width * 0.06, s.height * 0.012, language="en")
        s.panel("Battery", s.width * 0.88, s.height * 0.016, size * 1.8, size * 0.85, ink, size * 0.25, opacity=0.8)
        s.icon("cloud", size * 1.1, ink, s.width * 0.82, s.height * 0.014)


def _tabs(s: Scene, card: Rgb, ink: Rgb, accent: Rgb, labels: list[str], language: str) -> None:
    """The bar at the bottom of a phone screen."""
    high = s.height * 0.095
    top, out = s.height - high, s.reach(0.03)
    names = ("home", "search", "plus", "chat", "user")
    with s.group("Tab bar"):
        mask = shapes.rounded(s.width, round(high) + out, s.width * 0.05)
        s.shadow("Tab bar", mask, 0, top, blur=s.width * 0.025, drop=-s.width * 0.01, opacity=0.14)
        s.shape("Tab bar", mask, card, 0, top)
        for i, name in enumerate(names):
            cx, size = s.width * (i + 0.5) / len(names), s.width * 0.058
            colour = accent if i == 0 else mix(ink, card, 0.45)
            s.icon(name, size, colour, cx - size / 2, top + high * 0.2)
            if i != 2:
                label = labels[(0, 1, 0, 2, 3)[i]]
                s.type(label, fit(label, s.body(9, colour, language=language), s.width * 0.17, most=s.width * 0.026), cx, top + high * 0.6, align="centre", language=language)


def feed(s: Scene) -> None:
    """A phone app: header, stories, cards with photographs, tab bar."""
    page, card, ink, palette = _surface(s)
    accent = palette.accent_on(card)
    labels, language = words.words(words.LABELS, s.language)
    s.fill("Page", page, kind=LayerKind.BACKGROUND)
    w, pad = s.width, s.width * 0.055
    names = words.NAMES[script_of(s.language)].split("|")
    y = s.height * 0.125 + w * 0.16
    with s.group("Stories"):
        for i in range(s.dice.integer(4, 6)):
            cx, size = pad + w * 0.075 + i * w * 0.2, w * 0.15
            s.shape(f"Story ring {i + 1}", shapes.ring(round(size * 1.14), size * 0.035), accent, cx - round(size * 1.14) / 2, y - w * 0.1 - round(size * 1.14) / 2)
            avatar(s, cx, y - w * 0.1, size)
    while y < s.height * 0.9:
        high = w * s.dice.uniform(0.62, 0.8)
        box_w = w - 2 * pad
        with s.group("Card"):
            s.card("Card", pad, y, box_w, high, card, w * 0.035, lift=0.8)
            inside = shapes.rounded(round(box_w), round(high * 0.6), w * 0.035)
            copy = words.draw_copy(s.dice, s.language)
            s.picture("Card photo", pad, y, box_w, high * 0.6, cover=inside, scene=s.dice.pick(words.THEMES[copy.theme]))
            avatar(s, pad + w * 0.065, y + high * 0.75, w * 0.085)
            s.type(copy.title, fit(copy.title, s.head(10, ink), box_w * 0.62, most=w * 0.043), pad + w * 0.13, y + high * 0.66)
            s.type(s.dice.pick(names), s.body(w * 0.03, mix(ink, card, 0.4)), pad + w * 0.13, y + high * 0.8)
            s.icon("heart", w * 0.055, accent, pad + box_w - w * 0.09, y + high * 0.7)
        y += high + pad * 0.8
    with s.group("Header"):
        s.panel("Header", 0, 0, w, s.height * 0.105, card)
        s.type(s.dice.pick(words.BRANDS.split("|")), s.head(w * 0.062, ink, language="en"), pad, s.height * 0.043, language="en")
        s.icon("bell", w * 0.06, ink, w - pad - w * 0.06, s.height * 0.052)
        s.shape("Dot", shapes.ellipse(round(w * 0.026), round(w * 0.026)), accent, w - pad - w * 0.02, s.height * 0.05)
    _status(s, ink)
    _tabs(s, card, ink, accent, labels, language)


def dashboard(s: Scene) -> None:
    """A desktop dashboard: sidebar, figures, charts, a list."""
    page, card, ink, palette = _surface(s)
    accent, second = palette.accent_on(card), s.palette.secondary
    labels, language = words.words(words.LABELS, s.language)
    s.fill("Page", page, kind=LayerKind.BACKGROUND)
    w, h, u = s.width, s.height, s.height / 100
    side = w * 0.19
    quiet = mix(ink, card, 0.45)
    with s.group("Sidebar"):
        colour = s.palette.deep if page != s.palette.deep and s.dice.chance(0.5) else card
        s.panel("Sidebar", 0, 0, side, h, colour)
        logo(s, s.dice.pick(words.BRANDS.split("|")), 3 * u, 4 * u, 2.7 * u, s.palette.on(colour))
        icons = ("home", "chart", "cart", "user", "chat", "gear")
        for i, name in enumerate(icons):
            y = 15 * u + i * 6.6 * u
            tone = s.palette.on(colour) if i == 0 else mix(s.palette.on(colour), colour, 0.35)
            if i == 0:
                s.panel("Selected", 1.5 * u, y - 1.6 * u, side - 3 * u, 5.4 * u, accent, 1.2 * u, opacity=0.25)
            s.icon(name, 2.6 * u, tone, 3.2 * u, y - 0.2 * u)
            label = labels[(8, 5, 7, 3, 2, 4)[i]]
            s.type(label, fit(label, s.body(9, tone, language=language, weight=600), side - 10 * u, most=2.1 * u), 7.5 * u, y - 0.2 * u, language=language)
    x, pad = side + 3 * u, 2.4 * u
    with s.group("Top bar"):
        s.type(labels[8], s.head(4 * u, ink, language=language), x, 3 * u, language=language)
        s.panel("Search field", w - 44 * u, 3.2 * u, 28 * u, 5 * u, card, 2.5 * u)
        s.icon("search", 2.2 * u, quiet, w - 42.5 * u, 4.6 * u)
        s.type(labels[1], s.body(2 * u, quiet, language=language), w - 38.5 * u, 4.4 * u, language=language)
        avatar(s, w - 6 * u, 5.7 * u, 5.6 * u)
    inner = w - x - 3 * u
    with s.group("Figures"):
        for i in range(3):
            cw = (inner - 2 * pad) / 3
            cx, cy = x + i * (cw + pad), 12 * u
            with s.group(f"Figure {labels[5 + i]}"):
                s.card("Figure", cx, cy, cw, 17 * u, card, 1.6 * u, lift=0.7)
                s.type(labels[5 + i], s.body(2.1 * u, quiet, language=language), cx + 2 * u, cy + 2 * u, language=language)
                s.type(f"{s.dice.integer(1, 98)},{s.dice.integer(100, 999)}", s.head(4.4 * u, ink, language="en"), cx + 2 * u, cy + 5 * u, language="en")
                up = s.dice.chance(0.7)
                s.type(f"{'+' if up else '-'}{s.dice.integer(1, 24)}%", s.body(2 * u, (34, 160, 96) if up else (214, 64, 64), language="en", weight=700), cx + 2 * u, cy + 12 * u, language="en")
                curve(s, cx + cw * 0.52, cy + 6 * u, cw * 0.4, 8 * u, s.palette.accents[i])
    with s.group("Charts"):
        s.card("Chart", x, 32 * u, inner * 0.62, 40 * u, card, 1.6 * u, lift=0.7)
        s.type(labels[12], s.head(2.8 * u, ink, language=language), x + 2.4 * u, 34 * u, language=language)
        for i in range(4):
            rule(s, x + 2.4 * u, 42 * u + i * 8 * u, inner * 0.62 - 5 * u, max(1, 0.15 * u), quiet, opacity=0.3)
        (curve if s.dice.chance(0.5) else lambda *a: bars(*a[:5], s.dice.integer(7, 12), a[5]))(s, x + 3 * u, 41 * u, inner * 0.62 - 6 * u, 28 * u, accent)
        rx, size = x + inner * 0.62 + pad, round(min(24 * u, inner * 0.3))
        s.card("Share", rx, 32 * u, inner * 0.38 - pad, 40 * u, card, 1.6 * u, lift=0.7)
        s.type(labels[15], s.head(2.8 * u, ink, language=language), rx + 2.4 * u, 34 * u, language=language)
        cx = rx + (inner * 0.38 - pad - size) / 2
        s.shape("Ring", shapes.ring(size, size * 0.16), mix(accent, card, 0.75), cx, 43 * u)
        part = s.dice.uniform(0.3, 0.8)
        wedge = shapes.ring(size, size * 0.16).copy()
        wedge[round(size * part):] = 0
        s.shape("Ring share", wedge, second, cx, 43 * u)
        s.type(f"{round(part * 100)}%", s.head(4.4 * u, ink, language="en"), cx + size / 2, 43 * u + size / 2 - 2.7 * u, align="centre", language="en")
    names = words.NAMES[script_of(s.language)].split("|")
    with s.group("List"):
        s.card("List", x, 75 * u, inner, 22 * u + s.reach(0.06), card, 1.6 * u, lift=0.7)
        for i in range(3):
            y = 79.5 * u + i * 7 * u
            avatar(s, x + 4.5 * u, y + 1.2 * u, 4.4 * u)
            s.type(names[i % len(names)], s.body(2.2 * u, ink, weight=600), x + 9 * u, y - 0.2 * u, width=inner * 0.4 if script_of(s.language) in ("arabic", "hebrew") else None)
            s.type(words.draw_price(s.dice), s.body(2.2 * u, quiet, language="en"), x + inner - 3 * u, y - 0.2 * u, align="right", language="en")


def landing(s: Scene) -> None:
    """A home page: navigation, hero with product, three features."""
    page, _, ink, palette = _surface(s)
    base = ground(s, page)
    decorate(s, base, "blobs", "circles", "waves", "halftone")
    labels, language = words.words(words.LABELS, s.language)
    accent, u, w = palette.accent_on(base), s.height / 100, s.width
    margin = w * 0.06
    with s.group("Navigation"):
        logo(s, s.dice.pick(words.BRANDS.split("|")), margin, 4 * u, 2.8 * u, ink)
        x = w - margin
        for label in labels[:4]:
            style = s.body(2 * u, ink, language=language, weight=600)
            s.type(label, style, x, 4.3 * u, align="right", language=language)
            x -= style.width(label) + 4 * u
    size = min(52 * u, w * 0.4)
    thing(s, w * 0.76 - size * 0.3, 40 * u - size * 0.42, size)
    with s.group("Hero"):
        width = w * 0.5
        style = fit(s.copy.title, s.head(10, ink), width, most=10 * u)
        s.type(s.copy.title, style, margin, 22 * u, leading=1.1)
        setting = s.type(s.copy.subtitle, s.body(3 * u, mix(ink, base, 0.3)), margin, 23 * u + style.size * 1.2, width=width)
        y = 23 * u + style.size * 1.2 + setting.height + 3 * u
        box = s.button(s.copy.call, margin, y, 2.4 * u, accent)
        style = s.body(2.4 * u, ink, language=language, weight=600)
        s.type(labels[14], style, box.x1 + 3 * u, y + 1.2 * u, language=language)
        s.icon("arrow", 2.4 * u, ink, box.x1 + 4 * u + style.width(labels[14]), y + 1.5 * u)
    count = 3 if w > s.height * 0.8 else 2
    gap = 3 * u
    cw = (w - 2 * margin - gap * (count - 1)) / count
    with s.group("Features"):
        for i, name in enumerate(s.dice.some(("bolt", "heart", "chart", "leaf", "star", "drop", "sun"), count)):
            x, y = margin + i * (cw + gap), 74 * u
            with s.group(f"Feature {name}"):
                card = mix(base, (255, 255, 255), 0.6 if ink != (240, 242, 246) else 0.08)
                s.card("Feature", x, y, cw, 21 * u, card, 1.8 * u, lift=0.8)
                s.panel("Icon ground", x + 2.2 * u, y + 2.4 * u, 6 * u, 6 * u, s.palette.accents[i], 1.6 * u)
                s.icon(name, 3.4 * u, s.palette.on(s.palette.accents[i]), x + 3.5 * u, y + 3.7 * u)
                copy = words.draw_copy(s.dice, s.language)
                s.type(copy.title, fit(copy.title, s.head(9, ink), cw - 5 * u, most=2.8 * u), x + 2.4 * u, y + 10 * u)
                s.type(copy.subtitle, s.body(1.9 * u, mix(ink, card, 0.35)), x + 2.4 * u, y + 14 * u, width=cw - 5 * u)


def player(s: Scene) -> None:
    """A music player or a weather card over a photograph."""
    out = s.reach(0.12)
    s.picture("Backdrop", -out, -out, s.width + 2 * out, s.height + 2 * out)
    scrim(s, mix(s.palette.deep, (0, 0, 0), 0.4), 90, 0.85, start=0.0)
    ink, accent, w = (255, 255, 255), s.palette.accent_on((30, 30, 34)), min(s.width, s.height * 0.62)
    left, labels = (s.width - w) / 2, words.words(words.LABELS, s.language)
    _status(s, ink)
    side = w * 0.74
    x, y = left + (w - side) / 2, s.height * 0.12
    with s.group("Cover"):
        mask = shapes.rounded(round(side), round(side), w * 0.05)
        s.shadow("Cover", mask, x, y, blur=w * 0.04, drop=w * 0.035, opacity=0.5)
        box = Box(round(x), round(y), round(x) + round(side), round(y) + round(side))
        s.picture("Cover art", x, y, side, side, mask=Mask(box, mask), scene=s.dice.pick(("spheres", "dunes", "bokeh", "sea")))
    below = y + side + s.height * 0.03
    s.type(s.copy.title, fit(s.copy.title, s.head(10, ink), side, most=w * 0.085), s.width / 2, below, align="centre")
    s.type(s.dice.pick(words.NAMES[script_of(s.language)].split("|")), s.body(w * 0.042, ink), s.width / 2, below + w * 0.12, align="centre", opacity=0.75)
    track = below + w * 0.24
    done = s.dice.uniform(0.2, 0.8)
    with s.group("Progress", opacity=0.95):
        s.panel("Track", x, track, side, w * 0.014, ink, w * 0.007, opacity=0.35)
        s.panel("Played", x, track, side * done, w * 0.014, accent, w * 0.007)
        knob = round(w * 0.042)
        s.shape("Knob", shapes.ellipse(knob, knob), ink, x + side * done - knob / 2, track - knob / 2 + w * 0.007)
        for text, at, align in ((f"{s.dice.integer(0, 2)}:{s.dice.integer(10, 59)}", x, "left"), (f"{s.dice.integer(3, 6)}:{s.dice.integer(10, 59)}", x + side, "right")):
            side_of: Align = "left" if align == "left" else "right"
            s.type(text, s.body(w * 0.032, ink, language="en"), at, track + w * 0.035, align=side_of, language="en", opacity=0.7)
    cy = track + w * 0.2
    with s.group("Controls"):
        big = round(w * 0.18)
        s.shadow("Play", shapes.ellipse(big, big), s.width / 2 - big / 2, cy - big / 2, blur=w * 0.02, drop=w * 0.012)
        s.shape("Play ground", shapes.ellipse(big, big), accent, s.width / 2 - big / 2, cy - big / 2)
        s.icon(s.dice.pick(("play", "pause")), w * 0.075, s.palette.on(accent), s.width / 2 - w * 0.0375, cy - w * 0.0375)
        for name, at in (("heart", -0.3), ("note", -0.17), ("arrow", 0.12), ("plus", 0.25)):
            s.icon(name, w * 0.055, ink, s.width / 2 + at * w, cy - w * 0.0275, opacity=0.85)
    if s.height - cy > w * 0.3:
        s.panel("Sheet", left + w * 0.05, s.height * 0.93, w * 0.9, s.height * 0.1 + s.reach(0.02), ink, w * 0.05, opacity=0.16)
        s.type(labels[0][13], s.body(w * 0.036, ink, language=labels[1], weight=600), s.width / 2, s.height * 0.945, align="centre", language=labels[1])


LAYOUTS = {"feed": feed, "dashboard": dashboard, "landing": landing, "player": player}
SIZES = ((390, 844), (1200, 760), (1120, 800), (412, 892), (768, 1024), (1024, 720), (480, 854), (1200, 860))
FITS = {"feed": (0, 3, 6, 4), "dashboard": (1, 2, 5, 7), "landing": (1, 2, 5, 7, 4), "player": (0, 3, 6, 4)}
"""The sizes (indices) that a layout is made for."""
