"""Desktop screens: a dashboard and a home page. ``u`` is a hundredth of the height."""

from __future__ import annotations

from pipelines.synth import shapes, words
from pipelines.synth.grounds import decorate, ground
from pipelines.synth.palettes import Rgb, mix
from pipelines.synth.scene import Scene
from pipelines.synth.surfaces import Surface, surface
from pipelines.synth.text import RIGHT_TO_LEFT, fit
from pipelines.synth.things import avatar, bars, curve, logo, rule, thing
from schemas.design import LayerKind


def dashboard(s: Scene) -> None:
    """A sidebar, figures, charts, a list."""
    look = surface(s, *words.words("labels", s.language))
    s.fill("Page", look.page, kind=LayerKind.BACKGROUND)
    u, side = s.height / 100, s.width * s.dice.uniform(0.16, 0.24)
    _sidebar(s, look, side)
    x, inner = side + 3 * u, s.width - side - 6 * u
    _top_bar(s, look, x)
    with s.group("Figures"):
        width = (inner - 4.8 * u) / 3
        for i in range(3):
            _figure(s, look, x + i * (width + 2.4 * u), 12 * u, width, i)
    with s.group("Charts"):
        part, swapped = s.dice.uniform(0.5, 0.68), s.dice.chance(0.5)
        chart, share = inner * part - 1.2 * u, inner * (1 - part) - 1.2 * u
        _chart(s, look, x + (share + 2.4 * u if swapped else 0), chart)
        _share(s, look, x if swapped else x + chart + 2.4 * u, share)
    _people(s, look, x, inner)


def _sidebar(s: Scene, look: Surface, side: float) -> None:
    u = s.height / 100
    with s.group("Sidebar"):
        colour = s.palette.deep if not look.dark and s.dice.chance(0.5) else look.card
        s.panel("Sidebar", 0, 0, side, s.height, colour)
        logo(s, words.draw_brand(s.dice), 3 * u, 4 * u, 2.7 * u, s.palette.on(colour))
        s.panel("Selected", 1.5 * u, 13.4 * u, side - 3 * u, 5.4 * u, look.accent, 1.2 * u, opacity=0.25)
        for i, name in enumerate(("home", "chart", "cart", "gear")):
            y = 15 * u + i * 6.6 * u
            tone = s.palette.on(colour) if i == 0 else mix(s.palette.on(colour), colour, 0.35)
            s.icon(name, 2.6 * u, tone, 3.2 * u, y - 0.2 * u)
            label = look.labels[(8, 5, 7, 4)[i]]
            style = fit(label, s.body(9, tone, language=look.language, weight=600), side - 10 * u, most=2.1 * u)
            s.type(label, style, 7.5 * u, y - 0.2 * u, language=look.language)


def _top_bar(s: Scene, look: Surface, x: float) -> None:
    u, w, language = s.height / 100, s.width, look.language
    with s.group("Top bar"):
        s.type(look.labels[8], s.head(4 * u, look.ink, language=language), x, 3 * u, language=language)
        s.panel("Search field", w - 44 * u, 3.2 * u, 28 * u, 5 * u, look.card, 2.5 * u)
        s.icon("search", 2.2 * u, look.quiet, w - 42.5 * u, 4.6 * u)
        s.type(look.labels[1], s.body(2 * u, look.quiet, language=language), w - 38.5 * u, 4.4 * u, language=language)
        avatar(s, w - 6 * u, 5.7 * u, 5.6 * u)


def _figure(s: Scene, look: Surface, x: float, y: float, width: float, i: int) -> None:
    """One number with its change and a small line."""
    u, label = s.height / 100, look.labels[5 + i]
    with s.group(f"Figure {label}"):
        s.panel("Figure", x, y, width, 17 * u, look.card, 1.6 * u)
        s.type(label, s.body(2.1 * u, look.quiet, language=look.language), x + 2 * u, y + 2 * u, language=look.language)
        number = f"{s.dice.integer(1, 98)},{s.dice.integer(100, 999)}"
        s.type(number, s.head(4.4 * u, look.ink, language="en"), x + 2 * u, y + 5 * u, language="en")
        up = s.dice.chance(0.7)
        change, colour = f"{'+' if up else '-'}{s.dice.integer(1, 24)}%", (34, 160, 96) if up else (214, 64, 64)
        s.latin(change, 2 * u, colour, x + 2 * u, y + 12 * u, weight=700)
        curve(s, x + width * 0.52, y + 6 * u, width * 0.4, 8 * u, s.palette.accents[i])


