"""Phone screens: a feed and a player."""

from __future__ import annotations

from pipelines.formats.tree import Mask
from pipelines.synth import shapes, words
from pipelines.synth.grounds import scrim
from pipelines.synth.palettes import WHITE, Rgb, mix
from pipelines.synth.scene import Scene
from pipelines.synth.surfaces import Surface, surface
from pipelines.synth.text import fit
from pipelines.synth.things import avatar
from schemas.design import LayerKind
from schemas.geometry import Box


def _status(s: Scene, ink: Rgb) -> None:
    size = 0.033 * s.width
    with s.group("Status bar"):
        clock = f"{s.dice.integer(7, 22)}:{s.dice.integer(10, 59)}"
        s.latin(clock, size, ink, s.width * 0.06, s.height * 0.012, weight=700)
        s.panel("Battery", s.width * 0.88, s.height * 0.016, size * 1.8, size * 0.85, ink, size * 0.25, opacity=0.8)
        s.icon("cloud", size * 1.1, ink, s.width * 0.82, s.height * 0.014)


def _tabs(s: Scene, look: Surface) -> None:
    """The bar at the bottom of a phone screen."""
    card, language = look.card, look.language
    high = s.height * 0.095
    top, out = s.height - high, s.reach(0.03)
    names = ("home", "search", "plus", "chat", "user")
    with s.group("Tab bar"):
        mask = shapes.rounded(s.width, round(high) + out, s.width * 0.05)
        raised = s.shadow("Tab bar", mask, 0, top, blur=s.width * 0.025, drop=-s.width * 0.01, opacity=0.14)
        s.shape("Tab bar", mask, card, 0, top, style=raised)
        for i, name in enumerate(names):
            cx, size = s.width * (i + 0.5) / len(names), s.width * 0.058
            colour = look.accent if i == 0 else look.quiet
            s.icon(name, size, colour, cx - size / 2, top + high * 0.2)
            if i != 2:
                label = look.labels[(0, 1, 0, 2, 3)[i]]
                s.type(
                    label,
                    fit(label, s.body(9, colour, language=language), s.width * 0.17, most=s.width * 0.026),
                    cx,
                    top + high * 0.6,
                    align="centre",
                    language=language,
                )


def feed(s: Scene) -> None:
    """A phone app: header, stories, cards with photographs, tab bar."""
    look = surface(s, *words.words("labels", s.language))
    s.fill("Page", look.page, kind=LayerKind.BACKGROUND)
    pad, y = s.width * 0.055, s.height * 0.125 + s.width * 0.16
    _stories(s, look, pad, y)
    while y < s.height * 0.9:
        high = s.width * s.dice.uniform(0.62, 0.8)
        _post(s, look, pad, y, high)
        y += high + pad * 0.8
    _header(s, look, pad)
    _status(s, look.ink)
    _tabs(s, look)


def _stories(s: Scene, look: Surface, pad: float, y: float) -> None:
    w = s.width
    with s.group("Stories"):
        for i in range(s.dice.integer(4, 6)):
            cx, size = pad + w * 0.075 + i * w * 0.2, w * 0.15
            s.shape(
                f"Story ring {i + 1}",
                shapes.ring(round(size * 1.14), size * 0.035),
                look.accent,
                cx - round(size * 1.14) / 2,
                y - w * 0.1 - round(size * 1.14) / 2,
            )
            avatar(s, cx, y - w * 0.1, size)


def _post(s: Scene, look: Surface, pad: float, y: float, high: float) -> None:
    """A card with a photograph, its title and its author."""
    w, box_w, ink, card = s.width, s.width - 2 * pad, look.ink, look.card
    with s.group("Card"):
        s.card("Card", pad, y, box_w, high, card, w * 0.035, lift=0.8)
        inside = shapes.rounded(round(box_w), round(high * 0.6), w * 0.035)
        copy = words.draw_copy(s.dice, s.language)
        s.picture("Card photo", pad, y, box_w, high * 0.6, cover=inside, scene=s.dice.pick(words.scenes(copy.theme)))
        avatar(s, pad + w * 0.065, y + high * 0.75, w * 0.085)
        s.type(
            copy.title,
            fit(copy.title, s.head(10, ink), box_w * 0.62, most=w * 0.043),
            pad + w * 0.13,
            y + high * 0.66,
        )
        s.type(
            s.dice.pick(words.names(s.language)),
            s.body(w * 0.03, mix(ink, card, 0.4)),
            pad + w * 0.13,
            y + high * 0.8,
        )
        s.icon("heart", w * 0.055, look.accent, pad + box_w - w * 0.09, y + high * 0.7)


