"""A generated dataset of millions of samples: a real index in parts of a million rows, a few real shards.

Designs have a background, foreground layers (about 11, at most 50; share of the canvas lognormal with median 4.5 % and
sigma 1), two groupings and now and then a restyle pair. Each is a copy of one of LAYOUTS under a key of its own. The
shards around one place of an epoch's order are written for real, of the first DRAWN layouts.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.publish import GROUP_ROWS, PART_ROWS, table_writer
from schemas import images
from schemas.dataset import DATASET_JSON, Counts, Dataset
from schemas.design import Caption, Captions, Design
from schemas.geometry import Box
from schemas.index import INDEX_SCHEMA, Location, index_row
from schemas.licence import SYNTHETIC
from schemas.sample import Sample, layer_stem, restyle_stem, write_shard
from training.streaming.order import permutation

LAYOUTS, DRAWN = 1024, 64
SIDE = 1080
SHARD = 64
CHUNK = 128 * GROUP_ROWS
MEDIAN_SHARE, SIGMA = 0.045, 1.0
MEAN_LAYERS, MAX_LAYERS = 11, 50


def generate(root: Path, samples: int, seed: int, epoch: int, share: float, real: int) -> None:
    """Write the dataset to ``root``; of the order of this seed and epoch ``real`` shards around ``share`` are real."""
    rng = np.random.default_rng(0)
    layouts = [_layout(rng, number) for number in range(LAYOUTS)]
    paths = [_path(unit) for unit in range(-(-samples // SHARD))]
    order = permutation(paths, seed, epoch)
    at = int(share * len(paths))
    drawn = _shards(root, layouts[:DRAWN], paths, sorted(order[max(0, at - real // 2) : at + real // 2]), samples)
    names = []
    for part, first in enumerate(range(0, samples, PART_ROWS)):
        names.append(f"manifest/index-000001-{part:03d}-00000000.parquet")
        (root / names[-1]).parent.mkdir(parents=True, exist_ok=True)
        with table_writer(root / names[-1], INDEX_SCHEMA) as writer:
            for start in range(first, min(samples, first + PART_ROWS), CHUNK):
                rows = min(CHUNK, samples - start, first + PART_ROWS - start)
                writer.write_table(_chunk(rng, layouts, paths, start, rows, drawn), row_group_size=GROUP_ROWS)
    dataset = Dataset(
        generation=1,
        fingerprint=hashlib.sha256(f"{samples}".encode()).hexdigest(),
        build="0" * 64,
        plan="manifest/plan.parquet",
        counts=Counts(inputs=samples, ok=samples, filtered=0, failed=0),
        splits={"train": samples},
        licences={SYNTHETIC: samples},
        shards=(),
        index=tuple(names),
        ledger=(),
    )
    (root / DATASET_JSON).write_bytes(dataset.to_json())


def _path(unit: int) -> str:
    return f"shards/train-{unit:06d}-{hashlib.sha256(str(unit).encode()).hexdigest()[:8]}.tar"


def _layout(rng: np.random.Generator, number: int) -> dict[str, Any]:
    """A design's record without its key, as JSON has it."""
    count = int(np.clip(round(rng.lognormal(np.log(MEAN_LAYERS) - 0.28, 0.75)), 1, MAX_LAYERS))
    boxes = [[0, 0, SIDE, SIDE]]
    for _ in range(count):
        area = np.clip(rng.lognormal(np.log(MEDIAN_SHARE), SIGMA), 1e-4, 1) * SIDE**2
        width = int(np.clip(np.sqrt(area) * np.exp(rng.normal(0, 0.5)), area / SIDE, SIDE))
        width = max(1, width)
        height = int(np.clip(area / width, 1, SIDE))
        x, y = int(rng.integers(0, SIDE - width + 1)), int(rng.integers(0, SIDE - height + 1))
        boxes.append([x, y, x + width, y + height])
    parts = [[[0], [1, 2], *([i] for i in range(3, count + 1))] if count > 1 else [[0], [1]]] * 2
    kinds = ["background", *rng.choice(["image", "text", "shape"], count)]
    layers = [
        {"index": i, "name": f"{kind} {i}", "kind": kind, "box": box, "coverage": 1.0, "sha256": "0" * 64}
        for i, (kind, box) in enumerate(zip(kinds, boxes, strict=True))
    ]
    return {
        "canvas": {"width": SIDE, "height": SIDE},
        "visible": [0, 0, SIDE, SIDE],
        "layers": layers,
        "groupings": [{"seed": i, "parts": part} for i, part in enumerate(parts)],
        "restyles": [{"layer": 1, "method": "palette"}] if number % 3 == 0 else [],
        "licence": {"id": SYNTHETIC, "licensor": "Acetate"},
        "provenance": {"uri": "design.psd", "format": "psd", "sha256": "0" * 64, "bytes": 1000, "family": "family"},
        "recomposition": {"reference": "preview", "mae": 0.0, "p99": 0.0},
    }


def _design(layout: dict[str, Any], key: str) -> Design:
    captions = Captions(short={"en": Caption(text="a generated design", source="template")})
    return Design.model_validate({**layout, "schema": 1, "design_id": key, "captions": captions})


