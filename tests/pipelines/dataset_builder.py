"""Small published datasets for tests, written through schemas alone: what a build leaves behind, without a build.

``make_sample`` draws one design; ``publish`` writes a list of ``Entry`` as a dataset directory and returns its store.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.croissant import CROISSANT_JSON, croissant
from pipelines.dedup import signature
from pipelines.plan import PLAN_SCHEMA
from pipelines.storage import Store
from schemas import images
from schemas.compositing import Placed, Rgba, composite
from schemas.dataset import DATASET_JSON, SHARD_SCHEMA, Counts, Dataset, content_fingerprint
from schemas.design import (
    Caption,
    Captions,
    Design,
    Grouping,
    Layer,
    LayerKind,
    Licence,
    Overflow,
    Provenance,
    Recomposition,
    RestylePair,
    Size,
    Text,
    TextRun,
    canonical_json,
)
from schemas.geometry import Box
from schemas.index import INDEX_SCHEMA, Location, index_row
from schemas.ledger import LEDGER_SCHEMA, Code, LedgerRow, State
from schemas.licence import SYNTHETIC
from schemas.sample import Sample, layer_stem, restyle_stem, write_shard


@dataclass
class Entry:
    """One input of the plan: a published sample, or why there is none."""

    sample: Sample | None
    code: Code = Code.OK
    split: str = "train"
    unit: int = 0
    message: str = ""
    uri: str = ""


@dataclass
class Draft:
    """A dataset before it is written, so that a test can spoil any part of it."""

    entries: list[Entry]
    shards: dict[str, bytes] = field(default_factory=dict)
    shard_rows: list[dict[str, Any]] = field(default_factory=list)
    index_rows: list[dict[str, Any]] = field(default_factory=list)
    ledger_rows: list[dict[str, Any]] = field(default_factory=list)
    plan_rows: list[dict[str, Any]] = field(default_factory=list)


def make_sample(seed: int, *, side: int = 64, layers: int = 3, family: str | None = None) -> Sample:
    """A design of ``layers`` layers on a ``side`` px square visible box: a background, soft shapes, text on top.

    The second layer reaches out of the visible box on the right, so that the canvas is larger than it.
    """
    placed, kinds = _draw(np.random.default_rng(seed), side, layers)
    visible = Box(0, 0, side, side)
    canvas = Box(0, 0, side + side // 4, side)
    source = hashlib.sha256(f"design {seed}".encode()).hexdigest()
    whole = composite(placed, canvas)
    shown = whole[visible.slices]
    records = tuple(_layer(i, p, visible, kind) for i, (p, kind) in enumerate(zip(placed, kinds, strict=True)))
    design = Design(
        design_id=source[:32],
        canvas=Size(width=canvas.width, height=canvas.height),
        visible=visible,
        layers=records,
        captions=Captions(short={"en": Caption(text=f"design {seed}", source="template")}),
        groupings=(Grouping(seed=0, parts=tuple((i,) for i in range(layers))),),
        restyles=(RestylePair(layer=1, method="palette"),) if layers > 1 else (),
        licence=Licence(id=SYNTHETIC, licensor="Acetate"),
        provenance=Provenance(
            uri=f"designs/{seed:04d}.psd",
            format="psd",
            sha256=source,
            bytes=1000,
            family=family or f"family-{seed}",
            source_layers=layers,
        ),
        recomposition=Recomposition(reference="preview", mae=0.0, p99=0.0),
    )
    members = {f"{layer_stem(i)}.webp": images.encode(pixels) for i, (pixels, _) in enumerate(placed)}
    members["composite.webp"] = images.encode(whole)
    members["preview.webp"] = images.encode(shown)
    if layers > 1:
        restyled = placed[1][0].copy()
        restyled[..., :3] = restyled[..., 2::-1]
        members[f"{restyle_stem(1)}.webp"] = images.encode(restyled)
    return Sample(design, members)


def draft(entries: Sequence[Entry]) -> Draft:
    """The shards and tables of ``entries``: one shard a (split, unit), rows of the plan in the order given."""
    out = Draft(list(entries))
    units = sorted({(e.split, e.unit) for e in entries if e.sample is not None})
    rows = {e.sample.design.design_id: i for i, e in enumerate(entries) if e.sample is not None}
    for split, unit in units:
        samples = [e.sample for e in entries if e.sample is not None and (e.split, e.unit) == (split, unit)]
        add_shard(out, samples, rows, split, unit)
    for row, entry in enumerate(entries):
        design = entry.sample.design if entry.sample else None
        uri = design.provenance.uri if design else entry.uri or f"designs/lost-{row}.psd"
        out.plan_rows.append(
            {
                "row": row,
                "unit": entry.unit,
                "split": entry.split,
                "uri": uri,
                "licence": design.licence.id if design else "GPL-3.0-only",
                "licensor": design.licence.licensor if design else "Somebody",
                "family": design.provenance.family if design else uri,
                "tags": [],
                "code": str(entry.code if entry.code.state is State.FILTERED else Code.OK),
                "message": "",
                "retries": 0,
            }
        )
        out.ledger_rows.append(
            LedgerRow(
                row=row,
                uri=uri,
                design_id=design.design_id if design else None,
                unit=entry.unit,
                stage="shard" if design else "extract",
                code=entry.code,
                message=entry.message,
                attempts=1,
                seconds=0.5,
            ).to_arrow()
        )
    return out


def add_shard(out: Draft, samples: Sequence[Sample], rows: dict[str, int], split: str, unit: int) -> str:
    """Write one shard into the draft with its index rows; returns its name."""
    buffer = io.BytesIO()
    locations = write_shard(buffer, samples, "")
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    path = f"shards/{split}-{unit:06d}-{digest[:8]}.tar"
    out.shards[path] = buffer.getvalue()
    out.shard_rows.append(
        {
            "path": path,
            "split": split,
            "unit": unit,
            "samples": len(samples),
            "bytes": len(buffer.getvalue()),
            "sha256": digest,
        }
    )
    for sample, location in zip(samples, locations, strict=True):
        placed = Location(key=location.key, shard=path, members=location.members)
        row = rows.get(location.key, 0)
        phash = signature(sample, sample.composite(), row, unit).phash
        out.index_rows.append(index_row(sample.design, placed, split=split, unit=unit, row=row, phash=phash))
    return path


def publish(root: Path, content: Draft | Sequence[Entry], **changes: Any) -> Store:
    """Write a draft (or entries) to ``root`` as generation 1; ``changes`` replace fields of ``dataset.json``."""
    made = content if isinstance(content, Draft) else draft(content)
    store = Store(str(root))
    for path, data in made.shards.items():
        store.write(path, data)
    shards = _table(store, "shards", made.shard_rows, SHARD_SCHEMA)
    index = _table(store, "index", made.index_rows, INDEX_SCHEMA, part=0)
    ledger = _table(store, "ledger", made.ledger_rows, LEDGER_SCHEMA, part=0)
    plan = _table(store, "plan", made.plan_rows, PLAN_SCHEMA)
    states = Counter(str(row["state"]) for row in made.ledger_rows)
    dataset = Dataset(
        generation=1,
        fingerprint=content_fingerprint((row["path"], row["sha256"]) for row in made.shard_rows),
        build=hashlib.sha256(b"build").hexdigest(),
        plan=plan,
        counts=Counts(
            inputs=sum(states.values()), ok=states["ok"], filtered=states["filtered"], failed=states["failed"]
        ),
        splits=dict(Counter(str(row["split"]) for row in made.index_rows)),
        licences=dict(Counter(str(row["licence"]) for row in made.index_rows)),
        shards=(shards,),
        index=(index,),
        ledger=(ledger,),
    )
    store.write(CROISSANT_JSON, croissant(store, dataset))
    store.write(DATASET_JSON, dataset.model_copy(update=changes).to_json())
    return store


def tiny_dataset(root: Path, count: int = 4, **changes: Any) -> Store:
    """A published dataset of ``count`` designs in two shards, one filtered and one failed input."""
    return publish(root, tiny_draft(count), **changes)


def tiny_draft(count: int = 4) -> Draft:
    entries = [Entry(make_sample(i), unit=i % 2, split="val" if i % 2 else "train") for i in range(count)]
    entries.append(Entry(None, Code.LICENCE_NOT_ALLOWED, message="the policy does not allow GPL-3.0-only"))
    entries.append(Entry(None, Code.UNREADABLE, unit=1, split="val", message="truncated <file>"))
    return draft(entries)


def with_design(sample: Sample, **changes: Any) -> Sample:
    """The sample with fields of its record replaced (unchecked)."""
    return replace(sample, design=sample.design.model_copy(update=changes))


def with_member(sample: Sample, name: str, data: bytes | None) -> Sample:
    """The sample with one member replaced, or taken away where ``data`` is None."""
    members = {key: value for key, value in sample.members.items() if key != name}
    return replace(sample, members=members if data is None else {**members, name: data})


def _table(store: Store, kind: str, rows: list[dict[str, Any]], schema: pa.Schema, part: int | None = None) -> str:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), sink)
    data = sink.getvalue()
    infix = "" if part is None else f"-{part:04d}"
    name = f"manifest/{kind}-000001{infix}-{hashlib.sha256(data).hexdigest()[:8]}.parquet"
    store.write(name, data)
    return name


def _draw(rng: np.random.Generator, side: int, layers: int) -> tuple[list[Placed], list[LayerKind]]:
    canvas = Box(0, 0, side + side // 4, side)
    rows = np.linspace(40, 220, side)[:, None, None]
    base = np.broadcast_to(rows, (side, side, 3)) * rng.uniform(0.3, 1, 3)
    background = np.dstack([base, np.full((side, side), 255)]).astype(np.uint8)
    placed: list[Placed] = [(background, Box(0, 0, side, side))]
    kinds = [LayerKind.BACKGROUND]
    for i in range(1, layers):
        width, height = (int(n) for n in rng.integers(side // 4, side // 2, 2))
        x0 = canvas.width - width if i == 1 else int(rng.integers(0, side - width))
        y0 = int(rng.integers(0, side - height))
        y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]  # type: ignore[misc]
        alpha = np.clip(400 * (1.2 - np.hypot(x, y)), 0, 255)
        colour = np.broadcast_to(rng.integers(0, 256, 3), (height, width, 3))
        placed.append((np.dstack([colour, alpha]).astype(np.uint8), Box(x0, y0, x0 + width, y0 + height)))
        kinds.append(LayerKind.TEXT if i == layers - 1 and layers > 2 else LayerKind.SHAPE)
    return placed, kinds


def _layer(index: int, placed: Placed, visible: Box, kind: LayerKind) -> Layer:
    pixels, box = placed
    text = None
    if kind is LayerKind.TEXT:
        text = Text(runs=(TextRun(text="Hello <b>", font="Sans", size=12.0, colour="#102030"),), language="en")
    return Layer(
        index=index,
        name=f"{kind} <{index}>",
        kind=kind,
        box=box,
        overflow=_overflow(pixels, box, visible),
        coverage=float(pixels[..., 3].mean(dtype=np.float64)) / 255,
        sha256=hashlib.sha256(pixels.tobytes()).hexdigest(),
        caption=Caption(text=f"layer {index}", source="typography" if text else "template"),
        text=text,
    )


def _overflow(pixels: Rgba, box: Box, visible: Box) -> Overflow:
    alpha = pixels[..., 3].astype(np.int64)
    inside = alpha[box.intersect(visible).within(box).slices].sum()
    columns, rows = np.flatnonzero(alpha.any(axis=0)), np.flatnonzero(alpha.any(axis=1))
    return Overflow(
        left=max(0, visible.x0 - (box.x0 + int(columns[0]))),
        top=max(0, visible.y0 - (box.y0 + int(rows[0]))),
        right=max(0, box.x0 + int(columns[-1]) + 1 - visible.x1),
        bottom=max(0, box.y0 + int(rows[-1]) + 1 - visible.y1),
        share=float((alpha.sum() - inside) / alpha.sum()),
    )


def spoil_json(store: Store, **fields: Any) -> None:
    """Replace raw fields of ``dataset.json`` without validation."""
    store.write(DATASET_JSON, canonical_json({**json.loads(store.read(DATASET_JSON)), **fields}))