def _header(s: Scene, look: Surface, pad: float) -> None:
    w, ink = s.width, look.ink
    with s.group("Header"):
        s.panel("Header", 0, 0, w, s.height * 0.105, look.card)
        s.type(
            words.draw_brand(s.dice),
            s.head(w * 0.062, ink, language="en"),
            pad,
            s.height * 0.043,
            language="en",
        )
        s.icon("bell", w * 0.06, ink, w - pad - w * 0.06, s.height * 0.052)
        s.shape(
            "Dot", shapes.ellipse(round(w * 0.026), round(w * 0.026)), look.accent, w - pad - w * 0.02, s.height * 0.05
        )


def player(s: Scene) -> None:
    """A music player or a weather card over a photograph."""
    out = s.reach(0.12)
    s.picture("Backdrop", -out, -out, s.width + 2 * out, s.height + 2 * out)
    scrim(s, mix(s.palette.deep, (0, 0, 0), 0.4), s.dice.pick((90, 90, 45, 135)), s.dice.uniform(0.7, 0.9), start=0.0)
    ink, w = WHITE, min(s.width, s.height * 0.62)
    left = (s.width - w) / 2
    _status(s, ink)
    side = w * s.dice.uniform(0.58, 0.76)
    x, y = left + (w - side) / 2, s.height * 0.12
    with s.group("Cover"):
        mask = shapes.rounded(round(side), round(side), s.dice.pick((0.05, 0.05, 0.0, 1.0)) * w)
        lift = s.shadow("Cover", mask, x, y, blur=w * 0.04, drop=w * 0.035, opacity=0.5)
        box = Box(round(x), round(y), round(x) + round(side), round(y) + round(side))
        s.picture(
            "Cover art",
            x,
            y,
            side,
            side,
            mask=Mask(box, mask),
            scene=s.dice.pick(("spheres", "dunes", "bokeh", "sea")),
            style=lift,
        )
    below = y + side + s.height * 0.03
    s.type(s.copy.title, fit(s.copy.title, s.head(10, ink), side, most=w * 0.085), s.width / 2, below, align="centre")
    s.type(
        s.dice.pick(words.names(s.language)),
        s.body(w * 0.042, ink),
        s.width / 2,
        below + w * 0.12,
        align="centre",
        opacity=0.75,
    )
    track = below + w * 0.24
    _progress(s, x, track, side)
    cy = track + w * 0.2
    _controls(s, w, cy)
    if s.height - cy > w * 0.3:
        labels, language = words.words("labels", s.language)
        high = s.height * 0.1 + s.reach(0.02)
        s.panel("Sheet", left + w * 0.05, s.height * 0.93, w * 0.9, high, ink, w * 0.05, opacity=0.16)
        style = s.body(w * 0.036, ink, language=language, weight=600)
        s.type(labels[13], style, s.width / 2, s.height * 0.945, align="centre", language=language)


def _progress(s: Scene, x: float, y: float, side: float) -> None:
    """Where the song is: a track, its played part, two times."""
    w, done, accent = side / 0.7, s.dice.uniform(0.2, 0.8), s.palette.accent_on((30, 30, 34))
    with s.group("Progress", opacity=0.95):
        s.panel("Track", x, y, side, w * 0.014, WHITE, w * 0.007, opacity=0.35)
        s.panel("Played", x, y, side * done, w * 0.014, accent, w * 0.007)
        knob = round(w * 0.042)
        s.shape("Knob", shapes.ellipse(knob, knob), WHITE, x + side * done - knob / 2, y - knob / 2 + w * 0.007)
        below, size = y + w * 0.035, w * 0.032
        s.latin(f"{s.dice.integer(0, 2)}:{s.dice.integer(10, 59)}", size, WHITE, x, below, opacity=0.7)
        s.latin(
            f"{s.dice.integer(3, 6)}:{s.dice.integer(10, 59)}", size, WHITE, x + side, below, align="right", opacity=0.7
        )


def _controls(s: Scene, w: float, cy: float) -> None:
    accent, ink = s.palette.accent_on((30, 30, 34)), WHITE
    with s.group("Controls"):
        big = round(w * 0.18)
        style = s.shadow(
            "Play", shapes.ellipse(big, big), s.width / 2 - big / 2, cy - big / 2, blur=w * 0.02, drop=w * 0.012
        )
        s.shape("Play ground", shapes.ellipse(big, big), accent, s.width / 2 - big / 2, cy - big / 2, style=style)
        s.icon(
            s.dice.pick(("play", "pause")), w * 0.075, s.palette.on(accent), s.width / 2 - w * 0.0375, cy - w * 0.0375
        )
        for name, at in (("heart", -0.3), ("note", -0.17), ("arrow", 0.12), ("plus", 0.25)):
            s.icon(name, w * 0.055, ink, s.width / 2 + at * w, cy - w * 0.0275, opacity=0.85)
