"""A sheet of samples as one picture: what the model was given, what it should have made, what it made, layer by layer.

A design is two rows: the truth above, the model below; one where nobody knows the truth. Each layer lies where it
belongs on its canvas, on which the visible box is framed; what is transparent shows a chequerboard.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from model.tasks import BACKGROUND
from schemas.compositing import Placed, Rgba, composite
from schemas.geometry import Box, union
from training.examples import Example
from training.learner import Learner
from training.sampled import Sampler, decoded, sample_tokens

CELL, GAP, MARGIN, LINE = 120, 8, 12, 20
"""Px: the side of a layer's cell, what is between cells, what is around the sheet, and the height of a line of text."""

LARGE, NAMES = 2 * CELL + GAP, 48
"""Px: the side of the cells of whole pictures, as high as two rows; the width of the names of the two rows."""

MAX_ROWS, MAX_LAYERS = 16, 16
"""What a sheet shows at most: it has under 15 million pixels."""

MAX_LETTERS = 600
"""Of a prompt: what is over is not looked at."""

_INK, _FAINT, _PAPER, _FRAME, _RULE = (30, 30, 30), (125, 125, 125), (255, 255, 255), (230, 30, 100), (215, 215, 215)
_LIGHT, _DARK, _SQUARE = 255, 222, 6
_PACKAGE, _FILE = "noto-cjk-sans-jp-regular", "noto_cjk_sans_jp_regular/NotoSansCJKjp-Regular.otf"
"""One font with the letters of most languages."""


@dataclass(frozen=True, eq=False)
class Version:
    """A design as it is or as it was made: the ``whole`` in the visible box, and the layers that were to be made."""

    whole: Rgba
    layers: tuple[Placed, ...]


@dataclass(frozen=True, eq=False)
class Row:
    """One design. ``given``: the picture that the model saw in the visible box, if any; ``prompt``: what it read.

    ``canvas`` and ``visible``: boxes in px, in which the layers lie too. ``numbers``: of the layers to be made.
    ``truth``: None where nobody knows it.
    """

    key: str
    prompt: str
    canvas: Box
    visible: Box
    numbers: tuple[int, ...]
    given: Rgba | None
    truth: Version | None
    model: Version

    @property
    def versions(self) -> dict[str, Version]:
        """By name, the truth first."""
        return {"model": self.model} if self.truth is None else {"truth": self.truth, "model": self.model}


def sheet_of(learner: Learner, examples: Iterable[Example], sampler: Sampler, designs: int = MAX_ROWS) -> Image.Image:
    """A sheet of the first ``designs`` of examples of one task. All ranks call it, with the same examples.

    The truth is what the codec gives back of it, which is the best that a model can do.

    Raises:
        UsageError: the designs of an example are of several tasks.
    """
    rows: list[Row] = []
    for example in examples:
        some = example.select(range(min(len(example.keys), designs - len(rows))))
        if some.keys:
            truth = decoded(learner, some, some.tokens)
            model = decoded(learner, some, sample_tokens(learner, some, sampler))
            rows += rows_of(some, learner.codec.token_px, truth, model)
    return sheet(rows)


def rows_of(
    example: Example, token_px: int, truth: Sequence[Sequence[Tensor]], model: Sequence[Sequence[Tensor]]
) -> list[Row]:
    """The rows of an example from the pictures u8 [h, w, 4] of its regions, references left out, of each design."""
    regions = example.regions
    columns = regions.design, regions.layer, regions.boxes, regions.clean, regions.condition
    places: list[list[_Place]] = [[] for _ in example.keys]
    for design, layer, box, clean, condition in zip(*(column.tolist() for column in columns), strict=True):
        if not condition:
            places[design].append(_Place(layer, Box(*(side * token_px for side in box)), clean))
    visible = [
        Box(math.floor(x0), math.floor(y0), math.ceil(x1), math.ceil(y1)) for x0, y0, x1, y1 in example.visible.tolist()
    ]
    each = zip(example.keys, example.prompts, visible, places, truth, model, strict=True)
    return [_row(*parts) for parts in each]


def sheet(rows: Sequence[Row]) -> Image.Image:
    """The rows under each other, all with a truth or none: at most ``MAX_ROWS``, of each ``MAX_LAYERS`` layers; RGB."""
    rows = rows[:MAX_ROWS]
    names = ("given", *(rows[0].versions if rows else ("truth", "model")))
    columns = max([min(len(row.numbers), MAX_LAYERS) for row in rows], default=0)
    left = MARGIN + len(names) * (LARGE + GAP)
    width = left + (NAMES + columns * (CELL + GAP) if columns else 0) + MARGIN
    out = Image.new("RGB", (width, 2 * MARGIN + LINE + len(rows) * (LARGE + LINE + 2 * GAP)), _PAPER)
    draw = ImageDraw.Draw(out)
    for number, name in enumerate(names):
        _write(draw, (MARGIN + number * (LARGE + GAP), MARGIN), name, LARGE, _INK)
    if columns:
        _write(draw, (left + NAMES, MARGIN), "layers, bottom to top", width - left - NAMES, _INK)
    for number, row in enumerate(rows):
        _draw_row(out, draw, row, MARGIN + LINE + number * (LARGE + LINE + 2 * GAP))
    return out


@dataclass(frozen=True)
class _Place:
    layer: int
    box: Box
    clean: bool


