"""The data of the benchmark of streaming, the same samples in every contestant's format.

``make`` writes, under one folder: ``designs`` (a published dataset, lossless WebP; stock webdataset reads its shards),
``designs-png`` (plain shards with PNG members), ``latents`` (a published dataset of records and latents), and with
``-mds`` and ``-lit`` behind their names the same members in the formats of MosaicML streaming and of litdata.
"""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from infra.bench.stream_designs import draw, renamed
from schemas.dataset import DATASET_JSON, SHARD_SCHEMA, Counts, Dataset, content_fingerprint
from schemas.images import Codec
from schemas.index import INDEX_SCHEMA, Location, index_row
from schemas.ledger import LEDGER_SCHEMA
from schemas.licence import SYNTHETIC
from schemas.sample import Sample, write_shard

FORMATS = ("mds", "lit")
CHUNK_BYTES = 64 * 2**20
"""Of a shard or chunk, for all: the default of MosaicML streaming and litdata."""
LATENT_CHANNELS = 64


@dataclass(frozen=True)
class Recipe:
    """What is drawn: ``designs`` samples of ``distinct`` different designs; ``latents`` samples of ``tokens`` each."""

    designs: int = 256
    distinct: int = 32
    side: int = 1024
    layers: int = 11
    latents: int = 4096
    tokens: int = 2850


def make(folder: Path, recipe: Recipe) -> None:
    """Write everything that is missing of ``recipe`` to ``folder``."""
    done = folder / "recipe.json"
    if done.exists() and json.loads(done.read_text()) == asdict(recipe):
        return
    if folder.exists() and any(folder.iterdir()):
        raise SystemExit(f"{folder} holds something else: name an empty directory, or none")
    folder.mkdir(parents=True, exist_ok=True)
    webp, png = _drawn(recipe)
    publish(folder / "designs", webp)
    for name, tar, _ in _shards(png):
        _write(folder / "designs-png" / name, tar)
    publish(folder / "latents", [_latent(sample, number, recipe) for number, sample in _repeated(webp, recipe)])
    for kind in FORMATS:
        sources = [str(folder / name) for name in ("designs", "latents")]
        command = [sys.executable, "-m", "infra.bench.stream_formats", kind, *sources]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    done.write_text(json.dumps(asdict(recipe)))


def bytes_of(folder: Path) -> int:
    """Bytes of the shards (or chunks) of a dataset."""
    suffixes = (".tar", ".mds", ".bin")
    return sum(path.stat().st_size for path in folder.rglob("*") if path.suffix in suffixes)


def _drawn(recipe: Recipe) -> tuple[list[Sample], list[Sample]]:
    """The samples with WebP and with PNG members."""
    distinct = min(recipe.distinct, recipe.designs)
    with ProcessPoolExecutor() as pool:
        pairs = list(pool.map(_both, range(distinct), [recipe] * distinct))
    out: tuple[list[Sample], list[Sample]] = ([], [])
    for number in range(recipe.designs):
        for samples, sample in zip(out, pairs[number % distinct], strict=True):
            samples.append(renamed(sample, f"design-{number}"))
    return out


def _both(number: int, recipe: Recipe) -> tuple[Sample, Sample]:
    drawn = draw(number, recipe.side, recipe.layers)
    return drawn.sample(Codec.WEBP), drawn.sample(Codec.PNG)


def _repeated(samples: Sequence[Sample], recipe: Recipe) -> Iterator[tuple[int, Sample]]:
    for number in range(recipe.latents):
        yield number, renamed(samples[number % len(samples)], f"latent-{number}")


def _latent(sample: Sample, number: int, recipe: Recipe) -> Sample:
    """The record with latents of noise."""
    rng = np.random.default_rng(number)
    noise = rng.standard_normal((recipe.tokens, LATENT_CHANNELS), np.float32)
    return Sample(sample.design, {"latents.safetensors": _safetensors(noise)})


def _safetensors(values: np.ndarray[Any, np.dtype[np.float32]]) -> bytes:
    """One tensor, ``latents``, of bfloat16 (the upper half of a float32), for which numpy has no type."""
    header = {"latents": {"dtype": "BF16", "shape": list(values.shape), "data_offsets": [0, values.size * 2]}}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + (values.view(np.uint32) >> 16).astype("<u2").tobytes()


def publish(root: Path, samples: Sequence[Sample]) -> None:
    """Write a published dataset of one split, ``train``."""
    shards: list[dict[str, Any]] = []
    rows: list[dict[str, object]] = []
    for unit, (path, tar, placed) in enumerate(_shards(samples)):
        _write(root / path, tar)
        digest = hashlib.sha256(tar).hexdigest()
        about = {"path": path, "split": "train", "unit": unit, "samples": len(placed), "bytes": len(tar)}
        shards.append({**about, "sha256": digest})
        for sample, location in placed:
            row = len(rows)
            rows.append(index_row(sample.design, location, split="train", unit=unit, row=row, phash="0" * 16))
    dataset = Dataset(
        generation=1,
        fingerprint=content_fingerprint((str(row["path"]), str(row["sha256"])) for row in shards),
        build="0" * 64,
        plan=_table(root, "plan-000001", [], pa.schema([])),
        counts=Counts(inputs=len(samples), ok=len(samples), filtered=0, failed=0),
        splits={"train": len(samples)},
        licences={SYNTHETIC: len(samples)},
        shards=(_table(root, "shards-000001", shards, SHARD_SCHEMA),),
        index=(_table(root, "index-000001-0000", rows, INDEX_SCHEMA),),
        ledger=(_table(root, "ledger-000001-0000", [], LEDGER_SCHEMA),),
    )
    _write(root / DATASET_JSON, dataset.to_json())


def _shards(samples: Sequence[Sample]) -> Iterator[tuple[str, bytes, list[tuple[Sample, Location]]]]:
    """(path, tar, the samples in it) of an even number of shards of at most CHUNK_BYTES or so, alike in samples, so
    that two readers that share shards have the same work.
    """
    total = sum(len(data) for sample in samples for data in sample.members.values())
    count = min(len(samples), 2 * max(1, -(-total // (2 * CHUNK_BYTES))))
    for number in range(count):
        part = samples[number * len(samples) // count : (number + 1) * len(samples) // count]
        path = f"shards/train-{number:06d}.tar"
        out = io.BytesIO()
        placed = list(zip(part, write_shard(out, part, path), strict=True))
        yield path, out.getvalue(), placed


def _table(root: Path, name: str, rows: list[dict[str, Any]], schema: pa.Schema) -> str:
    path = f"manifest/{name}.parquet"
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), root / path)
    return path


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
