"""Layout planning for text-to-layers: where the layers of a design are to be, from its prompt.

A layout is retrieved: that of a design of a published dataset whose captions are the nearest to the
prompt by BM25 (Robertson & Zaragoza 2009), stretched to the canvas that is asked for. D: designs.
"""

from __future__ import annotations

import datetime
import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError

from schemas.design import Design
from schemas.errors import RecordError
from schemas.geometry import Box
from schemas.sample import RECORD
from schemas.settings import Section, explain
from training.errors import DamageError, UsageError
from training.generation.layout import MAX_LAYERS, Canvas, LayoutPlan
from training.streaming.draws import generator
from training.streaming.holes import Holes
from training.streaming.index import Index
from training.streaming.members import Located
from training.streaming.source import Source

MAX_RECORD = 2**22
"""Bytes of a design's record; a larger one is not read."""
_K1, _B = 1.2, 0.75
_WORD = re.compile(r"\w+")


class Planner(Protocol):
    """Plans layouts."""

    def plan(self, prompt: str, canvas: Canvas) -> LayoutPlan:
        """A layout on this canvas for what the prompt describes."""


class RetrievalConfig(Section):
    """``designs``: at most so many are read, evenly over the split. One of the ``best`` is drawn by ``seed``."""

    split: str = "train"
    designs: Annotated[int, Field(ge=1, le=100_000)] = 2000
    best: Annotated[int, Field(ge=1, le=100)] = 1
    seed: Annotated[int, Field(ge=0)] = 0


class Retrieval:
    """Layouts of designs by their captions: a Planner."""

    def __init__(self, designs: Sequence[tuple[str, LayoutPlan]], config: RetrievalConfig) -> None:
        self._layouts = [layout for _, layout in designs]
        self._texts = Bm25([text for text, _ in designs])
        self._config = config

    @classmethod
    def open(cls, source: Source, config: RetrievalConfig) -> Retrieval:
        """Read the captions and layouts of a dataset.

        Raises:
            UsageError: it is no dataset, or has no layout in the split. StreamError: it is damaged or cannot be read.
        """
        index = Index.open(source)
        holes = Holes.load(source, datetime.datetime.now(datetime.UTC).date())
        located = [one for one in index.locate(_rows(index, config)) if holes.reason(one.key, one.expires) is None]
        found = [design for one in located if (design := _read(source, one)) is not None]
        if not found:
            raise UsageError(f"the split {config.split!r} of {source.shown} has no layout: give another split")
        return cls(found, config)

    def plan(self, prompt: str, canvas: Canvas) -> LayoutPlan:
        """The same for the same prompt, canvas and settings.

        Raises:
            UsageError: the layout is too large at this canvas.
        """
        order = np.argsort(-self._texts.scores(prompt), kind="stable")[: self._config.best]
        chosen = generator(prompt, self._config.seed, 0, "layout").integers(len(order))
        return stretched(self._layouts[order[chosen]], canvas)


class Bm25:
    """How well each of D texts fits a query."""

    def __init__(self, texts: Sequence[str]) -> None:
        counts = [Counter(words(text)) for text in texts]
        lengths_D = np.array([count.total() for count in counts], np.float64)
        self._norms_D = _K1 * (1 - _B + _B * lengths_D / max(float(lengths_D.mean()), 1.0))
        self._postings: dict[str, list[tuple[int, int]]] = {}
        for number, count in enumerate(counts):
            for word, times in count.items():
                self._postings.setdefault(word, []).append((number, times))

    def scores(self, query: str) -> npt.NDArray[np.float64]:
        """float64 [D]; 0 where no word is shared."""
        out_D = np.zeros(len(self._norms_D))
        for word in sorted(set(words(query)) & self._postings.keys()):
            at, times = np.array(self._postings[word]).T
            rarity = np.log1p((len(out_D) - len(at) + 0.5) / (len(at) + 0.5))
            out_D[at] += rarity * times * (_K1 + 1) / (times + self._norms_D[at])
        return out_D


def words(text: str) -> list[str]:
    """Of any script, without case."""
    return _WORD.findall(text.casefold())


def stretched(layout: LayoutPlan, canvas: Canvas) -> LayoutPlan:
    """The layout on another canvas: every box keeps its place relative to the sides, and at least 1 px.

    Raises:
        UsageError: the layers have too many px on this canvas.
    """
    x = canvas.width / layout.canvas.width
    y = canvas.height / layout.canvas.height

    def moved(box: Box) -> Box:
        x0 = min(round(box.x0 * x), canvas.width - 1)
        y0 = min(round(box.y0 * y), canvas.height - 1)
        return Box(x0, y0, max(x0 + 1, round(box.x1 * x)), max(y0 + 1, round(box.y1 * y)))

    layers = tuple(layer.model_copy(update={"box": moved(layer.box)}) for layer in layout.layers)
    try:
        return LayoutPlan(canvas=canvas, visible=moved(layout.visible), layers=layers)
    except ValidationError as error:
        raise UsageError(f"{explain(error, LayoutPlan)}; ask for a smaller canvas") from None


def _rows(index: Index, config: RetrievalConfig) -> list[int]:
    """Rows of the split whose designs a layout can hold."""
    pieces = [table for part in range(len(index.parts)) for table in index.scan(part, ("split", "layers"))]
    fits = [
        (np.array(table.column("split").to_pylist()) == config.split)
        & (table.column("layers").to_numpy() <= MAX_LAYERS)
        for table in pieces
    ]
    rows = np.flatnonzero(np.concatenate([np.empty(0, np.bool_), *fits]))
    kept = min(len(rows), config.designs)
    return [int(rows[number * len(rows) // kept]) for number in range(kept)]


def _read(source: Source, located: Located) -> tuple[str, LayoutPlan] | None:
    """The captions and the layout of a design; None where they are more than a layout may have."""
    member = next((each for each in located.members if each.name == RECORD), None)
    if member is None or member.size > MAX_RECORD:
        return None
    data = source.read_range(located.shard, member.offset, member.size)
    where = f"{source.url_of(located.shard)}: the record of {located.key}"
    if hashlib.sha256(data).hexdigest() != member.sha256:
        raise DamageError(f"{where} is not what the index has (expected sha256 {member.sha256})", located.key)
    try:
        design = Design.from_json(data)
        layout = LayoutPlan.of_design(design)
    except RecordError as error:
        raise DamageError(f"{where}: {error}", located.key) from None
    except ValidationError:
        return None
    captions = (*design.captions.short.values(), *design.captions.long.values())
    return " ".join([*(each.text for each in captions), *(layer.caption for layer in layout.layers)]), layout
