"""Photographed landscapes: mountains, sea, dunes, forest, northern lights. float32 ``[height, width, 3]``, 0..255."""

from __future__ import annotations

import numpy as np

from pipelines.synth.dice import Dice
from pipelines.synth.light import Light, below, glow, paint
from pipelines.synth.noise import axes, fractal, ramp, ridge
from pipelines.synth.palettes import Rgb, mix, rgb, turned

_SKIES = [
    "2b5c9e 8ebfe3 f5e9d3",
    "1f3b73 d9738c ffc48c",
    "0f2a52 3f6fa8 f2c79b",
    "4a90c2 bfe0ef ffffff",
    "37305e c96a6a ffd9a0",
    "54719c b9c9d9 f3efe6",
    "203a5c 6f8fae e8b98a",
    "6c4a7e e58a8a ffe0b5",
]
_LANDS = ["16302b 4c7a67", "2b2440 7a6a94", "1f2d3d 6b88a3", "2e2218 8a6a4a", "12261a 5c8a4e", "3a1f2b 9a6a72"]


def _sky(dice: Dice, width: int, height: int, horizon: float, stops: tuple[Rgb, ...]) -> Light:
    y = np.clip(axes(width, height)[1] / np.float32(horizon), 0, 1)
    sky = np.broadcast_to(ramp(y, *stops), (height, width, 3)).copy()
    if dice.chance(0.75):
        clouds = fractal(dice, width, height, cell=0.35, octaves=5, stretch=dice.uniform(1.5, 3))
        cover = np.clip((clouds - np.float32(dice.uniform(0.48, 0.62))) * 3.2, 0, 0.85)
        sky += (np.array(mix(stops[-1], (255, 255, 255), 0.5), np.float32) - sky) * (cover * (1 - y * 0.3))[..., None]
    return sky


def mountains(dice: Dice, width: int, height: int) -> Light:
    stops = tuple(rgb(h) for h in dice.pick(_SKIES).split())
    dark, light = (rgb(h) for h in dice.pick(_LANDS).split())
    horizon = dice.uniform(0.45, 0.65)
    image = _sky(dice, width, height, horizon, stops)
    glow(image, dice.uniform(0.15, 0.85), horizon - dice.uniform(0.05, 0.3), dice.uniform(0.02, 0.05), (255, 244, 214))
    layers = dice.integer(3, 5)
    for i in range(layers):
        near = i / (layers - 1)
        top = horizon - 0.12 + near * (0.95 - horizon)
        rough = ridge(dice, width, cell=dice.uniform(0.25, 0.5) * (1 - 0.3 * near), octaves=6)
        line = (np.float32(top) + (0.5 - rough) * np.float32(0.34 - 0.12 * near)) * np.float32(height)
        shade = fractal(dice, width, height, cell=0.12, octaves=4, stretch=0.6)
        base = ramp(
            shade * np.float32(0.6),
            mix(mix(light, stops[-1], 0.75 * (1 - near)), dark, near),
            mix(light, stops[-1], 0.6 * (1 - near)),
        )
        snow = np.clip((line.min() + height * 0.1 - np.arange(height, dtype=np.float32)) / (height * 0.06), 0, 1)[
            :, None
        ]
        if i == 0:
            paint(base, (snow * np.clip(shade * 3 - 1, 0, 1)).astype(np.float32), (246, 248, 252))
        paint(image, below(line, height), base)
    return image


def sea(dice: Dice, width: int, height: int) -> Light:
    stops = tuple(rgb(h) for h in dice.pick(_SKIES).split())
    horizon, sun = dice.uniform(0.4, 0.6), dice.uniform(0.2, 0.8)
    image = _sky(dice, width, height, horizon, stops)
    glow(image, sun, horizon - dice.uniform(0.03, 0.2), dice.uniform(0.025, 0.06), (255, 240, 200))
    x, y = axes(width, height)
    depth = np.clip((y - horizon) / (1 - horizon), 0, 1).astype(np.float32)
    water = np.broadcast_to(
        ramp(depth, mix(stops[-1], stops[1], 0.5), stops[0], mix(stops[0], (5, 20, 35), 0.5)), (height, width, 3)
    ).copy()
    ripple = fractal(dice, width, height, cell=0.22, octaves=5, stretch=9)
    column = np.exp(-(((x - np.float32(sun)) / (np.float32(0.05) + depth * np.float32(0.16))) ** 2))
    sparkle = np.clip((ripple - 0.45) * 4, 0, 1) * column * np.float32(0.85) + np.clip(
        (ripple - 0.62) * 3, 0, 1
    ) * np.float32(0.3)
    paint(water, sparkle.astype(np.float32), mix(stops[-1], (255, 250, 230), 0.6))
    paint(image, below(np.full(width, horizon * height, np.float32), height), water)
    if dice.chance(0.6):
        coast = ridge(dice, width, cell=0.4, octaves=5)
        side = x[0] if dice.chance(0.5) else 1 - x[0]
        line = np.float32(horizon * height) + 1 - np.clip(coast * side - 0.18, 0, 1) * np.float32(height * 0.3)
        cover = below(line, height) * (y < horizon + 0.004)
        paint(image, cover.astype(np.float32), mix(stops[0], (20, 24, 34), 0.45))
    return image


