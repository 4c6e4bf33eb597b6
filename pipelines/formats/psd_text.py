"""The true typography of a PSD text layer, from its engine data: runs with font, size, colour and style.

A run's own lengths are px of the document before the layer's transform; those it inherits from the document's normal
style sheet are points (observed in Photoshop files of 300 px an inch).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any, Literal

import numpy as np
from psd_tools.constants import ColorMode, Resource, Tag

from pipelines.formats.bounds import NAME, RUNS, TEXT, clean, number
from pipelines.formats.psd_colours import Colours
from pipelines.formats.psd_engine import LANGUAGES, Runs, Sheet, at, numbers, real, runs_of
from pipelines.formats.typography import direction_of, language_of, slanted, weight_of
from schemas.design import MAX_TYPE, MIN_TYPE, Alignment, Text, TextRun

_BREAKS = str.maketrans({"\r": "\n", "\x03": "\n"})
_CAPS: dict[int | None, Literal["normal", "small", "all"]] = {1: "small", 2: "all"}
_BASELINE: dict[int | None, Literal["normal", "super", "sub"]] = {1: "super", 2: "sub"}
_ALIGNMENT: dict[int | None, Alignment] = {0: "left", 1: "right", 2: "centre", None: "left"}
_STYLE, _PARAGRAPH = ("StyleSheet", "StyleSheetData"), ("ParagraphSheet", "Properties")
_AUTO_LEADING = 1.2
_FAUX_BOLD = 700
_BENDS = (b"warpValue", b"warpPerspective", b"warpPerspectiveOther")


def text_of(layer: Any, colours: Colours) -> Text | None:
    """The text of a type layer; None where it has none. What of it is broken is left out."""
    setting = layer.tagged_blocks.get_data(Tag.TYPE_TOOL_OBJECT_SETTING)
    if setting is None:
        return None
    engine, resources = layer.engine_dict, layer.resource_dict or layer.document_resources
    content = at(engine, "Editor", "Text")
    content = (content if isinstance(content, str) and content else layer.text)[:TEXT]
    normal, paragraph = _defaults(resources, _px_per_point(layer))
    styles = runs_of(at(engine, "StyleRun"), content, _STYLE, normal)
    paragraphs = runs_of(at(engine, "ParagraphRun"), content, _PARAGRAPH, paragraph)
    matrix = _Matrix.of(setting.transform)
    runs = _Reader(at(resources, "FontSet"), colours, matrix).runs(content, styles, paragraphs)
    if not runs:
        return None
    said, warp = "".join(run.text for run in runs), _warp(setting.warp)
    alignments = _alignments(content, paragraphs)[: said.count("\n") + 1]
    vertical = at(engine, "Rendered", "Shapes", "WritingDirection") == 2
    return Text(
        runs=tuple(runs),
        alignment=Counter(alignments).most_common(1)[0][0],
        alignments=tuple(alignments) if len(set(alignments)) > 1 else (),
        direction="ttb" if vertical or _enum(setting.text_data, b"Ornt") == "Vrtc" else direction_of(said),
        language=language_of(said, _claimed(content, styles)),
        warped=warp is not None,
        warp=warp,
        rotation=matrix.rotation,
    )


def _defaults(resources: Any, point: float) -> tuple[Sheet, Sheet]:
    """The normal style sheet and the normal paragraph sheet."""
    sheets = []
    for names, chosen, body in (
        ("StyleSheetSet", "TheNormalStyleSheet", "StyleSheetData"),
        ("ParagraphSheetSet", "TheNormalParagraphSheet", "Properties"),
    ):
        index = at(resources, chosen)
        found = at(resources, names, index if isinstance(index, int) else 0, body)
        sheets.append(Sheet(((found, point),)))
    return sheets[0], sheets[1]


def _px_per_point(layer: Any) -> float:
    """Of the document's resolution; 1 where it has none."""
    info = layer._psd.image_resources.get_data(Resource.RESOLUTION_INFO)
    inch = real(getattr(info, "horizontal", None), 2.0**16, 2.0**31)  # 16.16 fixed point, px an inch
    return inch / 2**16 / 72 if inch else 1.0


@dataclass(frozen=True)
class _Matrix:
    """What a layer's transform does to its letters: px of height and of width for one, and turn in degrees."""

    height: float = 1.0
    width: float = 1.0
    rotation: float = 0.0

    @classmethod
    def of(cls, transform: Any) -> _Matrix:
        values = [real(value, -1e6, 1e6) for value in tuple(transform)[:4]]
        if len(values) < 4 or None in values:
            return cls()
        xx, xy, yx, yy = (value or 0.0 for value in values)
        width, area = math.hypot(xx, xy), xx * yy - xy * yx
        if width < 1e-6 or abs(area) < 1e-9:
            return cls()
        turns = [math.degrees(math.atan2(xy, xx))]
        if area < 0:  # mirrored: the lesser turn, from left to right or from top to bottom
            turns.append(math.degrees(math.atan2(-yx, yy)))
        turn: float = min(turns, key=abs)
        return cls(abs(area) / width, width, round(turn, 3) + 0.0)


