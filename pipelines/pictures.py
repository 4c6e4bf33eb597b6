"""``difference.png``: what a document shows, what its stack shows, and how they differ, as one labelled picture."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from pipelines.flatten import Stack
from pipelines.flatten.scale import resized
from pipelines.lettering import Colour, write
from schemas.compositing import Rgba, on_solid

PAGE: Colour = (38, 41, 46)
INK: Colour = (236, 238, 241)
FAINT: Colour = (158, 165, 175)
VISIBLE: Colour = (92, 190, 255)
_LIGHT, _DARK = 205, 165
_SQUARE = 8
_AMPLIFY = 8
_NOTABLE = 2.0
_MARGIN, _TITLE = 24, 58
_SIDE = 760
_SMALL = 360


@dataclass(frozen=True)
class Panel:
    """A picture ``uint8 [height, width, 3]`` with a name and what is to say about it."""

    name: str
    remark: str
    pixels: npt.NDArray[np.uint8]


def comparison(stack: Stack) -> Image.Image:
    """The preview, the composite of the layers, and their difference times 8 with the worst square of 32 px
    outlined. Wide designs have them one below the other.
    """
    return beside(panels(stack), upright=stack.visible.width <= 2 * stack.visible.height)


def panels(stack: Stack) -> list[Panel]:
    """The three pictures of the visible box, at most 760 px a side; small ones enlarged by a whole number."""
    height, width = stack.preview.shape[:2]
    ours = resized(stack.composite[stack.visible.slices], width, height)
    found = stack.recomposition
    errors = f"mean error {found.mae:.2f}, p99 {found.p99:.1f}, worst square {stack.region:.1f} of 255"
    transparent = "" if stack.preview[..., 3].min() == 255 else ", transparent where checked"
    source = "the document’s own picture" if found.reference == "preview" else "drawn: the document has no picture"
    return [
        Panel(found.reference, source + transparent, sized(_shown(stack.preview))),
        Panel("recomposite", f"the {len(stack.layers)} layers, one over the other", sized(_shown(ours))),
        Panel(f"difference × {_AMPLIFY}", errors, _marked(sized(difference(stack.preview, ours)), stack)),
    ]


def _marked(pixels: npt.NDArray[np.uint8], stack: Stack) -> npt.NDArray[np.uint8]:
    """With the worst square outlined, where it is bad enough to be seen."""
    if stack.region < _NOTABLE:
        return pixels
    image = Image.fromarray(pixels)
    scale = image.width / stack.visible.width
    x0, y0, x1, y1 = (round(side * scale) for side in stack.worst)
    ImageDraw.Draw(image).rectangle((x0 - 3, y0 - 3, x1 + 2, y1 + 2), outline=VISIBLE, width=2)
    return np.asarray(image)


def difference(shown: Rgba, made: Rgba) -> npt.NDArray[np.uint8]:
    """The difference of two pictures times 8, black where they agree: ``uint8 [h, w, 3]``. Over white, and over black
    too where the first has alpha, whichever tells them further apart.
    """
    solids = (255,) if shown[..., 3].min() == 255 else (255, 0)
    apart = [np.abs(on_solid(shown, solid) - on_solid(made, solid)) for solid in solids]
    strong: npt.NDArray[np.uint8] = np.rint(np.maximum.reduce(apart) * _AMPLIFY).clip(0, 255).astype(np.uint8)
    return strong


def checkers(
    width: int, height: int, light: int = _LIGHT, dark: int = _DARK, side: int = _SQUARE
) -> npt.NDArray[np.uint8]:
    """The gray squares of ``side`` px that stand for transparency: ``uint8 [height, width]``."""
    rows, columns = np.arange(height) // side, np.arange(width) // side
    return np.where((rows[:, None] + columns[None, :]) % 2, dark, light).astype(np.uint8)


def _shown(pixels: Rgba) -> npt.NDArray[np.uint8]:
    """Over gray squares."""
    height, width = pixels.shape[:2]
    a = pixels[..., 3:].astype(np.float32) / 255
    below = checkers(width, height)[..., None].astype(np.float32)
    return np.rint(pixels[..., :3] * a + below * (1 - a)).astype(np.uint8)


def sized(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """At most 760 px a side; what is smaller than 360 px enlarged, its px kept square."""
    height, width = pixels.shape[:2]
    side = max(height, width)
    if side > _SIDE:
        size = max(1, round(width * _SIDE / side)), max(1, round(height * _SIDE / side))
        return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.HAMMING))
    times = max(1, math.ceil(_SMALL / max(1, side)))
    return pixels.repeat(times, axis=0).repeat(times, axis=1)


def beside(panels: list[Panel], *, upright: bool) -> Image.Image:
    """The panels from left to right, or from top to bottom, each below its name."""
    widths = [max(panel.pixels.shape[1], _SMALL) for panel in panels]
    heights = [panel.pixels.shape[0] + _TITLE for panel in panels]
    if upright:
        size = sum(widths) + _MARGIN * (len(panels) + 1), max(heights) + 2 * _MARGIN
    else:
        size = max(widths) + 2 * _MARGIN, sum(heights) + _MARGIN * (len(panels) + 1)
    page = Image.new("RGB", size, PAGE)
    draw = ImageDraw.Draw(page)
    x = y = _MARGIN
    for panel, width, height in zip(panels, widths, heights, strict=True):
        write(draw, (x, y + 18), panel.name, 20, INK, bold=True, width=width)
        write(draw, (x, y + 42), panel.remark, 15, FAINT, width=width)
        page.paste(Image.fromarray(np.ascontiguousarray(panel.pixels)), (x, y + _TITLE))
        x, y = (x + width + _MARGIN, y) if upright else (x, y + height + _MARGIN)
    return page
