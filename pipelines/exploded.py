"""``exploded.png``: the layers of a stack as sheets that lie one above the other, each with its box and its name.

Every sheet is the canvas, seen tilted: rows stay level, and what is lower on the canvas is nearer. The visible box is
outlined on each; what a layer has outside of it is drawn all the same, on warm squares.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from pipelines.flatten import Stack, StackLayer, overflow
from pipelines.lettering import Colour, length, write
from pipelines.pictures import FAINT, INK, PAGE, VISIBLE, checkers
from schemas.design import Lowering
from schemas.geometry import Box

MOST = 120
_LEAN, _FLAT = 0.38, 0.55
_MARGIN, _HEAD, _BETWEEN = 36, 92, 40
_SHEET_HEIGHT, _TALLEST, _GAP = 380, 2700, 44
_COLUMN = 13
_FINE = 2
_SQUARE = 20
_NAME, _ABOUT, _INDENT = 17, 14, 42
_LONGEST = 80
_PLAIN: Colour = (225, 228, 232)
_BEYOND: Colour = (255, 157, 66)
_LOWERED: dict[Lowering, Colour] = {
    Lowering.EXACT: (101, 206, 138),
    Lowering.PUSHED_DOWN: (120, 170, 255),
    Lowering.BAKED: (255, 196, 84),
    Lowering.MERGED: (255, 118, 117),
}


@dataclass(frozen=True)
class _View:
    """How a canvas becomes a sheet of ``width`` x ``height`` px; ``scale``: sheet px per canvas px along a row."""

    canvas: Box
    scale: float

    @property
    def width(self) -> int:
        return math.ceil((self.canvas.width + _LEAN * self.canvas.height) * self.scale) + 2

    @property
    def height(self) -> int:
        return math.ceil(self.canvas.height * self.scale * _FLAT) + 2

    def point(self, x: float, y: float, fine: int = 1) -> tuple[float, float]:
        """Where a point of the canvas lies on the sheet; ``fine``: how many times larger the sheet is drawn."""
        return (
            fine * (1 + self.scale * (x + _LEAN * (self.canvas.height - y))),
            fine * (1 + self.scale * _FLAT * y),
        )

    def corners(self, box: Box, fine: int = 1) -> list[tuple[float, float]]:
        at = ((box.x0, box.y0), (box.x1, box.y0), (box.x1, box.y1), (box.x0, box.y1))
        return [self.point(x, y, fine) for x, y in at]

    def around(self, box: Box, fine: int) -> list[tuple[float, float]]:
        """The corners a little outside, so that a line through them hides nothing of a thin layer."""
        ways = ((-1, -1), (1, -1), (1, 1), (-1, 1))
        return [(x + 2 * way, y + 2 * down) for (x, y), (way, down) in zip(self.corners(box, fine), ways, strict=True)]


@dataclass(frozen=True)
class _Page:
    """Where the sheets go: ``columns`` of ``rows``, each ``gap`` px above the one below, with ``label`` px of words."""

    view: _View
    columns: int
    rows: int
    gap: int
    label: int

    @classmethod
    def of(cls, canvas: Box, words: list[tuple[str, str]]) -> _Page:
        """For the words of each label: a name, and what it is."""
        columns = min(3, math.ceil(len(words) / _COLUMN))
        rows = math.ceil(len(words) / columns)
        sheet, most = ((940, 440), (660, 380), (430, 310))[columns - 1]
        longest = max(max(length(name, _NAME, bold=True), length(about, _ABOUT)) for name, about in words)
        label = min(most, math.ceil(longest) + _INDENT + 2)
        scale = sheet / (canvas.width + _LEAN * canvas.height)
        view = _View(canvas, min(scale, _SHEET_HEIGHT / (canvas.height * _FLAT)))
        room = (_TALLEST - view.height) // max(1, rows - 1)
        return cls(view, columns, rows, min(max(_GAP, room), max(_GAP, round(view.height * 0.7))), label)

    @property
    def size(self) -> tuple[int, int]:
        wide = self.columns * (self.view.width + self.label) + (self.columns - 1) * _BETWEEN
        return wide + 2 * _MARGIN, _HEAD + self.view.height + (self.rows - 1) * self.gap + 2 * _MARGIN

    def place(self, index: int) -> tuple[int, int]:
        """The top left corner of a layer's sheet; the lowest layers are at the bottom of the first column."""
        column, row = divmod(index, self.rows)
        x = _MARGIN + column * (self.view.width + self.label + _BETWEEN)
        return x, self.size[1] - _MARGIN - self.view.height - row * self.gap


