"""Random designs for property tests: records as the schemas allow them, far beyond what a build makes."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from hypothesis import strategies as st

from model.placement import MAX_SIDE
from model.tasks import LAYOUTS
from schemas.design import (
    Design,
    Grouping,
    Layer,
    LayerKind,
    Licence,
    Provenance,
    Recomposition,
    RestylePair,
    Size,
)
from schemas.geometry import Box
from schemas.index import INDEX_SCHEMA, Location, index_row
from training.streaming.config import TASKS, PlanConfig, Task
from training.streaming.layout import foregrounds, restyled

_sides = st.one_of(st.integers(1, 40), st.integers(200, 4000), st.integers(1, MAX_SIDE))
sizes = st.tuples(_sides, _sides)
KEY = "0123456789abcdef" * 2
configs = st.builds(
    PlanConfig,
    resolution=st.one_of(st.sampled_from([64, 512, 1000]), st.integers(16, 2000)),
    token_px=st.one_of(st.sampled_from([8, 16, 28]), st.integers(4, 256)),
    max_canvas_tokens=st.one_of(st.none(), st.integers(4, 10_000)),
)


def design_of(
    size: tuple[int, int],
    visible: Box,
    boxes: Sequence[Box],
    *,
    background: bool = True,
    parts: Sequence[tuple[tuple[int, ...], ...]] = (),
    pairs: Sequence[int] = (),
) -> Design:
    """The record of a design with these boxes; ``parts`` of each of its groupings, ``pairs``: the restyled layers."""
    kinds = [LayerKind.BACKGROUND if background else LayerKind.IMAGE] + [LayerKind.IMAGE] * (len(boxes) - 1)
    return Design(
        design_id=KEY,
        canvas=Size(width=size[0], height=size[1]),
        visible=visible,
        layers=tuple(
            Layer(index=i, name=f"layer {i}", kind=kind, box=box, coverage=1.0, sha256=KEY * 2)
            for i, (kind, box) in enumerate(zip(kinds, boxes, strict=True))
        ),
        groupings=tuple(Grouping(seed=i, parts=part) for i, part in enumerate(parts)),
        restyles=tuple(RestylePair(layer=layer, method="palette") for layer in pairs),
        licence=Licence(id="CC0-1.0", licensor="Acetate"),
        provenance=Provenance(uri="a.psd", format="psd", sha256=KEY * 2, bytes=1, family="a"),
        recomposition=Recomposition(reference="preview", mae=0.0, p99=0.0),
    )


def table_of(designs: Sequence[Design]) -> pa.Table:
    """The index of designs."""
    place = Location(key=KEY, shard="shards/train-000000-01234567.tar", members=())
    rows = [index_row(design, place, split="train", unit=0, row=i, phash="0") for i, design in enumerate(designs)]
    return pa.Table.from_pylist(rows, schema=INDEX_SCHEMA)


def _spans(side: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.integers(0, side - 1).flatmap(lambda low: st.tuples(st.just(low), st.integers(low + 1, side)))


@st.composite
def boxes_on(draw: st.DrawFn, size: tuple[int, int]) -> Box:
    (x0, x1), (y0, y1) = draw(_spans(size[0])), draw(_spans(size[1]))
    return Box(x0, y0, x1, y1)


@st.composite
def _partitions(draw: st.DrawFn, count: int) -> tuple[tuple[int, ...], ...]:
    """Any partition of the layers, now and then with an empty part."""
    of = draw(st.lists(st.integers(0, count), min_size=count, max_size=count))
    return tuple(tuple(i for i in range(count) if of[i] == part) for part in range(max(of) + 1))


@st.composite
def designs(draw: st.DrawFn) -> Design:
    """With or without a background, overflowing or not, with tiny layers, on tiny to absurdly large canvases."""
    size = draw(sizes)
    boxes = draw(st.lists(boxes_on(size), min_size=1, max_size=6))
    indices = st.integers(0, len(boxes) - 1)
    return design_of(
        size,
        draw(boxes_on(size)),
        boxes,
        background=draw(st.booleans()),
        parts=draw(st.lists(_partitions(len(boxes)), max_size=3)),
        pairs=draw(st.lists(indices, max_size=4)),
    )


def layered_tasks(design: Design) -> list[Task]:
    """The tasks with layers that a stream may draw for a design: those about chosen layers have some to choose from."""
    lacking = {Task.ADD_LAYER: not foregrounds(design), Task.RESTYLE: not restyled(design)}
    return [task for task in TASKS if LAYOUTS[task].layers and not lacking.get(task)]
