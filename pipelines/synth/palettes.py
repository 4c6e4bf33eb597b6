"""Colour: curated palettes with roles, small hue shifts, contrast.

Contrast is that of WCAG 2.2 (relative luminance, 1..21).
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass, replace

from pipelines.synth.dice import Dice

Rgb = tuple[int, int, int]

WHITE: Rgb = (255, 255, 255)


def rgb(hexa: str) -> Rgb:
    return int(hexa[0:2], 16), int(hexa[2:4], 16), int(hexa[4:6], 16)


def hexa(colour: Rgb) -> str:
    """``#rrggbb``."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def luminance(colour: Rgb) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: Rgb, b: Rgb) -> float:
    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def mix(a: Rgb, b: Rgb, share: float) -> Rgb:
    """``a`` with ``share`` (0..1) of ``b``."""
    r, g, b_ = (round(x + (y - x) * share) for x, y in zip(a, b, strict=True))
    return r, g, b_


def turned(colour: Rgb, degrees: float, light: float = 0.0) -> Rgb:
    """``colour`` with its hue turned and its HLS lightness raised by ``light`` (-1..1)."""
    h, lightness, s = colorsys.rgb_to_hls(*(v / 255 for v in colour))
    lightness = min(1.0, max(0.0, lightness + light))
    r, g, b = (round(v * 255) for v in colorsys.hls_to_rgb((h + degrees / 360) % 1, lightness, s))
    return r, g, b


@dataclass(frozen=True)
class Palette:
    """Roles of the colours of a design: ``ground`` carries, ``ink`` is text on it, the other three are accents."""

    ground: Rgb
    ink: Rgb
    primary: Rgb
    secondary: Rgb
    accent: Rgb
    paper: Rgb
    deep: Rgb

    def on(self, ground: Rgb) -> Rgb:
        """The readable one of paper and deep on ``ground``."""
        return max((self.paper, self.deep), key=lambda c: contrast(c, ground))

    def accent_on(self, ground: Rgb, least: float = 2.6) -> Rgb:
        """The first accent that stands out on ``ground``; the readable neutral where none does."""
        for colour in (self.accent, self.primary, self.secondary):
            if contrast(colour, ground) >= least:
                return colour
        return self.on(ground)

    def muted_on(self, ground: Rgb) -> Rgb:
        """A quieter text colour on ``ground``."""
        return mix(self.on(ground), ground, 0.3)

    @property
    def accents(self) -> tuple[Rgb, Rgb, Rgb]:
        return self.primary, self.secondary, self.accent

    def over(self, ground: Rgb) -> Palette:
        """The same palette with another ground."""
        return replace(self, ground=ground, ink=self.on(ground))


# paper, deep, primary, secondary, accent
_CURATED = [
    "faf6ee 1d2433 e4572e 29335c f3a712",
    "f4f1de 2b2d42 e07a5f 3d405b 81b29a",
    "fffcf2 252422 eb5e28 403d39 ccc5b9",
    "f1faee 13293d e63946 457b9d a8dadc",
    "fdf0d5 003049 c1121f 669bbc f4a261",
    "fefae0 283618 606c38 dda15e bc6c25",
    "edf6f9 0b3c49 006d77 83c5be e29578",
    "f8f4ff 240046 7b2cbf c77dff ff9e00",
    "fff8f0 1e1e24 92140c 111d4a ffcf99",
    "f7f7ff 27187e 758bfd ff8600 aeb8fe",
    "fbfefb 0d1f2d 2e86ab a23b72 f18f01",
    "fff1e6 3a0ca3 f72585 4361ee 4cc9f0",
    "f6f4f0 14213d fca311 34435e e5e5e5",
    "f0f3f5 212529 0ea5e9 10b981 f59e0b",
    "fef9ef 17303b 227c9d fe6d73 ffcb77",
    "f5ebe0 3b2c26 8a5a44 d5bdaf a3b18a",
    "f3f8f2 12372a 436850 adbc9f fbdb93",
    "fffafb 2d1e2f d81159 8f2d56 ffbc42",
    "f4f4f9 1b1b2f 5c6bc0 e43f5a 53d8fb",
    "fdfcdc 073b4c 118ab2 ef476f ffd166",
    "f9f5f0 331e36 41337a 6ea4bf c2efeb",
    "fff6e9 301014 d72638 140f2d f49d37",
    "eef4ed 0b2545 134074 8da9c4 f28482",
    "faf3dd 1a3a3a 5e6472 aed9e0 ffa69e",
    "f7ede2 3d2b3d f28482 84a59d f6bd60",
    "ffffff 0f172a 6366f1 ec4899 14b8a6",
    "f8fafc 111827 2563eb 7c3aed f97316",
]


def draw_palette(dice: Dice) -> Palette:
    """A curated palette with a little turn of the hue, on a light, a dark or a coloured ground."""
    degrees = dice.uniform(-14, 14)
    paper, deep, primary, secondary, accent = (turned(rgb(h), degrees) for h in dice.pick(_CURATED).split())
    if dice.chance(0.5):
        primary, secondary, accent = dice.some((primary, secondary, accent), 3)
    palette = Palette(paper, deep, primary, secondary, accent, paper, deep)
    ground = dice.pick((paper, deep, primary, secondary), (0.45, 0.25, 0.2, 0.1))
    return palette.over(ground)