def exploded(stack: Stack, title: str = "") -> Image.Image:
    """The exploded view, at most about 2400 px wide whatever the design; shows the lowest 120 layers."""
    shown = stack.layers[:MOST]
    words = [_words(index, layer, stack) for index, layer in enumerate(shown)]
    page = _Page.of(stack.canvas, words or [("", "")])
    picture = Image.new("RGBA", page.size, (*PAGE, 255))
    _heading(ImageDraw.Draw(picture), stack, title, page.size[0])
    for index, layer in enumerate(shown):
        x, y = page.place(index)
        if index % page.rows:
            _posts(picture, page, stack.visible, x, y)
        picture.alpha_composite(_sheet(layer, stack, page.view), (x, y))
        _label(ImageDraw.Draw(picture), (x, y), words[index], _LOWERED[layer.lowering], page)
    return picture.convert("RGB")


def _heading(draw: ImageDraw.ImageDraw, stack: Stack, title: str, width: int) -> None:
    room = width - 2 * _MARGIN
    write(draw, (_MARGIN, _MARGIN + 20), title or "exploded view", 24, INK, bold=True, width=room)
    x = float(_MARGIN)
    said = f"{len(stack.layers)} layers, lowest first" + (f"; {MOST} shown" if len(stack.layers) > MOST else "")
    for colour, words in (
        (None, said),
        (VISIBLE, f"visible box {stack.visible.width} × {stack.visible.height} px"),
        (_PLAIN, "layer box"),
        (_BEYOND, "box of a layer that reaches out"),
        *((colour, str(lowering).replace("_", " ")) for lowering, colour in _LOWERED.items()),
    ):
        if x + length(words, 15) > width - _MARGIN - 20:
            break
        if colour is not None:
            draw.rounded_rectangle((x, _MARGIN + 39, x + 12, _MARGIN + 51), 3, fill=colour)
            x += 18
        x += write(draw, (x, _MARGIN + 50), words, 15, FAINT) + 22


def _posts(picture: Image.Image, page: _Page, visible: Box, x: int, y: int) -> None:
    """Thin posts from the corners of the visible box down to the sheet below."""
    layer = Image.new("RGBA", (page.view.width, page.view.height + page.gap))
    draw = ImageDraw.Draw(layer)
    for across, down in page.view.corners(visible):
        for step in range(0, page.gap, 6):
            draw.line((across, down + step, across, down + step + 2), fill=(*VISIBLE, 110))
    picture.alpha_composite(layer, (x, y))


def _sheet(layer: StackLayer, stack: Stack, view: _View) -> Image.Image:
    """One layer's sheet, transparent around it."""
    size = view.width * _FINE, view.height * _FINE
    sheet = Image.new("RGBA", size)
    draw = ImageDraw.Draw(sheet)
    if stack.canvas != stack.visible:
        draw.polygon(view.corners(stack.canvas, _FINE), fill=(255, 255, 255, 12), outline=(255, 255, 255, 50))
    draw.polygon(view.corners(stack.visible, _FINE), fill=(*VISIBLE, 18))
    part = layer.box.intersect(stack.canvas)
    if not part.empty:
        sheet.alpha_composite(_leaned(_flat(layer, part, stack.visible, view), part, view))
    draw = ImageDraw.Draw(sheet)
    beyond = overflow(layer.pixels, layer.box, stack.visible).share > 0
    _outline(draw, view.corners(stack.visible, _FINE), VISIBLE, 2)
    if layer.box != stack.visible or beyond:
        _outline(draw, view.around(part, _FINE), _BEYOND if beyond else _PLAIN, 3)
    return sheet.reduce(_FINE)


