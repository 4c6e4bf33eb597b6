"""What the fuzzer starts from: small designs of every format, and small real files where the corpus is there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.flatten import render_tree
from pipelines.formats import Document, Group, Leaf, Mask, write
from pipelines.formats.style import (
    Bevel,
    Blending,
    Glow,
    Gradient,
    Overlay,
    Pattern,
    Range,
    Satin,
    Shadow,
    Solid,
    Stroke,
)
from schemas.geometry import Box
from tests.pipelines.test_formats import everything
from tests.pipelines.test_formats_fetch import LABELS, crello_rows

RED, BLUE = (1.0, 0.1, 0.1), (0.1, 0.2, 0.9)
MOST_BYTES = 200_000


@dataclass(frozen=True)
class Seed:
    """A file (a layer folder: a directory) to mutate, and the format that it is read as."""

    path: Path
    format: str


def own(folder: Path) -> list[Seed]:
    """Designs that we write: the same for every run."""
    seeds = []
    documents = {"plain": everything(), "styled": styled(), "filled": filled(), "deep": deep()}
    for name, document in documents.items():
        document = shown(document)  # noqa: PLW2901
        for suffix in (".psd", ".psb") if name != "filled" else (".psd",):
            write(document, folder / f"{name}{suffix}")
            seeds.append(Seed(folder / f"{name}{suffix}", "psd"))
    write(shown(everything()), folder / "plain.ora")
    write(shown(everything()), folder / "plain")
    rows = crello_rows()
    pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet")
    pq.write_table(pa.Table.from_pylist(rows).replace_schema_metadata(_labels()), folder / "labelled.parquet")
    ora, crello = folder / "plain.ora", folder / "rows.parquet"
    return [*seeds, Seed(ora, "ora"), Seed(folder / "plain", "folder"), Seed(crello, "crello"),
            Seed(folder / "labelled.parquet", "crello")]  # fmt: skip


def real(corpus: Path) -> list[Seed]:
    """The small files of the corpus."""
    paths = sorted(path for path in corpus.rglob("*") if path.suffix in (".psd", ".psb", ".ora"))
    return [Seed(path, "ora" if path.suffix == ".ora" else "psd") for path in paths
            if 0 < path.stat().st_size <= MOST_BYTES]  # fmt: skip


def _labels() -> dict[bytes, bytes]:
    import json

    features = {"info": {"features": {"type": {"feature": {"names": LABELS}}}}}
    return {b"huggingface": json.dumps(features).encode()}


def _leaf(name: str, box: Box, seed: int, **options: Any) -> Leaf:
    pixels = np.random.default_rng(seed).integers(0, 256, (box.height, box.width, 4), dtype=np.uint8)
    return Leaf(name, box=box, pixels=lambda: pixels, **options)


def _ramp() -> Gradient:
    stops = np.linspace(0, 1, 5, dtype=np.float32)
    return Gradient(np.stack([stops, 1 - stops, stops**2, 0.5 + stops / 2], axis=1).astype(np.float32), angle=30.0)


def _tile() -> Pattern:
    return Pattern(np.random.default_rng(3).integers(0, 256, (5, 7, 4), dtype=np.uint8), origin=(2.0, 3.0))


def styled() -> Document:
    """Every effect once, on layers and a group, with every blending option."""
    styles = (
        (Shadow(colour=RED, distance=3, size=4, spread=0.3), Glow(paint=Solid(BLUE), size=3)),
        (Shadow(colour=RED, inner=True, distance=2, size=3), Glow(paint=_ramp(), inner=True, size=4)),
        (Overlay(paint=Solid(RED), blend_mode="multiply"), Stroke(paint=_ramp(), size=2, position="center")),
        (Overlay(paint=_ramp(), opacity=0.5), Overlay(paint=_tile()), Satin(colour=BLUE, distance=3, size=3)),
        (Bevel(highlight=Overlay(paint=Solid(RED)), shade=Overlay(paint=Solid(BLUE)), size=3), Stroke(paint=_tile())),
    )
    blending = Blending(knockout="shallow", channels=(True, False, True), own=(Range(None, (0.1, 0.2), (0.8, 0.9)),))
    leaves = tuple(
        _leaf(f"styled {i}", Box(i * 4, i * 3, i * 4 + 16, i * 3 + 14), i, style=style, fill_opacity=1 - i / 8)
        for i, style in enumerate(styles)
    )
    group = Group("styled group", children=leaves[3:], isolated=True, style=styles[0], opacity=0.7)
    special = _leaf("special", Box(2, 2, 20, 20), 9, blending=blending, blend_mode="overlay")
    nodes = (_leaf("ground", Box(0, 0, 40, 30), 8), *leaves[:3], group, special)
    return Document(40, 30, nodes)


def filled() -> Document:
    """Fill layers of each kind under masks."""
    mask = Mask(Box(3, 3, 30, 20), np.full((17, 27), 200, np.uint8))
    shape = Box(0, 0, 40, 30)
    nodes = tuple(
        _leaf(f"fill {i}", shape, i, fill=paint, mask=mask if i else None)
        for i, paint in enumerate((Solid(RED), _ramp(), _tile()))
    )
    return Document(40, 30, nodes)


def deep() -> Document:
    """Groups in groups, pass-through, isolated and clipped in turn."""
    node: Group | Leaf = _leaf("inmost", Box(1, 1, 9, 9), 1)
    for level in range(8):
        below = _leaf(f"below {level}", Box(0, 0, 12, 12), level)
        node = Group(f"level {level}", children=(below, node), isolated=level % 3 == 0, opacity=0.9)
    return Document(16, 16, (_leaf("ground", Box(0, 0, 16, 16), 5), node))


def shown(document: Document) -> Document:
    """The document with its own picture as the preview, so that what is not broken is extracted to the end."""
    return replace(document, preview=render_tree(document))
