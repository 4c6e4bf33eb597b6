"""What a document's own words may cost: names, effects and texts cut to a length, without control characters.

A layer name ends in records, reports and terminals. Half a surrogate pair has no UTF-8, an escape character commands a
terminal, and a name of a megabyte is stored once for every layer that was merged into one.
"""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from typing import Any

from pipelines.formats.tree import Document, Group, Leaf, Node
from schemas.design import Text

NAME = 255
ENTRY = 64
ENTRIES = 64
TEXT = 20_000
RUNS = 2_000


def clean(text: str, most: int) -> str:
    """At most ``most`` characters of ``text``, without surrogates and control characters but for tab and newline."""
    cut = text[:most]
    return "".join(c for c in cut if c in "\t\n" or unicodedata.category(c) not in ("Cc", "Cs"))


def number(value: float | None, low: float, high: float) -> float | None:
    """``value`` rounded to 3 digits; None outside ``low`` .. ``high`` and for what is no number."""
    return round(value, 3) if value is not None and low <= value <= high else None


def bounded(document: Document) -> Document:
    """The document with its words bounded."""
    return replace(document, nodes=tuple(_node(node) for node in document.nodes))


def _node(node: Node) -> Node:
    words: dict[str, Any] = {
        "name": clean(node.name, NAME),
        "blend_mode": clean(node.blend_mode, ENTRY),
        "effects": _entries(node.effects),
        "undrawn": _entries(node.undrawn),
    }
    if isinstance(node, Group):
        return replace(node, **words, children=tuple(_node(child) for child in node.children))
    if isinstance(node, Leaf):
        return replace(node, **words, text=_text(node.text) if node.text else None)
    return replace(node, **words)


def _entries(entries: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(clean(entry, ENTRY) for entry in entries[:ENTRIES])


def _text(text: Text) -> Text | None:
    """The first runs of a text, as far as TEXT characters go; None where nothing is left."""
    runs, left = [], TEXT
    for run in text.runs[:RUNS]:
        content = clean(run.text, left)
        if content:
            runs.append(run.model_copy(update={"text": content, "font": clean(run.font, NAME) if run.font else None}))
            left -= len(content)
    language = clean(text.language, ENTRY) if text.language else None
    return text.model_copy(update={"runs": tuple(runs), "language": language}) if runs else None
