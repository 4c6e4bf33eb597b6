"""The true typography of a PSD text layer, from its engine data: runs with font, size, colour and style."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from itertools import groupby
from typing import Any, Literal

import numpy as np
from psd_tools.constants import Tag

from pipelines.formats.bounds import NAME, TEXT, clean, number
from pipelines.formats.psd_pixels import Colours
from schemas.design import MAX_TYPE, MIN_TYPE, Text, TextRun

_BREAKS = str.maketrans({"\r": "\n", "\x03": "\n", "\x00": None})
_CAPS: dict[int, Literal["normal", "small", "all"]] = {0: "normal", 1: "small", 2: "all"}
_ALIGNMENT: dict[int, Literal["left", "right", "centre", "justify"]] = {0: "left", 1: "right", 2: "centre"}
_WEIGHTS = (
    (r"thin|hairline", 100),
    (r"(extra|ultra)[ -]?light", 200),
    (r"(semi|demi)[ -]?bold|demi", 600),
    (r"(extra|ultra)[ -]?bold|heavy", 800),
    (r"black|poster", 900),
    (r"light", 300),
    (r"medium", 500),
    (r"bold", 700),
)
_LANGUAGES = {
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "HANGUL": "ko",
    "CJK": "zh",
    "CYRILLIC": "ru",
    "GREEK": "el",
    "ARABIC": "ar",
    "HEBREW": "he",
    "THAI": "th",
    "DEVANAGARI": "hi",
    "LATIN": "en",
}


def text_of(layer: Any, colours: Colours) -> Text | None:
    """The text of a type layer; None where its engine data is missing or broken."""
    if layer.tagged_blocks.get_data(Tag.TYPE_TOOL_OBJECT_SETTING) is None:
        return None
    try:
        setting = layer.typesetting
        xx, xy, yx, yy = (float(value) for value in layer.transform[:4])
        scale = math.hypot(yx, yy)
        runs = [_run(run, scale if math.isfinite(scale) and scale > 0 else 1.0, colours) for run in setting.runs]
        runs = _merged(runs)
        if not runs:
            return None
        content = "".join(run.text for run in runs)
        paragraphs = setting.paragraphs
        justification = int(paragraphs[0].style.justification) if paragraphs else 0
        vertical = setting.writing_direction is not None and "VERT" in setting.writing_direction.name.upper()
        return Text(
            runs=tuple(runs),
            alignment=_ALIGNMENT.get(justification, "justify"),
            direction="ttb" if vertical else direction_of(content),
            language=language_of(content),
            warped=_warped(layer),
            rotation=round(math.degrees(math.atan2(xy, xx)), 3),
        )
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, ArithmeticError):
        return None


def _run(run: Any, scale: float, colours: Colours) -> TextRun:
    style = run.style
    name = clean(style.font_name or "", NAME) or None
    size = style.font_size * scale * abs(style.vertical_scale or 1.0)
    weight = weight_of(name or "")
    if style.faux_bold:
        weight = max(weight, 700)
    leading = None if style.auto_leading else style.leading * scale
    return TextRun(
        text=clean(run.text.translate(_BREAKS), TEXT),
        font=name,
        size=number(size, MIN_TYPE, MAX_TYPE),
        colour=_hex(style.fill_color, colours) if style.fill_flag else None,
        weight=weight,
        italic=bool(style.faux_italic) or bool(re.search(r"italic|oblique", name or "", re.IGNORECASE)),
        underline=bool(style.underline),
        strikethrough=bool(style.strikethrough),
        caps=_CAPS.get(int(style.font_caps), "normal"),
        tracking=number(float(style.tracking), -MAX_TYPE, MAX_TYPE) or 0.0,
        leading=number(leading, -MAX_TYPE, MAX_TYPE),
    )


def _merged(runs: list[TextRun]) -> list[TextRun]:
    """Runs without empty ones, neighbours of one style joined, without the break that ends every PSD text."""
    out = []
    for _, group in groupby((run for run in runs if run.text), key=lambda run: run.model_copy(update={"text": ""})):
        same = list(group)
        out.append(same[0].model_copy(update={"text": "".join(run.text for run in same)}))
    if out:
        out[-1] = out[-1].model_copy(update={"text": out[-1].text.removesuffix("\n")})
    return [run for run in out if run.text]


def _hex(values: tuple[float, ...] | None, colours: Colours) -> str | None:
    """Engine colours are alpha first: ARGB, alpha and gray, or alpha and CMYK ink; 0..1."""
    if values is None or not all(math.isfinite(value) for value in values):
        return None
    channels = [round(255 * min(1.0, max(0.0, value))) for value in values[1:]]
    if len(channels) == 1:
        channels = channels * 3
    if len(channels) == 4:
        channels = [255 - ink for ink in channels]
    if colours.palette is None and len(channels) == colours.count:
        planes = [np.full((1, 1), channel, np.uint8) for channel in channels]
        channels = [int(value) for value in colours.rgb(planes)[0, 0]]
    elif len(channels) == 4:
        channels = [round(channel * channels[3] / 255) for channel in channels[:3]]
    return "#" + "".join(f"{channel:02x}" for channel in channels) if len(channels) == 3 else None


def weight_of(font: str) -> int:
    """The weight (100..900) that a font's name says; 400 where it says none."""
    return next((weight for pattern, weight in _WEIGHTS if re.search(pattern, font, re.IGNORECASE)), 400)


def direction_of(text: str) -> Literal["ltr", "rtl"]:
    """The direction of most letters."""
    classes = Counter(unicodedata.bidirectional(c) for c in text)
    return "rtl" if classes["R"] + classes["AL"] > classes["L"] else "ltr"


def language_of(text: str) -> str | None:
    """A guess from the script of the letters: the language most written in it; None without letters. Kana decides for
    ja.
    """
    scripts = Counter(unicodedata.name(c, "").split(" ")[0] for c in text if c.isalpha())
    if scripts["HIRAGANA"] + scripts["KATAKANA"]:
        return "ja"
    known = [script for script, _ in scripts.most_common() if script in _LANGUAGES]
    return _LANGUAGES[known[0]] if known else None


def _warped(layer: Any) -> bool:
    style = layer.warp.get(b"warpStyle") if layer.warp is not None else None
    return style is not None and getattr(style, "enum", b"warpNone") != b"warpNone"