def _row(
    key: str,
    prompt: str,
    visible: Box,
    places: Sequence[_Place],
    truth: Sequence[Tensor],
    model: Sequence[Tensor],
) -> Row:
    layers = [at for at, place in enumerate(places) if place.layer >= BACKGROUND]
    made = [at for at in layers if not places[at].clean]
    seen = [at for at, place in enumerate(places) if place.clean and place.layer < BACKGROUND]

    def placed(pictures: Sequence[Tensor], numbers: Sequence[int]) -> tuple[Placed, ...]:
        return tuple((pictures[at].cpu().numpy(), places[at].box) for at in numbers)

    def version(pictures: Sequence[Tensor]) -> Version:
        return Version(composite(placed(pictures, layers or range(len(places))), visible), placed(pictures, made))

    given = composite(placed(truth, seen), visible) if seen else None
    canvas = union([visible, *(places[at].box for at in layers)])
    numbers = tuple(places[at].layer for at in made)
    return Row(key, prompt, canvas, visible, numbers, given, version(truth), version(model))


def _draw_row(out: Image.Image, draw: ImageDraw.ImageDraw, row: Row, top: int) -> None:
    x = MARGIN
    if row.given is None:
        _paragraph(draw, (x, top), row.prompt or "(no text)")
    else:
        _place(out, _picture([(row.given, row.visible)], row.visible, LARGE), (x, top), LARGE)
    for version in row.versions.values():
        x += LARGE + GAP
        _place(out, _picture([(version.whole, row.visible)], row.visible, LARGE), (x, top), LARGE)
    x += LARGE + GAP
    for number, (name, version) in enumerate(row.versions.items()):
        if row.numbers:
            _write(draw, (x, top + number * (CELL + GAP) + CELL // 2 - LINE // 2), name, NAMES, _FAINT)
        for column, layer in enumerate(version.layers[:MAX_LAYERS]):
            at = x + NAMES + column * (CELL + GAP), top + number * (CELL + GAP)
            _place(out, _picture([layer], row.canvas, CELL, frame=row.visible), at, CELL)
    said = [row.key[:8], "" if row.given is None else row.prompt]
    if len(row.numbers) > MAX_LAYERS:
        said.append(f"{len(row.numbers) - MAX_LAYERS} more layers")
    _write(draw, (MARGIN, top + LARGE), "  ".join(filter(None, said)), out.width - 2 * MARGIN, _FAINT)
    below = top + LARGE + LINE + GAP
    draw.line((MARGIN, below, out.width - MARGIN, below), fill=_RULE)


def _picture(layers: Sequence[Placed], area: Box, side: int, frame: Box | None = None) -> Image.Image:
    """Layers in an area of px, as large as a square of ``side`` px allows, on a chequerboard; RGB."""
    scale = side / max(area.width, area.height)
    width, height = max(1, round(area.width * scale)), max(1, round(area.height * scale))
    out = _chequered(width, height)
    for pixels, box in layers:
        part = box.intersect(area)
        if part.empty:
            continue
        x0, y0, x1, y1 = (round(edge * scale) for edge in part.within(area))
        source = Image.fromarray(np.ascontiguousarray(pixels[part.within(box).slices]), "RGBA")
        kind = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.LANCZOS
        out.alpha_composite(source.resize((max(1, x1 - x0), max(1, y1 - y0)), kind), (x0, y0))
    if frame is not None and frame != area:
        x0, y0, x1, y1 = (round(edge * scale) for edge in frame.within(area))
        ImageDraw.Draw(out).rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), outline=_FRAME)
    return out.convert("RGB")


def _chequered(width: int, height: int) -> Image.Image:
    y, x = np.indices((height, width)) // _SQUARE
    return Image.fromarray(np.where((x + y) % 2, _DARK, _LIGHT).astype(np.uint8)).convert("RGBA")


def _place(out: Image.Image, picture: Image.Image, at: tuple[int, int], side: int) -> None:
    """In the middle of a cell of ``side`` px."""
    out.paste(picture, (at[0] + (side - picture.width) // 2, at[1] + (side - picture.height) // 2))


def _paragraph(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str) -> None:
    """As many lines of a text as a large cell has room for."""
    rest = _clean(text)
    for number in range(LARGE // LINE):
        last = number == LARGE // LINE - 1
        line = rest if last else _beginning(rest, LARGE)
        _write(draw, (at[0], at[1] + number * LINE), line, LARGE, _INK)
        rest = rest[len(line) :].lstrip()
        if not rest:
            return


def _beginning(text: str, width: int) -> str:
    """What fits in a line, broken at a space where there is one."""
    count = _fitting(text, width)
    if count == len(text):
        return text
    space = text.rfind(" ", 0, count + 1)
    return text[: space if space > 0 else max(1, count)]


def _write(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, width: int, ink: tuple[int, int, int]) -> None:
    """One line, cut to ``width`` px."""
    line = _clean(text)
    if _fitting(line, width) < len(line):
        line = line[: _fitting(line, width - int(_font().getlength("…")))].rstrip() + "…"
    draw.text((at[0], at[1] + 0.72 * LINE), line, fill=ink, font=_font(), anchor="ls")


def _fitting(text: str, width: int) -> int:
    """How many letters of a line ``width`` px hold."""
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if _font().getlength(text[:middle]) <= width:
            low = middle
        else:
            high = middle - 1
    return low


def _clean(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text[:MAX_LETTERS])


@lru_cache(maxsize=1)
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    try:
        path = str(metadata.distribution(_PACKAGE).locate_file(_FILE))
        return ImageFont.truetype(path, 13, layout_engine=ImageFont.Layout.BASIC)
    except (metadata.PackageNotFoundError, OSError):
        return ImageFont.load_default(13)
