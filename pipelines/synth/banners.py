"""Banner layouts: wide canvases for shops, events and sites."""

from __future__ import annotations

from pipelines.formats.tree import Mask
from pipelines.synth import shapes, words
from pipelines.synth.grounds import confetti, decorate, ground, scrim
from pipelines.synth.palettes import mix
from pipelines.synth.posters import title
from pipelines.synth.scene import Scene
from pipelines.synth.text import Align, fit
from pipelines.synth.things import badge, logo, rule, thing
from schemas.geometry import Box


def product(s: Scene) -> None:
    """Words left, a product right, a badge."""
    base = ground(s)
    decorate(s, base, "blobs", "circles", "slabs", "halftone", "waves")
    margin = 0.08 * s.height + 2 * s.unit
    size = s.height * s.dice.uniform(0.78, 1.02)
    disc = round(s.height * 0.95)
    s.shape(
        "Spot",
        shapes.ellipse(disc, disc),
        mix(base, s.palette.paper, 0.35),
        s.width * 0.78 - disc / 2,
        (s.height - disc) / 2,
        opacity=0.8,
    )
    thing(s, s.width * 0.78 - size * 0.3, (s.height - size) * 0.5, size)
    ink = s.palette.on(base)
    width = s.width * 0.5
    with s.group("Words"):
        logo(s, words.draw_brand(s.dice), margin, s.height * 0.09, s.height * 0.055, ink)
        style = fit(s.copy.title, s.head(10, ink), width, most=s.height * 0.2)
        s.type(s.copy.title, style, margin, s.height * 0.25, leading=1.1)
        below = s.height * 0.25 + style.size * 1.25
        s.type(s.copy.subtitle, s.body(s.height * 0.068, s.palette.muted_on(base)), margin, below, width=width)
    s.button(s.copy.call, margin, s.height * 0.72, s.height * 0.068, s.palette.accent_on(base))
    if s.dice.chance(0.6):
        badge(s, f"-{s.dice.integer(2, 7)}0%", s.width * 0.615, s.height * 0.26, s.height * 0.36, s.palette.accent)


def diagonal(s: Scene) -> None:
    """A photograph cut at a slant on one side, words on the other."""
    base = ground(s)
    w, h = round(s.width * s.dice.uniform(0.5, 0.62)), s.height
    lean = w * s.dice.uniform(0.15, 0.35)
    cut = shapes.polygon([(lean, 0), (w, 0), (w, h), (0, h)], w, h)
    out = s.reach(0.1)
    x = s.width - w
    s.shape("Edge", cut, s.palette.accent_on(base, 1.3), x - 1.8 * s.unit, 0)
    s.picture("Photo", x, -out, w + out, h + 2 * out, mask=Mask(Box(x, 0, x + w, h), cut, 0))
    margin, ink = 5 * s.unit, s.palette.on(base)
    width = s.width - w - margin + lean * 0.3
    y = title(s, margin, s.height * 0.12, width, s.head(9, ink), most=s.height * 0.2 / s.unit, room=s.height * 0.36)
    setting = s.type(
        s.copy.subtitle, s.body(s.height * 0.068, ink), margin, y + s.unit, width=width * 0.95, opacity=0.85
    )
    s.button(
        s.copy.call,
        margin,
        max(s.height * 0.74, y + setting.height + 2 * s.unit),
        s.height * 0.06,
        s.palette.accent_on(base),
    )


def centred(s: Scene) -> None:
    """A patterned ground, centred words between rules, confetti."""
    base = ground(s, s.dice.pick((s.palette.primary, s.palette.deep, s.palette.paper, s.palette.secondary)))
    decorate(s, base, "burst", "lines", "halftone", "circles")
    confetti(s, s.dice.integer(8, 30))
    ink = s.palette.on(base)
    style = fit(s.copy.title, s.head(12, ink), s.width * 0.66, most=s.height * 0.3)
    panel_width = max(style.width(s.copy.title), s.width * 0.4) + 10 * s.unit
    s.panel(
        "Veil",
        (s.width - panel_width) / 2,
        s.height * 0.12,
        panel_width,
        s.height * 0.76,
        base,
        2 * s.unit,
        opacity=0.72,
    )
    top = s.height * 0.2
    s.type(s.copy.title, style, s.width / 2, top, align="centre", leading=1.15)
    y = top + style.size * 1.25
    rule(s, s.width / 2 - 8 * s.unit, y, 16 * s.unit, max(1.0, 0.35 * s.unit), s.palette.accent_on(base))
    small = fit(s.copy.subtitle, s.body(8, ink), s.width * 0.6, most=s.height * 0.075)
    s.type(s.copy.subtitle, small, s.width / 2, y + 1.5 * s.unit, align="centre")
    s.button(s.copy.call, s.width / 2, s.height * 0.68, s.height * 0.07, s.palette.accent_on(base), align="centre")


def panorama(s: Scene) -> None:
    """A wide photograph with a translucent card."""
    out = s.reach(0.06)
    s.picture("Photo", -out, -out, s.width + 2 * out, s.height + 2 * out)
    scrim(s, s.palette.deep, s.dice.pick((0, 180)), 0.55)
    w, h = s.width * s.dice.uniform(0.38, 0.5), s.height * 0.74
    x, y = s.dice.pick((0.05 * s.width, s.width * 0.95 - w)), (s.height - h) / 2
    with s.group("Card"):
        s.panel(
            "Card",
            x,
            y,
            w,
            h,
            s.palette.paper,
            s.dice.pick((0, 1.5, 3)) * s.unit,
            opacity=s.dice.pick((0.82, 0.92, 1.0)),
        )
        inner = 3.5 * s.unit
        below = title(
            s,
            x + inner,
            y + inner * 0.7,
            w - 2 * inner,
            s.head(8, s.palette.deep),
            most=s.height * 0.16 / s.unit,
            room=h * 0.42,
        )
        s.type(
            s.copy.subtitle,
            s.body(s.height * 0.058, mix(s.palette.deep, s.palette.paper, 0.25)),
            x + inner,
            below + 0.5 * s.unit,
            width=w - 2 * inner,
        )
        s.button(
            s.copy.call,
            x + inner,
            y + h - inner * 0.6 - s.height * 0.135,
            s.height * 0.056,
            s.palette.accent_on(s.palette.paper, 2.0),
        )
    right = x < s.width / 3
    at = s.width - 4 * s.unit if right else 4 * s.unit
    side: Align = "right" if right else "left"
    s.latin(words.draw_date(s.dice), s.height * 0.05, s.palette.paper, at, s.height * 0.86, align=side, weight=700)


LAYOUTS = {"product": product, "diagonal": diagonal, "centred": centred, "panorama": panorama}
SIZES = ((1200, 400), (970, 300), (1200, 360), (900, 300), (1080, 420), (820, 312), (1128, 376), (1000, 500))
