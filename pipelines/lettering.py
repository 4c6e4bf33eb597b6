"""Words on pictures: any text of a file in one line, each letter in a font that has it."""

from __future__ import annotations

from functools import lru_cache
from itertools import groupby

from PIL import ImageDraw, ImageFont

from pipelines.synth import fonts

_FAMILIES = ("Source Sans Pro", "Noto Sans CJK JP", "Noto Sans Arabic", "Noto Sans Hebrew")
_FROM_RIGHT = _FAMILIES[2:]
_NOWHERE = "\U0010ffff"
_MISSING = "\ufffd"
_LIMIT = 200

Font = ImageFont.FreeTypeFont
Colour = tuple[int, int, int]


def write(
    draw: ImageDraw.ImageDraw,
    at: tuple[float, float],
    text: str,
    size: int,
    colour: Colour,
    *,
    bold: bool = False,
    width: float = 1e9,
) -> float:
    """Draw one line at its left end, ``at`` being on the baseline; cut to ``width`` px. Returns its width in px."""
    x, y = at
    for font, letters in _pieces(fitted(text, size, width, bold=bold), size, bold):
        draw.text((x, y), letters, fill=colour, font=font, anchor="ls")
        x += font.getlength(letters)
    return x - at[0]


def fitted(text: str, size: int, width: float, *, bold: bool = False) -> str:
    """As much of ``text`` as ``width`` px hold, with an ellipsis where some is left out."""
    line = "".join(letter if letter.isprintable() else " " for letter in text[:_LIMIT])
    if len(text) <= _LIMIT and length(line, size, bold=bold) <= width:
        return line
    low, high = 0, len(line)
    while low < high:  # the longest beginning that fits
        middle = (low + high + 1) // 2
        if length(line[:middle] + "…", size, bold=bold) <= width:
            low = middle
        else:
            high = middle - 1
    return line[:low].rstrip() + "…"


def length(text: str, size: int, *, bold: bool = False) -> float:
    """The width of a line in px."""
    return sum(font.getlength(letters) for font, letters in _pieces(text, size, bold))


def _pieces(text: str, size: int, bold: bool) -> list[tuple[Font, str]]:
    """Stretches of one font; what no font has becomes a sign for it."""
    chosen = [(_family_for(letter, bold), letter) for letter in text]
    kept = [(family or _FAMILIES[1], letter if family else _MISSING) for family, letter in chosen]
    pieces = []
    for family, group in groupby(kept, key=lambda pair: pair[0]):
        letters = "".join(letter for _, letter in group)
        pieces.append((_font(family, size, bold), letters[::-1] if family in _FROM_RIGHT else letters))
    return pieces


@lru_cache(maxsize=4096)
def _family_for(letter: str, bold: bool) -> str | None:
    return next((family for family in _FAMILIES if letter == " " or _has(family, letter, bold)), None)


def _has(family: str, letter: str, bold: bool) -> bool:
    font = _font(family, 16, bold)
    return bytes(font.getmask(letter)) != bytes(font.getmask(_NOWHERE))


@lru_cache(maxsize=64)
def _font(family: str, size: int, bold: bool) -> Font:
    return fonts.load(fonts.FAMILIES[family].face(700 if bold else 400, italic=False), size)
