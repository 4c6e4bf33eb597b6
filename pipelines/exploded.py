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
from pipelines.pictures import FAINT, INK, PAGE, checkers
from schemas.design import Lowering
from schemas.geometry import Box

MOST = 120
_LEAN, _FLAT = 0.42, 0.5
_MARGIN, _HEAD, _BETWEEN = 36, 92, 40
_SHEET_HEIGHT, _TALLEST, _GAP = 330, 2700, 44
_COLUMN = 13
_FINE = 2
VISIBLE: Colour = (92, 190, 255)
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


@dataclass(frozen=True)
class _Page:
    """Where the sheets go: ``columns`` of ``rows``, each ``gap`` px above the one below, with ``label`` px of words."""

    view: _View
    columns: int
    rows: int
    gap: int
    label: int

    @classmethod
    def of(cls, canvas: Box, count: int) -> _Page:
        columns = min(3, math.ceil(count / _COLUMN))
        rows = math.ceil(count / columns)
        sheet, label = ((940, 440), (660, 380), (430, 310))[columns - 1]
        scale = sheet / (canvas.width + _LEAN * canvas.height)
        view = _View(canvas, min(scale, _SHEET_HEIGHT / (canvas.height * _FLAT)))
        room = (_TALLEST - view.height) // max(1, rows - 1)
        return cls(view, columns, rows, max(_GAP // 2, min(room, max(_GAP, round(view.height * 0.7)))), label)

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
    page = _Page.of(stack.canvas, max(1, len(shown)))
    picture = Image.new("RGBA", page.size, (*PAGE, 255))
    _heading(ImageDraw.Draw(picture), stack, title, page.size[0])
    for index, layer in enumerate(shown):
        x, y = page.place(index)
        if index % page.rows:
            _posts(picture, page, stack.visible, x, y)
        picture.alpha_composite(_sheet(layer, stack, page.view), (x, y))
        _label(ImageDraw.Draw(picture), index, layer, stack, page)
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
        _outline(draw, view.corners(part, _FINE), _BEYOND if beyond else _PLAIN, 3)
    return sheet.reduce(_FINE)


def _outline(draw: ImageDraw.ImageDraw, corners: list[tuple[float, float]], colour: Colour, width: int) -> None:
    draw.line([*corners, corners[0], corners[1]], fill=(*colour, 255), width=width, joint="curve")


def _flat(layer: StackLayer, part: Box, visible: Box, view: _View) -> Image.Image:
    """A layer's pixels over gray squares, warm ones outside the visible box, at the sheet's scale but not leaned yet."""
    across, down = view.scale * _FINE, view.scale * _FLAT * _FINE
    width, height = max(1, round(part.width * across)), max(1, round(part.height * down))
    ground = np.empty((height, width, 4), np.uint8)
    ground[..., :3] = checkers(width, height, 138, 120)[..., None]
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
    return flat.transform(
        size, Image.Transform.AFFINE, (1, slope, -x - slope * y, 0, 1, -y), Image.Resampling.BILINEAR
    )


def _label(draw: ImageDraw.ImageDraw, index: int, layer: StackLayer, stack: Stack, page: _Page) -> None:
    """To the right of the sheet's lower half, on a thin line that leads there."""
    x, y = page.place(index)
    edge, level = page.view.point(stack.canvas.x1, stack.canvas.y1)
    left, line = x + page.view.width + 8, y + round(level) - 30
    start = x + edge + (level - (line - y)) / _FLAT * _LEAN
    draw.line((start + 3, line, left + 6, line), fill=(*FAINT, 255))
    room = page.label - 44
    draw.rounded_rectangle((left + 12, line - 6, left + 24, line + 6), 3, fill=_LOWERED[layer.lowering])
    name = layer.name if layer.reusable else f"{layer.name} (not reusable)"
    write(draw, (left + 32, line + 5), f"{index}  {name}", 17, INK, bold=True, width=room)
    write(draw, (left + 32, line + 24), _about(layer, stack), 14, FAINT, width=room)


def _about(layer: StackLayer, stack: Stack) -> str:
    words = [str(layer.kind), f"{layer.box.width} × {layer.box.height} at {layer.box.x0}, {layer.box.y0}"]
    words += [str(layer.lowering).replace("_", " ")] if layer.lowering is not Lowering.EXACT else []
    beyond = overflow(layer.pixels, layer.box, stack.visible)
    words += [f"{beyond.share:.0%} outside"] if beyond.share else []
    words += ["cropped"] if layer.cropped else []
    return " · ".join(words)
