"""The template captioner: captions from names, texts, colours and layout, with no model (DESIGN section 7, caption)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.caption.colours import name_of
from pipelines.caption.naming import clean, meaningful, shorten
from pipelines.caption.phrases import Phrases
from schemas.design import Design, Layer, LayerKind, TextRun
from schemas.geometry import Box

SHORT_LIMIT = 300
LONG_LIMIT = 2000
TEXT_LIMIT = 160
NAME_LIMIT = 48
COLOURS = 3
SHORT_ELEMENTS = 3
LONG_ELEMENTS = 8

_WHOLE, _LARGE, _SMALL = 0.85, 0.25, 0.015
_NEARLY_SQUARE = 1.08
_NOTABLE_OVERFLOW = 0.02
_BOLD, _LIGHT = 600, 350
_SAYS_WEIGHT = re.compile(r"bold|black|heavy|light|thin", re.IGNORECASE)
_SAYS_SLANT = re.compile(r"italic|oblique", re.IGNORECASE)


@dataclass(frozen=True)
class Seen:
    """One layer as the captioner sees it; ``share``: how much of the visible box it covers."""

    layer: Layer
    colours: tuple[str, ...]
    name: str | None
    share: float


@dataclass(frozen=True)
class View:
    """A design as the captioner sees it, layers bottom to top."""

    design: Design
    colours: tuple[str, ...]
    layers: tuple[Seen, ...]

    @property
    def texts(self) -> list[Seen]:
        """Layers that say something, the largest letters first."""
        texts = [seen for seen in self.layers if content(seen.layer)]
        return sorted(texts, key=lambda seen: (-_letter_size(seen.layer), seen.layer.index))

    @property
    def elements(self) -> list[Seen]:
        """All layers but the background and texts, the largest first."""
        rest = [seen for seen in self.layers if seen.layer.kind not in (LayerKind.BACKGROUND, LayerKind.TEXT)]
        return sorted(rest, key=lambda seen: (-seen.share, seen.layer.index))


def view(design: Design, composite_colours: tuple[str, ...], layer_colours: Sequence[tuple[str, ...]]) -> View:
    """Gather what the captions are made of; ``layer_colours`` are the named colours of each layer."""
    layers = []
    for layer, colours in zip(design.layers, layer_colours, strict=True):
        share = layer.box.intersect(design.visible).area * layer.coverage / design.visible.area
        layers.append(Seen(layer, colours, meaningful(layer.name, NAME_LIMIT), share))
    return View(design, composite_colours, tuple(layers))


def content(layer: Layer) -> str:
    """What a text layer says, cleaned; empty for other layers and where the typography is not known."""
    return clean(layer.text.content, TEXT_LIMIT) if layer.text else ""


def short_caption(view: View, words: Phrases) -> str:
    """One sentence: format and colours, the largest text, the main elements."""
    parts = [_opener(view, words)]
    if texts := view.texts:
        parts.append(words.reading.format(words.quoted(content(texts[0].layer))))
    if names := _distinct([seen.name for seen in view.elements if seen.name], SHORT_ELEMENTS):
        parts.append(words.featuring.format(words.listed(names)))
    elif not texts and (counted := _counted(view.elements, words)):
        parts.append(words.featuring.format(words.listed(counted)))
    return shorten(words.comma.join(parts) + words.stop, SHORT_LIMIT)


def long_caption(view: View, words: Phrases) -> str:
    """Several sentences: format and size, background, elements with colours and places, texts with their typography."""
    visible = view.design.visible
    sentences = [words.comma.join([_opener(view, words), words.size.format(visible.width, visible.height)])]
    base = view.layers[0]
    if base.colours and base.layer.kind is LayerKind.BACKGROUND:
        sentences.append(words.background.format(_described(base.name or "", [words.named(base.colours)], words)))
    elements = [
        _described(
            seen.name or words.counted.get(seen.layer.kind, words.counted[LayerKind.IMAGE])[0],
            _details(seen, visible, words),
            words,
        )
        for seen in view.elements
    ]
    texts = [
        _described(words.quoted(content(seen.layer)), _typography(seen.layer, visible, words), words)
        for seen in view.texts
    ]
    for template, items in ((words.elements, elements), (words.texts, texts)):
        if items:
            sentences.append(template.format(words.semicolon.join(_first(items, words))))
    space = "" if words.stop == "。" else " "
    return shorten(space.join(sentence + words.stop for sentence in sentences), LONG_LIMIT)


def layer_caption(seen: Seen, visible: Box, words: Phrases) -> str:
    """A layer without typography: kind, name, colours, place and size."""
    kind = words.kinds[seen.layer.kind]
    space = "" if words.stop == "。" else " "
    start = f"{kind}{space}{words.quoted(seen.name)}" if seen.name else kind
    return words.comma.join([start, *_details(seen, visible, words)]) + words.stop


def text_caption(layer: Layer, visible: Box, words: Phrases) -> str:
    """A text layer from its true typography: content, font, weight, size, colour, place."""
    space = "" if words.stop == "。" else " "
    start = f"{words.kinds[LayerKind.TEXT]}{space}{words.quoted(content(layer))}"
    return words.comma.join([start, *_typography(layer, visible, words)]) + words.stop


def _opener(view: View, words: Phrases) -> str:
    visible = view.design.visible
    ratio = visible.width / visible.height
    square = 1 / _NEARLY_SQUARE <= ratio <= _NEARLY_SQUARE
    orientation = words.square if square else words.landscape if ratio > 1 else words.portrait
    template = words.opener if view.colours else words.opener_plain
    return template.format(orientation=orientation, colours=words.named(view.colours))


def _described(what: str, details: Sequence[str], words: Phrases) -> str:
    joined = words.comma.join(details)
    return words.in_brackets.format(what, joined) if what and joined else what or joined


def _first(items: Sequence[str], words: Phrases) -> list[str]:
    rest = len(items) - LONG_ELEMENTS
    return [*items[:LONG_ELEMENTS], *([words.more[rest > 1].format(rest)] if rest > 0 else [])]


def _distinct(names: Sequence[str], count: int) -> list[str]:
    return list({name.casefold(): name for name in reversed(names)}.values())[::-1][:count]


def _counted(elements: Sequence[Seen], words: Phrases) -> list[str]:
    counts = Counter(seen.layer.kind for seen in elements)
    return [words.counted[kind][n > 1].format(n) for kind, n in counts.most_common() if kind in words.counted]


def _details(seen: Seen, visible: Box, words: Phrases) -> list[str]:
    """Colours, size, place and overflow of a layer that is no text."""
    colours = [words.named(seen.colours)] if seen.colours else []
    size = [words.large] if _WHOLE > seen.share >= _LARGE else [words.small] if seen.share < _SMALL else []
    faint = [words.translucent] if seen.layer.opacity < 0.9 else []
    return [*colours, *faint, *size, *_place(seen.layer, visible, words)]


def _place(layer: Layer, visible: Box, words: Phrases) -> list[str]:
    """Where the visible part of a layer lies, and which edges it passes."""
    shown = layer.box.intersect(visible)
    if shown.empty:
        return []
    whole = shown.width >= _WHOLE * visible.width and shown.height >= _WHOLE * visible.height
    row = (shown.y0 + shown.y1 - 2 * visible.y0) * 3 // (2 * visible.height)
    column = (shown.x0 + shown.x1 - 2 * visible.x0) * 3 // (2 * visible.width)
    out = [words.everywhere if whole else words.places[min(row, 2), min(column, 2)]]
    passed = [side for side in words.beyond if getattr(layer.overflow, side) > 0]
    if passed and layer.overflow.share >= _NOTABLE_OVERFLOW:
        out.append(words.beyond[passed[0]] if len(passed) == 1 else words.beyond_several)
    return out


def _typography(layer: Layer, visible: Box, words: Phrases) -> list[str]:
    """Font, weight, style, size and colour of the run with most letters, then the place."""
    text = layer.text
    if text is None:
        return _place(layer, visible, words)
    run = max(text.runs, key=_letters, default=TextRun(text=""))
    font = clean(run.font or "", NAME_LIMIT)
    out = [font]
    if run.weight is not None and (run.weight >= _BOLD or run.weight <= _LIGHT) and not _SAYS_WEIGHT.search(font):
        out.append(words.bold if run.weight >= _BOLD else words.light)
    out += [words.italic] if run.italic and not _SAYS_SLANT.search(font) else []
    out += [words.underlined] if run.underline else []
    out += [words.struck] if run.strikethrough else []
    out += [f"{round(run.size)} px"] if run.size is not None else []
    colours = dict.fromkeys(
        name_of(each.colour) for each in sorted(text.runs, key=_letters, reverse=True) if each.colour and _letters(each)
    )
    out += [words.named(list(colours)[:COLOURS])] if colours else []
    out += [words.turned.format(round(text.rotation))] if abs(text.rotation) >= 1 else []
    return [part for part in out if part] + _place(layer, visible, words)


def _letters(run: TextRun) -> int:
    return len(run.text.strip())


def _letter_size(layer: Layer) -> float:
    sizes = [run.size for run in layer.text.runs if run.size is not None and _letters(run)] if layer.text else []
    return max(sizes, default=float(layer.box.height) / 4)