def dunes(dice: Dice, width: int, height: int) -> Light:
    stops = tuple(rgb(h) for h in dice.pick(_SKIES).split())
    turn = dice.uniform(-12, 18)
    lit, shadow = turned((236, 188, 128), turn), turned((138, 78, 52), turn)
    image = _sky(dice, width, height, 0.55, stops)
    glow(image, dice.uniform(0.2, 0.8), dice.uniform(0.15, 0.35), dice.uniform(0.03, 0.06), (255, 240, 210))
    x, y = axes(width, height)
    for i in range(dice.integer(3, 4)):
        top = 0.48 + 0.16 * i
        wave = ridge(dice, width, cell=0.6, octaves=2)
        line = (np.float32(top) + (wave - 0.5) * np.float32(0.26)) * np.float32(height)
        crest = np.clip((y * height - line[None, :]) / np.float32(height * 0.35), 0, 1)
        split = ((ridge(dice, width, cell=0.5, octaves=2) - 0.5) * np.float32(0.5))[None, :] + x
        lee = np.clip(
            (split - np.float32(dice.uniform(0.3, 0.7)) - crest * np.float32(dice.uniform(-0.6, 0.6))) * 24, 0, 1
        )
        sand = ramp(
            np.clip(crest * np.float32(0.55) + lee * np.float32(0.45), 0, 1).astype(np.float32),
            mix(lit, stops[-1], 0.35 - 0.1 * i),
            lit,
            shadow,
        )
        sand += ((fractal(dice, width, height, cell=0.05, octaves=3, stretch=3) - 0.5) * 14)[..., None]
        paint(image, below(line, height), sand)
    return image


def forest(dice: Dice, width: int, height: int) -> Light:
    fog, deep = (
        rgb(h) for h in dice.pick(("dfe7e4 16302c", "e9e2d0 2d2b1c", "cfd9e4 1c2b3a", "f0dcc4 3a2820")).split()
    )
    y = axes(width, height)[1]
    image = np.broadcast_to(ramp(y, mix(fog, (255, 255, 255), 0.4), fog), (height, width, 3)).copy()
    glow(image, dice.uniform(0.2, 0.8), dice.uniform(0.1, 0.4), 0.05, (255, 250, 232), disc=False)
    x = np.arange(width, dtype=np.float32)
    layers = dice.integer(4, 6)
    for i in range(layers):
        near = (i + 1) / layers
        line = np.full(width, np.inf, np.float32)
        ground = (0.4 + 0.5 * near + (ridge(dice, width, cell=0.5, octaves=3) - 0.5) * np.float32(0.22)) * np.float32(
            height
        )
        for _ in range(int(26 - 14 * near)):
            at, tall = dice.uniform(0, width), dice.uniform(0.5, 1) * height * (0.12 + 0.42 * near)
            broad = tall * dice.uniform(0.16, 0.24)
            saw = (np.abs(x - at) % np.float32(broad / 4)) * np.float32(0.9)
            line = np.minimum(
                line,
                np.where(
                    np.abs(x - at) < broad, ground - tall + np.abs(x - at) * np.float32(tall / broad) + saw, np.inf
                ),
            )
        cover = below(np.minimum(line, ground).astype(np.float32), height)
        mist = np.clip((y * height - ground.mean()) / (height * 0.3), 0, 1) * np.float32(0.5 * (1 - near))
        tone = ramp(np.broadcast_to(mist, cover.shape).astype(np.float32), mix(fog, deep, near**1.3), fog)
        paint(image, cover, tone)
    return image


def aurora(dice: Dice, width: int, height: int) -> Light:
    y = axes(width, height)[1]
    image = np.broadcast_to(ramp(y, (6, 10, 28), (14, 32, 62), (30, 62, 84)), (height, width, 3)).copy()
    stars = dice.numpy.random((height, width), np.float32)
    image += (np.clip(stars - np.float32(0.9985), 0, 1) * 90_000).clip(0, 200)[..., None]
    hue = dice.uniform(-60, 60)
    for _ in range(dice.integer(2, 4)):
        line = np.float32(dice.uniform(0.25, 0.55)) + (ridge(dice, width, cell=0.5, octaves=3) - 0.5) * np.float32(0.4)
        curtain = ridge(dice, width, cell=0.06, octaves=3)[None, :] * np.float32(0.7) + np.float32(0.3)
        rise = line[None, :] - y
        veil = np.where(rise > 0, np.exp(-rise / np.float32(0.16)), np.exp(rise / np.float32(0.03))) * curtain
        image += (
            veil[..., None]
            * np.array(turned((40, 190, 120), hue + dice.uniform(-25, 25)), np.float32)
            * np.float32(0.75)
        )
    for i in range(2):
        line = (
            np.float32(0.72 + 0.12 * i) + (0.5 - ridge(dice, width, cell=0.3, octaves=6)) * np.float32(0.24)
        ) * np.float32(height)
        paint(image, below(line, height), mix((24, 44, 62), (5, 9, 16), float(i)))
    return image
