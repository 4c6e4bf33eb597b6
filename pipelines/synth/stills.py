"""Photographed towns and things: night, bokeh, balls, a laid table. float32 ``[height, width, 3]``, 0..255."""

from __future__ import annotations

import numpy as np

from pipelines.synth.dice import Dice
from pipelines.synth.light import Light, ball, below, glow, lights, paint
from pipelines.synth.noise import axes, fractal, radial, ramp
from pipelines.synth.palettes import mix, rgb, turned


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
        paint(image, below(line, height), wall)
        cell = max(3, width // (60 + 20 * (2 - i)))
        rows, columns = height // cell + 1, width // cell + 1
        lit = np.kron(
            (dice.numpy.random((rows, columns)) < 0.22).astype(np.float32), np.ones((cell, cell), np.float32)
        )[:height, :width]
        grid = ((np.arange(height) % cell) < cell * 0.55)[:, None] & ((np.arange(width) % cell) < cell * 0.5)[None, :]
        glass = lit * grid * (y * height > line[None, :] + cell)
        paint(
            image,
            (glass * np.float32(0.35 + 0.2 * i)).astype(np.float32),
            dice.pick(((255, 214, 140), (255, 236, 190), (190, 220, 255))),
        )
    lights(
        dice, image, dice.integer(12, 26), [(255, 190, 110), (255, 120, 120), (140, 190, 255), (255, 235, 190)], low=0.5
    )
    return image


def bokeh(dice: Dice, width: int, height: int) -> Light:
    turn = dice.uniform(0, 360)
    a, b, c = (
        turned((40, 60, 110), turn),
        turned((150, 70, 110), turn + dice.uniform(-40, 40)),
        turned((235, 170, 110), turn),
    )
    field = fractal(dice, width, height, cell=0.7, octaves=2)
    image = ramp(field, mix(a, (0, 0, 0), 0.4), a, b, c)
    lights(
        dice, image, dice.integer(20, 45), [turned(c, dice.uniform(-30, 30), 0.1) for _ in range(4)] + [(255, 245, 225)]
    )
    return image


def spheres(dice: Dice, width: int, height: int) -> Light:
    turn = dice.uniform(0, 360)
    wall, floor = turned((222, 196, 186), turn, 0.05), turned((196, 160, 150), turn)
    edge = dice.uniform(0.5, 0.7)
    image = np.broadcast_to(ramp(axes(width, height)[1], wall, mix(wall, floor, 0.4)), (height, width, 3)).copy()
    glow(image, 0.2, 0.15, 0.09, (255, 250, 242), disc=False)
    paint(image, below(np.full(width, edge * height, np.float32), height), floor)
    side = max(width, height)
    balls = sorted(
        (dice.uniform(edge - 0.06, 0.95), dice.uniform(0.02, 0.98), dice.uniform(0.04, 0.17))
        for _ in range(dice.integer(4, 8))
    )
    for cy, cx, radius in balls:
        ball(
            image,
            cx * width,
            cy * height - radius * side * 0.5,
            radius * side,
            turned((214, 106, 76), turn + dice.pick((0, 25, 150, 180, 210))),
        )
    return image


def table(dice: Dice, width: int, height: int) -> Light:
    dark, light = (
        rgb(h) for h in dice.pick(("5b3a26 9a6b45", "2b2b2f 4a4a50", "cbb796 e6d8bd", "3d4f4a 6a8077")).split()
    )
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
        paint(image, np.clip((1 - distance) * np.float32(radius), 0, 1).astype(np.float32), plate)
        rim = np.exp(-(((distance - np.float32(0.74)) / np.float32(0.025)) ** 2))
        paint(image, (rim * np.float32(0.3)).astype(np.float32), (120, 110, 105))
        base = dice.pick(((196, 58, 44), (232, 156, 52), (96, 138, 60), (140, 60, 90), (222, 190, 90)))
        for _ in range(dice.integer(5, 11)):
            angle, away = dice.uniform(0, 6.28), dice.uniform(0, 0.5) * radius
            ball(
                image,
                cx + away * np.cos(angle),
                cy + away * np.sin(angle),
                radius * dice.uniform(0.09, 0.2),
                turned(base, dice.uniform(-22, 22)),
            )
    return image
