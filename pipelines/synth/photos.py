"""Procedural photographs: landscapes, water, night cities, mist, bokeh, still lifes. uint8 RGB ``[height, width, 3]``.

Drawn at half size above 500 px and enlarged: photographs are soft, and the time of a design is mostly theirs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipelines.synth.dice import Dice
from pipelines.synth.landscapes import aurora, dunes, forest, mountains, sea
from pipelines.synth.light import Light
from pipelines.synth.noise import radial
from pipelines.synth.stills import bokeh, night, spheres, table

Picture = npt.NDArray[np.uint8]

SCENES: dict[str, Callable[[Dice, int, int], Light]] = {
    "mountains": mountains,
    "sea": sea,
    "dunes": dunes,
    "forest": forest,
    "night": night,
    "bokeh": bokeh,
    "aurora": aurora,
    "spheres": spheres,
    "table": table,
}


def photo(scene: str, dice: Dice, width: int, height: int) -> Picture:
    """A photograph of ``scene`` with a vignette and a little grain."""
    halve = 2 if max(width, height) > 500 else 1
    image = SCENES[scene](dice, max(8, width // halve), max(8, height // halve))
    image *= (1 - radial(image.shape[1], image.shape[0], 0.5, 0.5, 0.85) ** 2 * np.float32(dice.uniform(0, 0.4)))[
        ..., None
    ]
    small = image.clip(0, 255).astype(np.uint8)
    if halve == 1:
        return small
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))
