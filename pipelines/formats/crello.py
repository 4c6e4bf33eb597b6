"""Reading a Crello row (``crello_parquet`` wrote it): pre-drawn elements, placed, scaled and rotated on their canvas.

Text elements come with their typography. Where an element has no picture (version 5 draws some text from fonts that
are not in the file), the layer is empty and says so, and the row's small preview is the reference that then
disagrees. A row with all its pictures is held against the small preview here, at the preview's size.
"""

from __future__ import annotations

import html
import math
import re
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from pipelines.errors import Rejected
from pipelines.formats import raster
from pipelines.formats.bounds import TEXT, clean, number
from pipelines.formats.limits import ReadLimits, unreadable
from pipelines.formats.tree import Document, Leaf
from pipelines.formats.typography import direction_of, language_of, weight_of
from schemas.compositing import Rgba, composite, on_solid
from schemas.design import MAX_TYPE, MIN_TYPE, LayerKind, Text, TextRun
from schemas.geometry import Box
from schemas.ledger import Code

PICTURES = ("PNG", "WEBP", "JPEG")
MAX_PREVIEW_ERROR = 8.0
"""Mean difference of a small preview, 0..255: resampling alone makes some."""
_KINDS = {
    "textelement": LayerKind.TEXT,
    "svgelement": LayerKind.SHAPE,
    "coloredbackground": LayerKind.FILL,
}
_ALIGNMENT = {"left": "left", "right": "right", "center": "centre", "centre": "centre", "justify": "justify"}
_RGBA = re.compile(r"rgba?\(\s*([\d.]+)\s*,\s*([\d.]+)\s*,\s*([\d.]+)")
_HEX = re.compile(r"#[0-9a-fA-F]{6}$")


@dataclass(frozen=True)
class Element:
    """Where an element lies: its unrotated rectangle in canvas px and degrees clockwise about its centre."""

    left: float
    top: float
    width: float
    height: float
    angle: float

    @property
    def size(self) -> tuple[int, int]:
        """Unrotated width and height in whole px, at least 1."""
        return max(1, round(self.width)), max(1, round(self.height))

    @property
    def box(self) -> Box:
        """The whole pixels that the rotated rectangle touches."""
        width, height = self.size
        if self.angle % 360 == 0:
            x, y = round(self.left), round(self.top)
            return Box(x, y, x + width, y + height)
        cos, sin = abs(math.cos(math.radians(self.angle))), abs(math.sin(math.radians(self.angle)))
        reach_x, reach_y = (width * cos + height * sin) / 2, (width * sin + height * cos) / 2
        cx, cy = self.left + self.width / 2, self.top + self.height / 2
        return Box(math.floor(cx - reach_x), math.floor(cy - reach_y), math.ceil(cx + reach_x), math.ceil(cy + reach_y))


def read(path: Path, limits: ReadLimits) -> Document:
    """Read a one-row Arrow file; raises Rejected(UNREADABLE | TOO_LARGE)."""
    with unreadable("not a Crello row"), pa.OSFile(str(path)) as source, pa.ipc.open_file(source) as file:
        row = file.read_all().to_pylist()[0]
    width, height = _number(row, "canvas_width"), _number(row, "canvas_height")
    limits.check_document(width, height)
    count = len(row["type"] or ())
    limits.check_layers(count)
    for name in ("left", "top", "width", "height", "image"):
        if len(row[name] or ()) != count:
            raise Rejected(Code.UNREADABLE, f"the row has {count} elements but {len(row[name] or ())} values of {name}")
    leaves = tuple(_leaf(row, index, limits) for index in range(count))
    box = Box(0, 0, width, height)
    leaves = _on_white(leaves, box)
    preview = _preview(row["preview"], leaves, box, limits)
    return Document(width, height, leaves, preview=preview, render=lambda: _render(leaves, box))


def _number(row: dict[str, Any], name: str) -> int:
    if not isinstance(row[name], int):
        raise Rejected(Code.UNREADABLE, f"the row has no {name}")
    return int(row[name])


def _at(row: dict[str, Any], name: str, index: int, default: Any) -> Any:
    """An element's value of a column that may be missing, short or null."""
    values = row.get(name)
    value = values[index] if values is not None and index < len(values) else None
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return default
    return value


def _leaf(row: dict[str, Any], index: int, limits: ReadLimits) -> Leaf:
    kind = _KINDS.get(str(_at(row, "type", index, "")).lower(), LayerKind.IMAGE)
    numbers = [float(_at(row, name, index, 0.0)) for name in ("left", "top", "width", "height", "angle")]
    if any(abs(number) > 10 * limits.max_layer_side for number in numbers):
        raise Rejected(Code.TOO_LARGE, f"element {index} is at {numbers[:4]}")
    element = Element(*numbers)
    text = _text(row, index, element.angle) if kind is LayerKind.TEXT else None
    name = text.content[:60] if text else f"{_at(row, 'type', index, 'element')} {index}"
    picture = _at(row, "image", index, b"")
    opacity = min(1.0, max(0.0, float(_at(row, "opacity", index, 1.0))))
    if not picture:
        return Leaf(name=name, opacity=opacity, undrawn=(f"{kind} without a picture",), kind=kind, text=text)
    box = element.box
    limits.check_layer(name, box.x0, box.y0, box.width, box.height)
    limits.check_layer(name, 0, 0, *raster.size_of(picture, f"picture {index}", PICTURES))
    return Leaf(
        name=name,
        opacity=opacity,
        kind=kind,
        box=box,
        pixels=lambda: _placed(raster.decode(picture, f"picture {index}", limits, PICTURES), element),
        text=text,
    )


