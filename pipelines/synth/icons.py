"""Small pictograms as coverage masks, drawn on a grid of 24 units."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from pipelines.synth.shapes import Coverage

Pen = ImageDraw.ImageDraw
_SCALE = 16  # drawing px a unit; masks are reduced from it


def _p(*values: float) -> list[float]:
    return [value * _SCALE for value in values]


def _line(pen: Pen, *values: float, width: float = 2.2) -> None:
    pen.line(_p(*values), fill=255, width=round(width * _SCALE), joint="curve")
    radius = width / 2
    for x, y in ((values[0], values[1]), (values[-2], values[-1])):
        pen.ellipse(_p(x - radius, y - radius, x + radius, y + radius), fill=255)


def _home(pen: Pen) -> None:
    pen.polygon(_p(12, 2.5, 22.5, 12, 1.5, 12), fill=255)
    pen.rectangle(_p(4.5, 11, 19.5, 21.5), fill=255)
    pen.rectangle(_p(10, 14.5, 14, 21.6), fill=0)


def _search(pen: Pen) -> None:
    pen.ellipse(_p(3, 3, 17, 17), outline=255, width=round(2.4 * _SCALE))
    _line(pen, 15, 15, 21, 21, width=2.8)


def _user(pen: Pen) -> None:
    pen.ellipse(_p(7.5, 2.5, 16.5, 11.5), fill=255)
    pen.pieslice(_p(3, 13, 21, 31), 180, 360, fill=255)


def _heart(pen: Pen) -> None:
    t = np.linspace(0, 2 * np.pi, 90)
    x = 12 + 0.62 * 16 * np.sin(t) ** 3
    y = 11.2 - 0.62 * (13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    pen.polygon([(float(a) * _SCALE, float(b) * _SCALE) for a, b in zip(x, y, strict=True)], fill=255)


def _star(pen: Pen) -> None:
    angles = np.radians(-90 + 36 * np.arange(10))
    radii = np.where(np.arange(10) % 2 == 0, 11, 4.6)
    pen.polygon(
        [
            (float(12 + r * np.cos(a)) * _SCALE, float(12.5 + r * np.sin(a)) * _SCALE)
            for a, r in zip(angles, radii, strict=True)
        ],
        fill=255,
    )


def _chat(pen: Pen) -> None:
    pen.rounded_rectangle(_p(2, 3.5, 22, 17), radius=4 * _SCALE, fill=255)
    pen.polygon(_p(6, 16, 12, 16, 6, 22), fill=255)
    for x in (7.5, 12, 16.5):
        pen.ellipse(_p(x - 1.3, 9, x + 1.3, 11.6), fill=0)


def _pin(pen: Pen) -> None:
    pen.ellipse(_p(4.5, 1.5, 19.5, 16.5), fill=255)
    pen.polygon(_p(5.9, 13.2, 18.1, 13.2, 12, 23), fill=255)
    pen.ellipse(_p(9, 6, 15, 12), fill=0)


def _play(pen: Pen) -> None:
    pen.polygon(_p(6, 3, 21, 12, 6, 21), fill=255)


def _pause(pen: Pen) -> None:
    pen.rounded_rectangle(_p(5, 3, 10, 21), radius=1.5 * _SCALE, fill=255)
    pen.rounded_rectangle(_p(14, 3, 19, 21), radius=1.5 * _SCALE, fill=255)


def _bolt(pen: Pen) -> None:
    pen.polygon(_p(13.5, 1.5, 4, 14, 11, 14, 9.5, 22.5, 20, 9.5, 12.6, 9.5), fill=255)


def _check(pen: Pen) -> None:
    _line(pen, 3.5, 12.5, 9.5, 18.5, 20.5, 6, width=3)


def _plus(pen: Pen) -> None:
    _line(pen, 12, 3.5, 12, 20.5, width=3)
    _line(pen, 3.5, 12, 20.5, 12, width=3)


def _arrow(pen: Pen) -> None:
    _line(pen, 3, 12, 20, 12, width=2.6)
    _line(pen, 13, 5, 20.5, 12, 13, 19, width=2.6)


def _bell(pen: Pen) -> None:
    pen.pieslice(_p(5, 3, 19, 17), 180, 360, fill=255)
    pen.polygon(_p(5, 10, 19, 10, 21, 18.5, 3, 18.5), fill=255)
    pen.pieslice(_p(9, 16.5, 15, 22.5), 0, 180, fill=255)


def _cloud(pen: Pen) -> None:
    pen.ellipse(_p(2, 9.5, 11, 19), fill=255)
    pen.ellipse(_p(6.5, 4.5, 17.5, 16), fill=255)
    pen.ellipse(_p(13, 9, 22.5, 19), fill=255)
    pen.rectangle(_p(6, 12, 18, 19), fill=255)


def _sun(pen: Pen) -> None:
    pen.ellipse(_p(7, 7, 17, 17), fill=255)
    for a in np.radians(45 * np.arange(8)):
        c, s = float(np.cos(a)), float(np.sin(a))
        _line(pen, 12 + 7.6 * c, 12 + 7.6 * s, 12 + 10.3 * c, 12 + 10.3 * s)


def _moon(pen: Pen) -> None:
    pen.ellipse(_p(3, 3, 21, 21), fill=255)
    pen.ellipse(_p(9, 0.5, 25, 16.5), fill=0)


def _drop(pen: Pen) -> None:
    pen.ellipse(_p(5, 8, 19, 22), fill=255)
    pen.polygon(_p(12, 1.5, 18.2, 12, 5.8, 12), fill=255)


def _leaf(pen: Pen) -> None:
    t = np.linspace(0, 1, 40)
    bulge = 6.5 * np.sin(np.pi * t) ** 0.8
    left = [(3 + 18 * a - b * 0.7, 21 - 18 * a - b * 0.7) for a, b in zip(t, bulge, strict=True)]
    right = [(3 + 18 * a + b * 0.7, 21 - 18 * a + b * 0.7) for a, b in zip(t[::-1], bulge[::-1], strict=True)]
    pen.polygon([(float(x) * _SCALE, float(y) * _SCALE) for x, y in left + right], fill=255)
    pen.line(_p(4, 20, 16, 8), fill=0, width=round(1.1 * _SCALE))


def _gear(pen: Pen) -> None:
    for a in np.radians(45 * np.arange(8)):
        c, s = float(np.cos(a)), float(np.sin(a))
        _line(pen, 12, 12, 12 + 9 * c, 12 + 9 * s, width=3.8)
    pen.ellipse(_p(4.6, 4.6, 19.4, 19.4), fill=255)
    pen.ellipse(_p(8.6, 8.6, 15.4, 15.4), fill=0)


def _chart(pen: Pen) -> None:
    for x, y in ((3, 13), (9.5, 4), (16, 9)):
        pen.rounded_rectangle(_p(x, y, x + 5, 21), radius=1.2 * _SCALE, fill=255)


def _cart(pen: Pen) -> None:
    _line(pen, 1.8, 3.5, 5, 3.5, 8, 15.5, 19, 15.5)
    pen.polygon(_p(6, 6, 22, 6, 19.6, 13.5, 7.8, 13.5), fill=255)
    for x in (9.5, 17.5):
        pen.ellipse(_p(x - 2, 17.5, x + 2, 21.5), fill=255)


def _cup(pen: Pen) -> None:
    pen.polygon(_p(3.5, 8, 17, 8, 15.5, 20, 5, 20), fill=255)
    pen.arc(_p(13.5, 9.5, 21.5, 16.5), -90, 100, fill=255, width=2 * _SCALE)
    for x in (7.5, 12.5):
        _line(pen, x, 5.8, x, 3, width=1.6)


def _note(pen: Pen) -> None:
    pen.ellipse(_p(3, 15, 11, 21.5), fill=255)
    pen.ellipse(_p(13, 13, 21, 19.5), fill=255)
    pen.polygon(_p(8.8, 5, 21, 2, 21, 16.5, 18.8, 16.5, 18.8, 7, 11, 9, 11, 18.5, 8.8, 18.5), fill=255)


ICONS: dict[str, Callable[[Pen], None]] = {
    "home": _home,
    "search": _search,
    "user": _user,
    "heart": _heart,
    "star": _star,
    "chat": _chat,
    "pin": _pin,
    "play": _play,
    "pause": _pause,
    "bolt": _bolt,
    "check": _check,
    "plus": _plus,
    "arrow": _arrow,
    "bell": _bell,
    "cloud": _cloud,
    "sun": _sun,
    "moon": _moon,
    "drop": _drop,
    "leaf": _leaf,
    "gear": _gear,
    "chart": _chart,
    "cart": _cart,
    "cup": _cup,
    "note": _note,
}


@lru_cache(maxsize=64)
def _drawn(name: str) -> Image.Image:
    image = Image.new("L", (24 * _SCALE, 24 * _SCALE))
    ICONS[name](ImageDraw.Draw(image))
    return image


def icon(name: str, size: int) -> Coverage:
    """The pictogram ``name`` in ``size`` px."""
    return np.asarray(
        _drawn(name).resize((size, size), Image.Resampling.BOX if size < 24 * _SCALE else Image.Resampling.BICUBIC)
    )