def _chart(s: Scene, look: Surface, x: float, width: float) -> None:
    u, language = s.height / 100, look.language
    s.card("Chart", x, 32 * u, width, 40 * u, look.card, 1.6 * u, lift=0.7)
    s.type(look.labels[12], s.head(2.8 * u, look.ink, language=language), x + 2.4 * u, 34 * u, language=language)
    with s.merged("Grid", kind=LayerKind.SHAPE):
        for i in range(4):
            rule(s, x + 2.4 * u, 42 * u + i * 8 * u, width - 5 * u, max(1, 0.15 * u), look.quiet, opacity=0.3)
    if s.dice.chance(0.5):
        curve(s, x + 3 * u, 41 * u, width - 6 * u, 28 * u, look.accent)
    else:
        bars(s, x + 3 * u, 41 * u, width - 6 * u, 28 * u, s.dice.integer(7, 12), look.accent)


def _share(s: Scene, look: Surface, x: float, width: float) -> None:
    """A ring with a share of it filled."""
    u, language, size = s.height / 100, look.language, round(min(24 * s.height / 100, width * 0.8))
    s.card("Share", x, 32 * u, width, 40 * u, look.card, 1.6 * u, lift=0.7)
    s.type(look.labels[15], s.head(2.8 * u, look.ink, language=language), x + 2.4 * u, 34 * u, language=language)
    left, top, part = x + (width - size) / 2, 43 * u, s.dice.uniform(0.3, 0.8)
    ring = shapes.ring(size, size * 0.16)
    s.shape("Ring", ring, mix(look.accent, look.card, 0.75), left, top)
    filled = ring.copy()
    filled[: round(size * (1 - part))] = 0
    s.shape("Ring share", filled, s.palette.secondary, left, top)
    number = s.head(4.4 * u, look.ink, language="en")
    s.type(f"{round(part * 100)}%", number, left + size / 2, top + size / 2 - 2.7 * u, align="centre", language="en")


def _people(s: Scene, look: Surface, x: float, width: float) -> None:
    """The list at the bottom, which may run out of the screen."""
    u, names = s.height / 100, words.names(s.language)
    wide = width * 0.4 if s.language in RIGHT_TO_LEFT else None
    with s.group("List"):
        s.card("List", x, 75 * u, width, 22 * u + s.reach(0.06), look.card, 1.6 * u, lift=0.7)
        for i in range(3):
            y = 79.3 * u + i * 7 * u
            avatar(s, x + 4.5 * u, y + 1.4 * u, 4.4 * u)
            s.type(names[i % len(names)], s.body(2.2 * u, look.ink, weight=600), x + 9 * u, y, width=wide)
            s.latin(words.draw_price(s.dice), 2.2 * u, look.quiet, x + width - 3 * u, y, align="right")


def landing(s: Scene) -> None:
    """A home page: navigation, hero with product, three features."""
    look = surface(s, *words.words("labels", s.language))
    base, ink = ground(s, look.page), look.ink
    decorate(s, base, "blobs", "circles", "waves", "halftone")
    labels, language, accent, u, w = look.labels, look.language, look.accent, s.height / 100, s.width
    margin = w * 0.06
    with s.group("Navigation"):
        logo(s, words.draw_brand(s.dice), margin, 4 * u, 2.8 * u, ink)
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
        setting = s.type(
            s.copy.subtitle, s.body(3 * u, mix(ink, base, 0.3)), margin, 23 * u + style.size * 1.2, width=width
        )
        y = 23 * u + style.size * 1.2 + setting.height + 3 * u
        box = s.button(s.copy.call, margin, y, 2.4 * u, accent)
        style = s.body(2.4 * u, ink, language=language, weight=600)
        s.type(labels[14], style, box.x1 + 3 * u, y + 1.2 * u, language=language)
        s.icon("arrow", 2.4 * u, ink, box.x1 + 4 * u + style.width(labels[14]), y + 1.5 * u)
    _features(s, look, base, margin)


def _features(s: Scene, look: Surface, base: Rgb, margin: float) -> None:
    u, w, ink = s.height / 100, s.width, look.ink
    count = 3 if w > s.height * 0.8 else 2
    gap = 3 * u
    cw = (w - 2 * margin - gap * (count - 1)) / count
    with s.group("Features"):
        for i, name in enumerate(s.dice.some(("bolt", "heart", "chart", "leaf", "star", "drop", "sun"), count)):
            x, y = margin + i * (cw + gap), 74 * u
            with s.group(f"Feature {name}"):
                card = mix(base, (255, 255, 255), 0.08 if look.dark else 0.6)
                s.card("Feature", x, y, cw, 21 * u, card, 1.8 * u, lift=0.8)
                s.panel("Icon ground", x + 2.2 * u, y + 2.4 * u, 6 * u, 6 * u, s.palette.accents[i], 1.6 * u)
                s.icon(name, 3.4 * u, s.palette.on(s.palette.accents[i]), x + 3.5 * u, y + 3.7 * u)
                copy = words.draw_copy(s.dice, s.language)
                s.type(copy.title, fit(copy.title, s.head(9, ink), cw - 5 * u, most=2.8 * u), x + 2.4 * u, y + 10 * u)
                s.type(copy.subtitle, s.body(1.9 * u, mix(ink, card, 0.35)), x + 2.4 * u, y + 14 * u, width=cw - 5 * u)