@dataclass(frozen=True)
class _Reader:
    fonts: Any
    colours: Colours
    matrix: _Matrix

    def runs(self, content: str, styles: Runs, paragraphs: Runs) -> list[TextRun]:
        """The runs that say something; neighbours of one style are joined, and the break that ends every PSD text is
        left out. A paragraph begins a run where its leading differs.
        """
        leadings = [paragraphs.sheet(max(0, end - 1)).number("AutoLeading", 0, 1e3) for end in paragraphs.ends]
        changes = [end for end, (a, b) in zip(paragraphs.ends, pairwise(leadings), strict=False) if a != b]
        cuts = sorted({0, *styles.ends, *changes})[: RUNS + 1]
        pieces = [
            self._run(content[start:end], styles.sheet(start), paragraphs.sheet(start)) for start, end in pairwise(cuts)
        ]
        return _merged(pieces)

    def _run(self, text: str, style: Sheet, paragraph: Sheet) -> TextRun:
        index = style.whole("Font")
        name = None if index is None else at(self.fonts, index, "Name")
        font = clean(name, NAME) if isinstance(name, str) else ""
        bold, italic = style.flag("FauxBold", False), style.flag("FauxItalic", False)
        weight = weight_of(font)
        high = style.number("VerticalScale", 0.01, 100) or 1.0
        wide = (style.number("HorizontalScale", 0.01, 100) or 1.0) * self.matrix.width / self.matrix.height
        return TextRun(
            text=clean(text.translate(_BREAKS), TEXT),
            font=font or None,
            size=number(self._px(style.length("FontSize")), MIN_TYPE, MAX_TYPE),
            colour=self._colour(style),
            weight=max(weight, _FAUX_BOLD) if bold else weight,
            italic=italic or slanted(font),
            faux_bold=bold,
            faux_italic=italic,
            underline=style.flag("Underline", False),
            strikethrough=style.flag("Strikethrough", False),
            caps=_CAPS.get(style.whole("FontCaps"), "normal"),
            baseline=_BASELINE.get(style.whole("FontBaseline"), "normal"),
            baseline_shift=number(self._px(style.length("BaselineShift")), -MAX_TYPE, MAX_TYPE) or 0.0,
            horizontal_scale=number(wide, 0.001, 1000.0) or 1.0,
            vertical_scale=number(high, 0.001, 1000.0) or 1.0,
            tracking=style.number("Tracking", -MAX_TYPE, MAX_TYPE) or 0.0,
            leading=number(self._px(_leading(style, paragraph)), -MAX_TYPE, MAX_TYPE),
        )

    def _px(self, length: float | None) -> float | None:
        return None if length is None else length * self.matrix.height

    def _colour(self, style: Sheet) -> str | None:
        if style.flag("FillFlag", True):
            return hex_of(numbers(at(style.get("FillColor"), "Values"), 5), self.colours)
        if style.flag("StrokeFlag", False):
            return hex_of(numbers(at(style.get("StrokeColor"), "Values"), 5), self.colours)
        return None


def _leading(style: Sheet, paragraph: Sheet) -> float | None:
    """From line to line in px; automatic leading is the paragraph's share of the size."""
    if not style.flag("AutoLeading", True):
        return style.length("Leading")
    size, factor = style.length("FontSize"), paragraph.number("AutoLeading", 0, 1e3)
    return None if size is None else size * (_AUTO_LEADING if factor is None else factor)


def _merged(runs: list[TextRun]) -> list[TextRun]:
    """Runs without empty ones, neighbours of one style joined, without the last break."""
    out = []
    for _, group in groupby((run for run in runs if run.text), key=lambda run: run.model_copy(update={"text": ""})):
        same = list(group)
        out.append(same[0].model_copy(update={"text": "".join(run.text for run in same)}))
    if out:
        out[-1] = out[-1].model_copy(update={"text": out[-1].text.removesuffix("\n")})
    return [run for run in out if run.text]


def _alignments(content: str, paragraphs: Runs) -> list[Alignment]:
    """The alignment of every line."""
    found: list[Alignment] = []
    start = 0
    for line in content.translate(_BREAKS).split("\n"):
        found.append(_ALIGNMENT.get(paragraphs.sheet(start).whole("Justification"), "justify"))
        start += len(line) + 1
    return found


def _claimed(content: str, styles: Runs) -> str | None:
    """The language that most of the text's characters are marked as."""
    counted: Counter[int | None] = Counter()
    for start, end in pairwise((0, *styles.ends)):
        counted[styles.sheet(start).whole("Language")] += len(content[start:end].strip())
    most = counted.most_common(1)[0][0] if counted else None
    return LANGUAGES[most] if most is not None and 0 <= most < len(LANGUAGES) else None


def hex_of(values: tuple[float, ...] | None, colours: Colours) -> str | None:
    """Engine colours are alpha first: ARGB, alpha and gray, or alpha and CMYK ink; 0..1. Those in the document's own
    mode are converted as its pixels are, others are sRGB.
    """
    if values is None:
        return None
    channels = [round(255 * min(1.0, max(0.0, value))) for value in values[1:]]
    if len(channels) == 4:
        channels = [255 - ink for ink in channels]
    own = colours.palette is None and colours.mode is not ColorMode.LAB
    if own and len(channels) == colours.count:
        channels = colours.rgb([np.full((1, 1), channel, np.uint8) for channel in channels])[0, 0].tolist()
    elif len(channels) == 4:
        channels = [round(channel * channels[3] / 255) for channel in channels[:3]]
    elif len(channels) == 1:
        channels = channels * 3
    return "#" + "".join(f"{channel:02x}" for channel in channels) if len(channels) == 3 else None


def _warp(warp: Any) -> str | None:
    """The name of a warp that bends something (``arc``, ``shell-lower``, ...); None without."""
    style = _enum(warp, b"warpStyle").removeprefix("warp")
    bends = [getattr(warp.get(key), "value", warp.get(key)) for key in _BENDS] if style else []
    if style in ("", "None") or (style != "Custom" and not any(bends)):
        return None
    return re.sub(r"(?<=.)(?=[A-Z])", "-", clean(style, 32)).lower()


def _enum(data: Any, key: bytes) -> str:
    """The value of an enumeration in a descriptor; empty where there is none."""
    value = getattr(data.get(key), "enum", b"") if hasattr(data, "get") else b""
    return value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)
