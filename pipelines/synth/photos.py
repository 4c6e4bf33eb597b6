"""Procedural photographs: landscapes, water, night cities, mist, bokeh, still lifes. uint8 RGB ``[height, width, 3]``.

Drawn at half size above 500 px and enlarged: photographs are soft, and the time of a design is mostly theirs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipelines.synth.dice import Dice
from pipelines.synth.noise import Field, axes, fractal, radial, ramp, ridge
from pipelines.synth.palettes import Rgb, mix, rgb, turned

Picture = npt.NDArray[np.uint8]
Light = npt.NDArray[np.float32]
"""float32 ``[height, width, 3]``, 0..255."""

_SKIES = [
    "2b5c9e 8ebfe3 f5e9d3", "1f3b73 d9738c ffc48c", "0f2a52 3f6fa8 f2c79b", "4a90c2 bfe0ef ffffff", "37305e c96a6a ffd9a0",
    "54719c b9c9d9 f3efe6", "203a5c 6f8fae e8b98a", "6c4a7e e58a8a ffe0b5",
]  # fmt: skip
_LANDS = ["16302b 4c7a67", "2b2440 7a6a94", "1f2d3d 6b88a3", "2e2218 8a6a4a", "12261a 5c8a4e", "3a1f2b 9a6a72"]


def _sky(dice: Dice, width: int, height: int, horizon: float, stops: tuple[Rgb, ...]) -> Light:
    y = np.clip(axes(width, height)[1] / np.float32(horizon), 0, 1)
    sky = np.broadcast_to(ramp(y, *stops), (height, width, 3)).copy()
    if dice.chance(0.75):
        clouds = fractal(dice, width, height, cell=0.35, octaves=5, stretch=dice.uniform(1.5, 3))
        cover = np.clip((clouds - np.float32(dice.uniform(0.48, 0.62))) * 3.2, 0, 0.85)
        sky += (np.array(mix(stops[-1], (255, 255, 255), 0.5), np.float32) - sky) * (cover * (1 - y * 0.3))[..., None]
    return sky


def _glow(image: Light, cx: float, cy: float, size: float, colour: Rgb, *, disc: bool = True) -> None:
    """Add a sun at (``cx``, ``cy``) (shares), ``size`` as a share of the longer side."""
    height, width = image.shape[:2]
    near = 1 - radial(width, height, cx, cy, size * 7)
    strength = near**3 * np.float32(0.7)
    if disc:
        edge = radial(width, height, cx, cy, size * 1.0)
        strength = np.maximum(strength, np.clip((1 - edge) * np.float32(max(width, height) * size / 1.5), 0, 1))
    image += (np.array(colour, np.float32) - image) * strength[..., None]


def _below(line: Field, height: int) -> Field:
    """Coverage of what lies below a line of heights in px."""
    y = np.arange(height, dtype=np.float32)[:, None]
    return np.clip(y - line[None, :] + np.float32(0.5), 0, 1).astype(np.float32)


def _paint(image: Light, cover: Field, colour: Light | Rgb) -> None:
    ink = np.array(colour, np.float32) if isinstance(colour, tuple) else colour
    image += (ink - image) * cover[..., None]


def mountains(dice: Dice, width: int, height: int) -> Light:
    stops = tuple(rgb(h) for h in dice.pick(_SKIES).split())
    dark, light = (rgb(h) for h in dice.pick(_LANDS).split())
    horizon = dice.uniform(0.45, 0.65)
    image = _sky(dice, width, height, horizon, stops)
    _glow(image, dice.uniform(0.15, 0.85), horizon - dice.uniform(0.05, 0.3), dice.uniform(0.02, 0.05), (255, 244, 214))
    layers = dice.integer(3, 5)
    for i in range(layers):
        near = i / (layers - 1)
        top = horizon - 0.12 + near * (0.95 - horizon)
        rough = ridge(dice, width, cell=dice.uniform(0.25, 0.5) * (1 - 0.3 * near), octaves=6)
        line = (np.float32(top) + (0.5 - rough) * np.float32(0.34 - 0.12 * near)) * np.float32(height)
        shade = fractal(dice, width, height, cell=0.12, octaves=4, stretch=0.6)
        base = ramp(shade * np.float32(0.6), mix(mix(light, stops[-1], 0.75 * (1 - near)), dark, near), mix(light, stops[-1], 0.6 * (1 - near)))
        snow = np.clip((line.min() + height * 0.1 - np.arange(height, dtype=np.float32)) / (height * 0.06), 0, 1)[:, None]
        if i == 0:
            _paint(base, (snow * np.clip(shade * 3 - 1, 0, 1)).astype(np.float32), (246, 248, 252))
        _paint(image, _below(line, height), base)
    return image


def sea(dice: Dice, width: int, height: int) -> Light:
    stops = tuple(rgb(h) for h in dice.pick(_SKIES).split())
    horizon, sun = dice.uniform(0.4, 0.6), dice.uniform(0.2, 0.8)
    image = _sky(dice, width, height, horizon, stops)
    _glow(image, sun, horizon - dice.uniform(0.03, 0.2), dice.uniform(0.025, 0.06), (255, 240, 200))
    x, y = axes(width, height)
    depth = np.clip((y - horizon) / (1 - horizon), 0, 1).astype(np.float32)
    water = np.broadcast_to(ramp(depth, mix(stops[-1], stops[1], 0.5), stops[0], mix(stops[0], (5, 20, 35), 0.5)), (height, width, 3)).copy()
    ripple = fractal(dice, width, height, cell=0.22, octaves=5, stretch=9)
    column = np.exp(-(((x - np.float32(sun)) / (np.float32(0.05) + depth * np.float32(0.16))) ** 2))
    sparkle = np.clip((ripple - 0.45) * 4, 0, 1) * column * np.float32(0.85) + np.clip((ripple - 0.62) * 3, 0, 1) * np.float32(0.3)
    _paint(water, sparkle.astype(np.float32), mix(stops[-1], (255, 250, 230), 0.6))
    _paint(image, _below(np.full(width, horizon * height, np.float32), height), water)
    if dice.chance(0.6):
        coast = ridge(dice, width, cell=0.4, octaves=5)
        side = x[0] if dice.chance(0.5) else 1 - x[0]
        line = np.float32(horizon * height) + 1 - np.clip(coast * side - 0.18, 0, 1) * np.float32(height * 0.3)
        cover = _below(line, height) * (y < horizon + 0.004)
        _paint(image, cover.astype(np.float32), mix(stops[0], (20, 24, 34), 0.45))
    return image


def dunes(dice: Dice, width: int, height: int) -> Light:
    stops = tuple(rgb(h) for h in dice.pick(_SKIES).split())
    turn = dice.uniform(-12, 18)
    lit, shadow = turned((236, 188, 128), turn), turned((138, 78, 52), turn)
    image = _sky(dice, width, height, 0.55, stops)
    _glow(image, dice.uniform(0.2, 0.8), dice.uniform(0.15, 0.35), dice.uniform(0.03, 0.06), (255, 240, 210))
    x, y = axes(width, height)
    for i in range(dice.integer(3, 4)):
        top = 0.48 + 0.16 * i
        wave = ridge(dice, width, cell=0.6, octaves=2)
        line = (np.float32(top) + (wave - 0.5) * np.float32(0.26)) * np.float32(height)
        crest = np.clip((y * height - line[None, :]) / np.float32(height * 0.35), 0, 1)
        split = ((ridge(dice, width, cell=0.5, octaves=2) - 0.5) * np.float32(0.5))[None, :] + x
        lee = np.clip((split - np.float32(dice.uniform(0.3, 0.7)) - crest * np.float32(dice.uniform(-0.6, 0.6))) * 24, 0, 1)
        sand = ramp(np.clip(crest * np.float32(0.55) + lee * np.float32(0.45), 0, 1).astype(np.float32), mix(lit, stops[-1], 0.35 - 0.1 * i), lit, shadow)
        sand += ((fractal(dice, width, height, cell=0.05, octaves=3, stretch=3) - 0.5) * 14)[..., None]
        _paint(image, _below(line, height), sand)
    return image


def forest(dice: Dice, width: int, height: int) -> Light:
    fog, deep = (rgb(h) for h in dice.pick(("dfe7e4 16302c", "e9e2d0 2d2b1c", "cfd9e4 1c2b3a", "f0dcc4 3a2820")).split())
    y = axes(width, height)[1]
    image = np.broadcast_to(ramp(y, mix(fog, (255, 255, 255), 0.4), fog), (height, width, 3)).copy()
    _glow(image, dice.uniform(0.2, 0.8), dice.uniform(0.1, 0.4), 0.05, (255, 250, 232), disc=False)
    x = np.arange(width, dtype=np.float32)
    layers = dice.integer(4, 6)
    for i in range(layers):
        near = (i + 1) / layers
        line = np.full(width, np.inf, np.float32)
        ground = (0.4 + 0.5 * near + (ridge(dice, width, cell=0.5, octaves=3) - 0.5) * np.float32(0.22)) * np.float32(height)
        for _ in range(int(26 - 14 * near)):
            at, tall = dice.uniform(0, width), dice.uniform(0.5, 1) * height * (0.12 + 0.42 * near)
            broad = tall * dice.uniform(0.16, 0.24)
            saw = (np.abs(x - at) % np.float32(broad / 4)) * np.float32(0.9)
            line = np.minimum(line, np.where(np.abs(x - at) < broad, ground - tall + np.abs(x - at) * np.float32(tall / broad) + saw, np.inf))
        cover = _below(np.minimum(line, ground).astype(np.float32), height)
        mist = np.clip((y * height - ground.mean()) / (height * 0.3), 0, 1) * np.float32(0.5 * (1 - near))
        tone = ramp(np.broadcast_to(mist, cover.shape).astype(np.float32), mix(fog, deep, near**1.3), fog)
        _paint(image, cover, tone)
    return image


def night(dice: Dice, width: int, height: int) -> Light:
    top, low = (rgb(h) for h in dice.pick(("0b1026 49306b", "07141f 1d4e6b", "140b1f 8a3b52", "0a0f1c 33425e")).split())
    x, y = axes(width, height)
    image = np.broadcast_to(ramp(y, top, low, mix(low, (255, 180, 120), 0.45)), (height, width, 3)).copy()
    for i in range(3):
        count = dice.integer(9, 18)
        tops = dice.numpy.random(count).astype(np.float32)
        blocks = np.minimum((x[0] * count).astype(np.int64), count - 1)
        line = (np.float32(0.42 + 0.17 * i) + tops[blocks] * np.float32(0.24)) * np.float32(height)
        wall = mix(mix(low, top, 0.4 + 0.3 * i), (4, 6, 12), 0.3 * i)
        _paint(image, _below(line, height), wall)
        cell = max(3, width // (60 + 20 * (2 - i)))
        rows, columns = height // cell + 1, width // cell + 1
        lit = np.kron((dice.numpy.random((rows, columns)) < 0.22).astype(np.float32), np.ones((cell, cell), np.float32))[:height, :width]
        grid = ((np.arange(height) % cell) < cell * 0.55)[:, None] & ((np.arange(width) % cell) < cell * 0.5)[None, :]
        glass = lit * grid * (y * height > line[None, :] + cell)
        _paint(image, (glass * np.float32(0.35 + 0.2 * i)).astype(np.float32), dice.pick(((255, 214, 140), (255, 236, 190), (190, 220, 255))))
    _lights(dice, image, dice.integer(12, 26), [(255, 190, 110), (255, 120, 120), (140, 190, 255), (255, 235, 190)], low=0.5)
    return image


def _lights(dice: Dice, image: Light, count: int, colours: list[Rgb], low: float = 0.0) -> None:
    """Out-of-focus highlights, added to the light that is there."""
    height, width = image.shape[:2]
    for _ in range(count):
        radius = int(max(width, height) * dice.uniform(0.012, 0.06)) + 2
        cx, cy = dice.integer(0, width - 1), int(dice.uniform(low, 1) * (height - 1))
        x0, y0, x1, y1 = max(0, cx - radius), max(0, cy - radius), min(width, cx + radius), min(height, cy + radius)
        x, y = np.arange(x0, x1, dtype=np.float32)[None, :] - cx, np.arange(y0, y1, dtype=np.float32)[:, None] - cy
        distance = np.hypot(x, y) / np.float32(radius)
        disc = np.clip((1 - distance) * np.float32(radius / 2), 0, 1) * (np.float32(0.55) + np.float32(0.45) * distance**4)
        image[y0:y1, x0:x1] += disc[..., None] * np.array(dice.pick(colours), np.float32) * np.float32(dice.uniform(0.15, 0.6))


def bokeh(dice: Dice, width: int, height: int) -> Light:
    turn = dice.uniform(0, 360)
    a, b, c = turned((40, 60, 110), turn), turned((150, 70, 110), turn + dice.uniform(-40, 40)), turned((235, 170, 110), turn)
    field = fractal(dice, width, height, cell=0.7, octaves=2)
    image = ramp(field, mix(a, (0, 0, 0), 0.4), a, b, c)
    _lights(dice, image, dice.integer(20, 45), [turned(c, dice.uniform(-30, 30), 0.1) for _ in range(4)] + [(255, 245, 225)])
    return image


def aurora(dice: Dice, width: int, height: int) -> Light:
    x, y = axes(width, height)
    image = np.broadcast_to(ramp(y, (6, 10, 28), (14, 32, 62), (30, 62, 84)), (height, width, 3)).copy()
    stars = dice.numpy.random((height, width), np.float32)
    image += (np.clip(stars - np.float32(0.9985), 0, 1) * 90_000).clip(0, 200)[..., None]
    hue = dice.uniform(-60, 60)
    for _ in range(dice.integer(2, 4)):
        line = np.float32(dice.uniform(0.25, 0.55)) + (ridge(dice, width, cell=0.5, octaves=3) - 0.5) * np.float32(0.4)
        curtain = ridge(dice, width, cell=0.06, octaves=3)[None, :] * np.float32(0.7) + np.float32(0.3)
        rise = line[None, :] - y
        veil = np.where(rise > 0, np.exp(-rise / np.float32(0.16)), np.exp(rise / np.float32(0.03))) * curtain
        image += veil[..., None] * np.array(turned((40, 190, 120), hue + dice.uniform(-25, 25)), np.float32) * np.float32(0.75)
    for i in range(2):
        line = (np.float32(0.72 + 0.12 * i) + (0.5 - ridge(dice, width, cell=0.3, octaves=6)) * np.float32(0.24)) * np.float32(height)
        _paint(image, _below(line, height), mix((24, 44, 62), (5, 9, 16), float(i)))
    return image


def _ball(image: Light, cx: float, cy: float, radius: float, colour: Rgb) -> None:
    """A shaded ball with its shadow; centre and radius in px, lit from the upper left."""
    height, width = image.shape[:2]
    r = int(radius * 2.4)
    x0, y0, x1, y1 = max(0, int(cx) - r), max(0, int(cy) - r), min(width, int(cx) + r), min(height, int(cy) + r)
    if x0 >= x1 or y0 >= y1:
        return
    x = (np.arange(x0, x1, dtype=np.float32)[None, :] - np.float32(cx)) / np.float32(radius)
    y = (np.arange(y0, y1, dtype=np.float32)[:, None] - np.float32(cy)) / np.float32(radius)
    part = image[y0:y1, x0:x1]
    part *= 1 - np.float32(0.5) * np.exp(-(((x - 0.55) / 0.95) ** 2 + ((y - 0.85) / 0.36) ** 2))[..., None]
    inside = np.clip((1 - np.hypot(x, y)) * np.float32(radius) + 0.5, 0, 1)
    z = np.sqrt(np.clip(1 - x * x - y * y, 0, 1))
    light = np.clip(-0.5 * x - 0.6 * y + 0.62 * z, 0, 1)
    tone = ramp(np.clip(light * 0.95 + 0.05, 0, 1).astype(np.float32), mix(colour, (20, 10, 30), 0.72), colour, mix(colour, (255, 255, 255), 0.35))
    tone += (np.clip(light - 0.93, 0, 1) * 1800)[..., None]
    _paint(part, inside.astype(np.float32), tone)


def spheres(dice: Dice, width: int, height: int) -> Light:
    turn = dice.uniform(0, 360)
    wall, floor = turned((222, 196, 186), turn, 0.05), turned((196, 160, 150), turn)
    edge = dice.uniform(0.5, 0.7)
    image = np.broadcast_to(ramp(axes(width, height)[1], wall, mix(wall, floor, 0.4)), (height, width, 3)).copy()
    _glow(image, 0.2, 0.15, 0.09, (255, 250, 242), disc=False)
    _paint(image, _below(np.full(width, edge * height, np.float32), height), floor)
    side = max(width, height)
    balls = sorted((dice.uniform(edge - 0.06, 0.95), dice.uniform(0.02, 0.98), dice.uniform(0.04, 0.17)) for _ in range(dice.integer(4, 8)))
    for cy, cx, radius in balls:
        _ball(image, cx * width, cy * height - radius * side * 0.5, radius * side, turned((214, 106, 76), turn + dice.pick((0, 25, 150, 180, 210))))
    return image


def table(dice: Dice, width: int, height: int) -> Light:
    dark, light = (rgb(h) for h in dice.pick(("5b3a26 9a6b45", "2b2b2f 4a4a50", "cbb796 e6d8bd", "3d4f4a 6a8077")).split())
    grain = fractal(dice, width, height, cell=0.5, octaves=6, stretch=14)
    image = ramp(grain, dark, light, mix(dark, light, 0.4))
    side = min(width, height)
    for _ in range(dice.integer(3, 5)):
        cx, cy, radius = dice.uniform(0, 1) * width, dice.uniform(0, 1) * height, dice.uniform(0.18, 0.34) * side
        span = radius / max(width, height)
        shadow = 1 - radial(width, height, (cx + radius * 0.12) / width, (cy + radius * 0.16) / height, span * 1.25)
        image *= 1 - (np.clip(shadow * 3, 0, 1) * np.float32(0.45))[..., None]
        distance = radial(width, height, cx / width, cy / height, span)
        plate = turned((240, 234, 226), 0, -dice.uniform(0, 0.12))
        _paint(image, np.clip((1 - distance) * np.float32(radius), 0, 1).astype(np.float32), plate)
        rim = np.exp(-(((distance - np.float32(0.74)) / np.float32(0.025)) ** 2))
        _paint(image, (rim * np.float32(0.3)).astype(np.float32), (120, 110, 105))
        base = dice.pick(((196, 58, 44), (232, 156, 52), (96, 138, 60), (140, 60, 90), (222, 190, 90)))
        for _ in range(dice.integer(5, 11)):
            angle, away = dice.uniform(0, 6.28), dice.uniform(0, 0.5) * radius
            _ball(image, cx + away * np.cos(angle), cy + away * np.sin(angle), radius * dice.uniform(0.09, 0.2), turned(base, dice.uniform(-22, 22)))
    return image


SCENES: dict[str, Callable[[Dice, int, int], Light]] = {
    "mountains": mountains, "sea": sea, "dunes": dunes, "forest": forest, "night": night, "bokeh": bokeh, "aurora": aurora,
    "spheres": spheres, "table": table,
}  # fmt: skip


def photo(scene: str, dice: Dice, width: int, height: int) -> Picture:
    """A photograph of ``scene`` with a vignette and a little grain."""
    halve = 2 if max(width, height) > 500 else 1
    image = SCENES[scene](dice, max(8, width // halve), max(8, height // halve))
    image *= (1 - radial(image.shape[1], image.shape[0], 0.5, 0.5, 0.85) ** 2 * np.float32(dice.uniform(0, 0.4)))[..., None]
    small = image.clip(0, 255).astype(np.uint8)
    if halve == 1:
        return small
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))