def _placed(pixels: Rgba, element: Element) -> Rgba:
    """An element's picture at its size and angle, uint8 of ``element.box``'s size. Resampled with premultiplied
    colour.
    """
    image = Image.fromarray(pixels, "RGBA").convert("RGBa")
    if image.size != element.size:
        image = image.resize(element.size, Image.Resampling.LANCZOS)
    box = element.box
    if element.angle % 360 == 0:
        return np.array(image.convert("RGBA"))
    radians = math.radians(element.angle)
    cos, sin = math.cos(radians), math.sin(radians)
    width, height = element.size
    cx, cy = element.left + element.width / 2 - box.x0, element.top + element.height / 2 - box.y0
    inverse = (cos, sin, width / 2 - cos * cx - sin * cy, -sin, cos, height / 2 + sin * cx - cos * cy)
    turned = image.transform((box.width, box.height), Image.Transform.AFFINE, inverse, Image.Resampling.BICUBIC)
    return np.array(turned.convert("RGBA"))


def _preview(data: bytes | None, leaves: tuple[Leaf, ...], canvas: Box, limits: ReadLimits) -> Rgba | None:
    """The row's preview where it has the canvas's size, and enlarged where pictures are missing: it shows them.

    Raises Rejected(RECOMPOSE_MISMATCH) where a preview of another size does not show these elements.
    """
    if not data:
        return None
    pixels = raster.decode(data, "preview", limits, PICTURES)
    size = (canvas.width, canvas.height)
    if pixels.shape[:2] == (canvas.height, canvas.width):
        return pixels
    if any(leaf.undrawn for leaf in leaves):
        return np.array(Image.fromarray(pixels, "RGBA").resize(size, Image.Resampling.BICUBIC))
    drawn = Image.fromarray(_render(leaves, canvas), "RGBA").convert("RGBa")
    small = np.array(drawn.resize(pixels.shape[1::-1], Image.Resampling.BOX).convert("RGBA"))
    error = float(np.abs(on_solid(small, 255) - on_solid(pixels, 255)).mean())
    if error > MAX_PREVIEW_ERROR:
        limit = f"the limit is {MAX_PREVIEW_ERROR}"
        raise Rejected(Code.RECOMPOSE_MISMATCH, f"the small preview differs by {error:.1f} on average; {limit}")
    return None


def _on_white(leaves: tuple[Leaf, ...], canvas: Box) -> tuple[Leaf, ...]:
    """The elements on white paper, as the data set's own renderer draws them, unless the lowest covers it."""
    lowest = leaves[0] if leaves else Leaf(name="")
    if lowest.box.contains(canvas) and lowest.opacity == 1 and lowest.pixels()[..., 3].min() == 255:
        return leaves
    white = Leaf(
        name="canvas",
        kind=LayerKind.BACKGROUND,
        box=canvas,
        pixels=lambda: np.full((canvas.height, canvas.width, 4), 255, np.uint8),
    )
    return (white, *leaves)


def _render(leaves: tuple[Leaf, ...], canvas: Box) -> Rgba:
    """All elements drawn onto each other."""
    placed = []
    for leaf in leaves:
        pixels = leaf.pixels()
        faded = pixels.copy()
        faded[..., 3] = np.rint(pixels[..., 3] * leaf.opacity)
        placed.append((faded, leaf.box))
    return composite(placed, canvas)


def _text(row: dict[str, Any], index: int, angle: float) -> Text | None:
    """An element's text in runs of one style; per-character columns that do not fit the text are left out."""
    content = clean(html.unescape(str(_at(row, "text", index, ""))), TEXT)
    if not content:
        return None
    size = float(_at(row, "font_size", index, 0.0))
    font = _at(row, "font", index, None)
    spacing = float(_at(row, "letter_spacing", index, 0.0))
    line = float(_at(row, "line_height", index, 0.0))
    styles = list(zip(*(_each(row, name, index, len(content)) for name in _PER_CHARACTER), strict=True))
    runs, start = [], 0
    for (bold, italic, colour), group in groupby(styles):
        end = start + len(list(group))
        runs.append(
            TextRun(
                text=content[start:end],
                font=str(font) if font else None,
                size=number(size, MIN_TYPE, MAX_TYPE),
                colour=_hex(colour),
                weight=max(700, weight_of(str(font or ""))) if bold else weight_of(str(font or "")),
                italic=bool(italic),
                caps="all" if _at(row, "capitalize", index, False) else "normal",
                tracking=number(spacing / size * 1000, -MAX_TYPE, MAX_TYPE) or 0.0 if size > 0 else 0.0,
                leading=number(size * line, MIN_TYPE, MAX_TYPE) if size > 0 else None,
            )
        )
        start = end
    alignment: Any = _ALIGNMENT.get(str(_at(row, "text_align", index, "")))
    return Text(
        runs=tuple(runs),
        alignment=alignment,
        direction=direction_of(content),
        language=language_of(content),
        rotation=round(math.fmod(angle, 360), 3),
    )


_PER_CHARACTER = ("font_bold", "font_italic", "text_color")


def _each(row: dict[str, Any], name: str, index: int, length: int) -> list[Any]:
    values = list(_at(row, name, index, ()))
    if len(values) == length:
        return values
    return [values[0] if values else None] * length


def _hex(colour: Any) -> str | None:
    text = str(colour or "")
    if _HEX.match(text):
        return text.lower()
    found = _RGBA.match(text)
    return "#" + "".join(f"{min(255, round(float(part))):02x}" for part in found.groups()) if found else None
