"""Typesetting: runs of styled text to one RGBA picture, with the typography recorded as it was set.

Lines break at spaces (between characters in Chinese and Japanese); right-to-left lines run from the right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipelines.synth.fonts import Family, load
from pipelines.synth.palettes import Rgb, hexa
from pipelines.synth.shaping import visual
from schemas.compositing import Rgba
from schemas.design import Text, TextRun

Align = Literal["left", "right", "centre"]
RIGHT_TO_LEFT = ("ar", "he")
_NO_START = "、。，．！？）」』ーっゃゅょッャュョ％：；,.!?)%"


@dataclass(frozen=True)
class Style:
    """How a run looks: ``size`` in px, ``tracking`` in 1/1000 em."""

    family: Family
    size: float
    colour: Rgb
    weight: int = 400
    italic: bool = False
    tracking: float = 0.0

    @property
    def font(self) -> ImageFont.FreeTypeFont:
        return load(self.family.face(self.weight, self.italic), max(1, round(self.size)))

    def sized(self, size: float) -> Style:
        return replace(self, size=max(1, round(size)))

    def width(self, text: str) -> float:
        return self.font.getlength(text) + len(text) * self.tracking * self.size / 1000


@dataclass(frozen=True)
class Setting:
    """A text block of ``width`` x ``height`` px: its pixels lie at (``dx``, ``dy``) from the block's top left."""

    pixels: Rgba
    dx: int
    dy: int
    width: int
    height: int
    text: Text


@dataclass(frozen=True)
class _Piece:
    text: str
    run: int
    space: bool = False


def fit(text: str, style: Style, width: float, *, most: float, least: float = 6) -> Style:
    """``style`` at the size (px, between ``least`` and ``most``) at which ``text`` fills ``width`` on one line."""
    size = 100 * width / max(1e-6, style.sized(100).width(text))
    return style.sized(min(most, max(least, np.floor(size))))


def _pieces(runs: Sequence[tuple[str, Style]], language: str) -> list[_Piece]:
    """Unbreakable pieces in reading order; ``"\\n"`` is a piece of its own."""
    by_character = language.split("-", maxsplit=1)[0] in ("ja", "zh")
    out: list[_Piece] = []
    for index, (text, _) in enumerate(runs):
        word = ""
        for character in text:
            if character in " \n" or (by_character and ord(character) > 0x2E00 and character not in _NO_START):
                if word:
                    out.append(_Piece(word, index))
                word = ""
                if character in " \n":
                    out.append(_Piece(character, index, space=True))
                    continue
            word += character
        if word:
            out.append(_Piece(word, index))
    return out


def _break(pieces: list[_Piece], styles: Sequence[Style], width: float | None) -> list[list[_Piece]]:
    lines: list[list[_Piece]] = [[]]
    used = 0.0
    for piece in pieces:
        if piece.text == "\n":
            lines.append([])
            used = 0.0
            continue
        advance = styles[piece.run].width(piece.text)
        if width is not None and used + advance > width + 0.5 and used > 0 and not piece.space:
            lines.append([])
            used = 0.0
        if piece.space and not lines[-1]:
            continue
        lines[-1].append(piece)
        used += advance
    for line in lines:
        while line and line[-1].space:
            line.pop()
    return lines


def _spans(line: list[_Piece], rtl: bool) -> list[tuple[int, str]]:
    """(run, glyphs) from left to right, neighbours of one run joined."""
    joined: list[tuple[int, str]] = []
    for piece in line:
        if joined and joined[-1][0] == piece.run:
            joined[-1] = (piece.run, joined[-1][1] + piece.text)
        else:
            joined.append((piece.run, piece.text))
    return [(run, visual(text)) for run, text in reversed(joined)] if rtl else joined


def _draw(mask: ImageDraw.ImageDraw, x: float, y: float, text: str, style: Style) -> None:
    if not style.tracking:
        mask.text((x, y), text, font=style.font, fill=255, anchor="ls")
        return
    for character in text:
        mask.text((x, y), character, font=style.font, fill=255, anchor="ls")
        x += style.width(character)


def typeset(
    runs: Sequence[tuple[str, Style]],
    *,
    width: float | None = None,
    align: Align = "left",
    leading: float = 1.25,
    language: str = "en",
) -> Setting:
    """Set ``runs`` in a block ``width`` px wide (None: as wide as its longest line).

    ``leading`` is in em of a line's largest size.
    ``align`` is seen from a left-to-right reader: right-to-left texts swap left and right.
    """
    styles = [style for _, style in runs]
    rtl = language.split("-", maxsplit=1)[0] in RIGHT_TO_LEFT
    if rtl and align != "centre":
        align = "right" if align == "left" else "left"
    lines = [_spans(line, rtl) for line in _break(_pieces(runs, language), styles, width)]
    widths = [sum(styles[run].width(text) for run, text in line) for line in lines]
    heights = [max((styles[run].size for run, _ in line), default=styles[0].size) * leading for line in lines]
    block = width if width is not None else max(widths)
    pad = int(max(style.size for style in styles)) + 2
    size = (int(max(block, *widths)) + 2 * pad, int(sum(heights)) + 2 * pad)
    masks = [Image.new("L", size) for _ in runs]
    pens = [ImageDraw.Draw(mask) for mask in masks]
    y = float(pad)
    for line, used, height in zip(lines, widths, heights, strict=True):
        x = pad + {"left": 0.0, "centre": (block - used) / 2, "right": block - used}[align]
        for run, glyphs in line:
            _draw(pens[run], x, round(y + height * 0.5 + styles[run].size * 0.35), glyphs, styles[run])
            x += styles[run].width(glyphs)
        y += height
    pixels, left, top = _coloured(masks, styles)
    text = _record(runs, align, leading, language, rtl)
    return Setting(pixels, left - pad, top - pad, round(block), round(sum(heights)), text)


def _coloured(masks: list[Image.Image], styles: Sequence[Style]) -> tuple[Rgba, int, int]:
    """The masks' ink, cropped, each in its run's colour; and the crop's left and top."""
    layers = np.stack([np.asarray(mask) for mask in masks])
    alpha = layers.max(axis=0)
    rows, columns = np.flatnonzero(alpha.any(axis=1)), np.flatnonzero(alpha.any(axis=0))
    if not rows.size:
        return np.zeros((1, 1, 4), np.uint8), 0, 0
    area = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    alpha = alpha[area]
    colours = np.array([style.colour for style in styles], np.uint8)
    owner = layers[(slice(None), *area)].argmax(axis=0) if len(styles) > 1 else np.zeros(alpha.shape, np.intp)
    return np.dstack([colours[owner], alpha]), int(columns[0]), int(rows[0])


def _record(runs: Sequence[tuple[str, Style]], align: Align, leading: float, language: str, rtl: bool) -> Text:
    return Text(
        runs=tuple(
            TextRun(
                text=text,
                font=style.family.name,
                size=style.size,
                colour=hexa(style.colour),
                weight=style.family.face(style.weight, style.italic).weight,
                italic=style.family.face(style.weight, style.italic).italic,
                tracking=style.tracking,
                leading=round(style.size * leading, 2),
            )
            for text, style in runs
        ),
        alignment=align,
        direction="rtl" if rtl else "ltr",
        language=language,
    )