def _outline(draw: ImageDraw.ImageDraw, corners: list[tuple[float, float]], colour: Colour, width: int) -> None:
    draw.line([*corners, corners[0], corners[1]], fill=(*colour, 255), width=width, joint="curve")


def _flat(layer: StackLayer, part: Box, visible: Box, view: _View) -> Image.Image:
    """A layer's pixels over gray squares, warm ones outside the visible box; of the sheet's size, not leaned yet."""
    across, down = view.scale * _FINE, view.scale * _FLAT * _FINE
    width, height = max(1, round(part.width * across)), max(1, round(part.height * down))
    ground = np.empty((height, width, 4), np.uint8)
    ground[..., :3] = checkers(width, height, 136, 124, _SQUARE)[..., None]
    inside = part.intersect(visible)
    warm = np.ones((height, width), bool)
    if not inside.empty:
        box = inside.within(part)
        warm[round(box.y0 * down) : round(box.y1 * down), round(box.x0 * across) : round(box.x1 * across)] = False
    ground[warm, :3] = (ground[warm, :3] * np.array([1.16, 0.94, 0.72])).astype(np.uint8)
    ground[..., 3] = 205
    flat = Image.fromarray(ground)
    flat.alpha_composite(_scaled(layer.pixels[part.within(layer.box).slices], width, height))
    return flat


def _scaled(pixels: npt.NDArray[np.uint8], width: int, height: int) -> Image.Image:
    """To a size; of far larger pictures only every so many px count, since this is a sketch."""
    rows, columns = (max(1, have // (2 * want)) for have, want in zip(pixels.shape[:2], (height, width), strict=True))
    image = Image.fromarray(np.ascontiguousarray(pixels[::rows, ::columns]))
    return image.resize((width, height), Image.Resampling.HAMMING)


def _leaned(flat: Image.Image, part: Box, view: _View) -> Image.Image:
    """``flat`` where ``part`` of the canvas lies on the sheet, its rows moved apart."""
    x, y = view.point(part.x0, part.y0, _FINE)
    size = view.width * _FINE, view.height * _FINE
    slope = _LEAN / _FLAT  # px to the left for each px down
    return flat.transform(size, Image.Transform.AFFINE, (1, slope, -x - slope * y, 0, 1, -y), Image.Resampling.BILINEAR)


def _label(draw: ImageDraw.ImageDraw, at: tuple[int, int], words: tuple[str, str], colour: Colour, page: _Page) -> None:
    """To the right of the sheet's lower edge, on a thin line that leads there."""
    canvas = page.view.canvas
    edge, level = page.view.point(canvas.x1, canvas.y1)
    left, line = at[0] + page.view.width + 8, at[1] + round(level) - 30
    draw.line((at[0] + edge + 30 / _FLAT * _LEAN + 3, line, left + 6, line), fill=(*FAINT, 255))
    draw.rounded_rectangle((left + 12, line - 6, left + 24, line + 6), 3, fill=colour)
    room, start = page.label - _INDENT, left + _INDENT - 10
    write(draw, (start, line + 5), words[0], _NAME, INK, bold=True, width=room)
    write(draw, (start, line + 24), words[1], _ABOUT, FAINT, width=room)


def _words(index: int, layer: StackLayer, stack: Stack) -> tuple[str, str]:
    """A layer's number and name, and what it is."""
    about = [str(layer.kind), f"{layer.box.width} × {layer.box.height} at {layer.box.x0}, {layer.box.y0}"]
    about += [str(layer.lowering).replace("_", " ")] if layer.lowering is not Lowering.EXACT else []
    about += [] if layer.reusable else ["not reusable"]
    beyond = overflow(layer.pixels, layer.box, stack.visible)
    about += [f"{beyond.share:.0%} outside"] if beyond.share else []
    about += ["cropped"] if layer.cropped else []
    return f"{index}  {layer.name}"[:_LONGEST], " · ".join(about)