def _members(layout: dict[str, Any]) -> dict[str, bytes]:
    """Members of plain colours, of the sizes that the layout says."""
    boxes = {layer_stem(layer["index"]): Box(*layer["box"]) for layer in layout["layers"]}
    boxes |= {restyle_stem(pair["layer"]): boxes[layer_stem(pair["layer"])] for pair in layout["restyles"]}
    boxes |= {"composite": Box(0, 0, SIDE, SIDE), "preview": Box(0, 0, SIDE, SIDE)}
    pixels = {stem: np.full((box.height, box.width, 4), 128, np.uint8) for stem, box in boxes.items()}
    return {f"{stem}.webp": images.encode(array) for stem, array in pixels.items()}


def _shards(
    root: Path, layouts: list[dict[str, Any]], paths: list[str], units: list[int], samples: int
) -> dict[int, list[dict[str, Any]]]:
    """Write real shards; the index rows of each."""
    members = [_members(layout) for layout in layouts]
    out = {}
    (root / "shards").mkdir(parents=True, exist_ok=True)
    for unit in units:
        rows = range(unit * SHARD, min(samples, (unit + 1) * SHARD))
        numbers = [row % DRAWN for row in rows]
        keys = [hashlib.sha256(f"design {row}".encode()).hexdigest()[:32] for row in rows]
        designs = [_design(layouts[number], key) for number, key in zip(numbers, keys, strict=True)]
        shard = io.BytesIO()
        pairs = zip(designs, numbers, strict=True)
        locations = write_shard(shard, [Sample(design, members[number]) for design, number in pairs], paths[unit])
        (root / paths[unit]).write_bytes(shard.getvalue())
        out[unit] = [
            _row(design, location, unit, row) for design, location, row in zip(designs, locations, rows, strict=True)
        ]
    return out


def _row(design: Design, location: Location, unit: int, row: int) -> dict[str, Any]:
    return index_row(design, location, split="train", unit=unit, row=row, phash="0" * 16)


def _chunk(
    rng: np.random.Generator,
    layouts: list[dict[str, Any]],
    paths: list[str],
    start: int,
    rows: int,
    drawn: dict[int, list[dict[str, Any]]],
) -> pa.Table:
    """Index rows from ``start``: copies of layouts under random keys and hashes, or those of real shards."""
    which = rng.integers(0, LAYOUTS, rows)
    table = _table(layouts).take(pa.array(which))
    units = np.arange(start, start + rows) // SHARD
    columns = {
        "key": _hex(rng, rows, 32),
        "shard": pa.array([paths[unit] for unit in units]),
        "unit": pa.array(units),
        "row": pa.array(np.arange(start, start + rows)),
        "uri": pa.array([f"designs/{row:09d}.psd" for row in range(start, start + rows)]),
        "family": pa.array([f"family-{row:09d}" for row in range(start, start + rows)]),
        "phash": _hex(rng, rows, 16),
        "members": _moved(rng, table.column("members").combine_chunks()),
    }
    for name, column in columns.items():
        place = INDEX_SCHEMA.get_field_index(name)
        table = table.set_column(place, INDEX_SCHEMA.field(place), column.cast(INDEX_SCHEMA.field(place).type))
    pieces, at = [], 0
    for unit in sorted(unit for unit in drawn if start <= unit * SHARD < start + rows):
        first = unit * SHARD - start
        pieces += [table.slice(at, first - at), pa.Table.from_pylist(drawn[unit], INDEX_SCHEMA)]
        at = first + len(drawn[unit])
    return pa.concat_tables([*pieces, table.slice(at)]).combine_chunks()


_TABLES: list[pa.Table] = []


def _table(layouts: list[dict[str, Any]]) -> pa.Table:
    """An index row of each layout, with members of made up sizes; made once."""
    if not _TABLES:
        rows = []
        for number, layout in enumerate(layouts):
            design = _design(layout, f"{number:032x}")
            names = ["json", "composite.webp", *(f"{layer_stem(i)}.webp" for i in range(len(design.layers)))]
            names += ["preview.webp", *(f"{restyle_stem(pair.layer)}.webp" for pair in design.restyles)]
            found = [{"name": n, "offset": 0, "size": 2000 + 997 * i, "sha256": "0" * 64} for i, n in enumerate(names)]
            location = Location.model_validate({"key": design.design_id, "shard": "", "members": found})
            rows.append(_row(design, location, 0, 0))
        _TABLES.append(pa.Table.from_pylist(rows, INDEX_SCHEMA))
    return _TABLES[0]


def _moved(rng: np.random.Generator, members: pa.ListArray) -> pa.ListArray:
    """The members one after another in their shards, with random hashes."""
    names, _, sizes, _ = members.flatten().flatten()
    ends = np.cumsum(512 + (sizes.to_numpy() + 511) // 512 * 512)
    hashes = _hex(rng, len(names), 64)
    kept = pa.StructArray.from_arrays(
        [names, pa.array(ends % 2**33), sizes, hashes], fields=list(members.type.value_type)
    )
    return pa.ListArray.from_arrays(members.offsets, kept, type=members.type)


def _hex(rng: np.random.Generator, count: int, digits: int) -> pa.StringArray:
    offsets = np.arange(0, (count + 1) * digits, digits, dtype=np.int32)
    text = rng.bytes(count * digits // 2).hex().encode()
    return pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(text))
