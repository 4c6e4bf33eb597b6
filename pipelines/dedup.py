"""Dedup: exact by bytes, near by perceptual hash over the whole dataset, guarded by statistics (DESIGN section 7).

``signature`` is taken of each design where its pixels are at hand; ``decide`` compares all signatures of a build. A
design is compared with the winners only: what it resembles among the dropped does not count.
"""

from __future__ import annotations

import hashlib
import unicodedata
from array import array
from collections.abc import Iterable, Set
from typing import Annotated

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from pipelines.hamming import BandIndex
from schemas.compositing import Rgba
from schemas.design import Design, DesignId, Record, Sha256
from schemas.ledger import Code
from schemas.sample import Sample

HASH_SIDE = 16
HASH_BITS = HASH_SIDE * HASH_SIDE
GRID = 4
_SHRUNK = 256
_LAYER_BYTES = 5
_FLAT_SPREAD = 3.0
_BOX_SLACK, _COVERAGE_SLACK = 16, 40


class DedupConfig(BaseModel):
    """What counts as the same design. Exact duplicates are always dropped; near ones when ``enabled``.

    ``max_distance``: bits of 256 in which the perceptual hashes may differ. The guards, all of which must agree too:
    ``max_aspect`` (ratio of the aspect ratios), ``max_colour`` (mean difference of the colours of a 4 x 4 grid, in
    1/255), ``max_layer_ratio`` (larger / smaller count of layers), ``min_layers_alike`` (share of the layers of the
    smaller stack that lie where a layer of the other does) and ``same_text`` (where both have text, it must agree).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = True
    max_distance: int = Field(default=16, ge=0, le=40)
    max_aspect: float = Field(default=1.02, ge=1)
    max_colour: float = Field(default=8.0, ge=0)
    max_layer_ratio: float = Field(default=2.0, ge=1)
    min_layers_alike: float = Field(default=0.5, ge=0, le=1)
    same_text: bool = True


class Signature(Record):
    """What dedup needs to know of a design.

    ``phash``: 256 bits over the visible composite on white. ``pixels``: sha256 of its size and bytes. ``flat``: so
    uniform that the hash means nothing. ``colours``: the mean RGB of a 4 x 4 grid, 48 bytes. ``text``: a hash of all
    text, empty where there is none. ``layers``: 5 bytes a layer above the background: left, right, top and bottom of
    its box in 1/255 of the visible box, clipped to it, and its coverage.
    """

    design_id: DesignId
    row: Annotated[int, Field(ge=0)]
    unit: Annotated[int, Field(ge=0)]
    phash: Sha256
    pixels: Sha256
    flat: bool
    aspect: Annotated[float, Field(gt=0)]
    colours: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{96}$")]
    text: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{16})?$")]
    layers: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{10})*$")]


def signature(sample: Sample, composite: Rgba, row: int, unit: int) -> Signature:
    """The signature of a design. ``composite``: its decoded composite, ``uint8 [canvas height, canvas width, 4]``."""
    import imagehash  # a second to import: only where pixels are hashed

    design = sample.design
    visible = np.ascontiguousarray(composite[design.visible.slices])
    image = Image.new("RGBA", (visible.shape[1], visible.shape[0]), (255, 255, 255, 255))
    image.alpha_composite(Image.fromarray(visible, "RGBA"))
    shown = image.convert("RGB")
    small = shown.resize((_SHRUNK, _SHRUNK), Image.Resampling.BOX)
    luma = np.asarray(small.convert("L").resize((64, 64), Image.Resampling.BOX), np.float64)
    grid = np.asarray(small.resize((GRID, GRID), Image.Resampling.BOX))
    return Signature(
        design_id=design.design_id,
        row=row,
        unit=unit,
        phash=str(imagehash.phash(small, hash_size=HASH_SIDE)),
        pixels=hashlib.sha256(f"{shown.width}x{shown.height}:".encode() + shown.tobytes()).hexdigest(),
        flat=bool(luma.std() < _FLAT_SPREAD),
        aspect=design.visible.width / design.visible.height,
        colours=grid.tobytes().hex(),
        text=_text(design),
        layers=_layers(design),
    )


def decide(signatures: Iterable[Signature], winners: Set[int], config: DedupConfig) -> dict[int, tuple[Code, str]]:
    """Which rows are dropped, and why: ``{row: (code, message that names the winner)}``.

    ``winners`` are the rows that were published before: they stay, whatever they resemble. Among the rest the
    lowest row wins. The order of ``signatures`` does not matter; they are read once, and held in some 500 bytes each.
    """
    table = _Table(signatures, winners)
    drops: dict[int, tuple[Code, str]] = {}
    original = table.first_of_id()
    near = _near(table, original, config) if config.enabled else {}
    for position, message in near.items():
        drops[table.row(position)] = (Code.NEAR_DUPLICATE, message)
    for position in np.flatnonzero(original != np.arange(len(original))).tolist():
        first = int(original[position])
        kept = f"; that row is itself {near[first]}" if first in near else ""
        drops[table.row(position)] = (Code.DUPLICATE, f"the same bytes as {table.name(first)}{kept}")
    return dict(sorted(drops.items()))


def _near(table: _Table, original: npt.NDArray[np.intp], config: DedupConfig) -> dict[int, str]:
    """The dropped positions and what they resemble: greedy in order of precedence, against winners only."""
    unique = np.flatnonzero(original == np.arange(len(original)))
    out: dict[int, str] = {}
    hashed = unique[~table.flat[unique]]
    index = BandIndex(table.hashes[hashed], config.max_distance)
    for i, position in enumerate(hashed.tolist()):
        near = [] if table.settled[position] else index.near(i)
        twins = ((apart, int(hashed[j])) for apart, j in near if table.alike(position, int(hashed[j]), config))
        if (twin := next(twins, None)) is None:
            index.add(i)
        else:
            out[position] = f"{twin[0]} of {HASH_BITS} bits from {table.name(twin[1])}"
    seen: dict[bytes, list[int]] = {}
    for position in unique[table.flat[unique]].tolist():
        same = seen.setdefault(table.pixels[position].tobytes(), [])
        first = next((other for other in same if table.alike(position, other, config)), None)
        if first is None or table.settled[position]:
            same.append(position)
        else:
            out[position] = f"the same pixels as {table.name(first)}"
    return out


class _Table:
    """The signatures in order of precedence (earlier winners, then by row), in flat arrays."""

    def __init__(self, signatures: Iterable[Signature], winners: Set[int]) -> None:
        columns = {name: bytearray() for name in ("ids", "hashes", "pixels", "colours", "texts", "layers")}
        rows, counts, aspects, flags = array("q"), array("q"), array("d"), array("b")
        for each in signatures:
            columns["ids"] += bytes.fromhex(each.design_id)
            columns["hashes"] += bytes.fromhex(each.phash)
            columns["pixels"] += bytes.fromhex(each.pixels)[:16]
            columns["colours"] += bytes.fromhex(each.colours)
            columns["texts"] += bytes.fromhex(each.text or "0" * 16)
            columns["layers"] += bytes.fromhex(each.layers)
            rows.append(each.row)
            counts.append(len(each.layers) // (2 * _LAYER_BYTES))
            aspects.append(each.aspect)
            flags.append(each.flat | (each.row in winners) << 1)
        flag = np.frombuffer(flags, np.int8) if flags else np.zeros(0, np.int8)
        row = np.array(rows, np.int64)
        self.order = np.lexsort((row, flag < 2))
        self.rows = row[self.order]
        self.flat = (flag[self.order] & 1).astype(bool)
        self.settled = flag[self.order] >= 2
        self.aspects = np.array(aspects, np.float64)[self.order]
        self.ids = _matrix(columns["ids"], 16)[self.order]
        self.hashes = _matrix(columns["hashes"], HASH_BITS // 8)[self.order]
        self.pixels = _matrix(columns["pixels"], 16)[self.order]
        self.colours = _matrix(columns["colours"], 3 * GRID * GRID)[self.order]
        self.texts = np.frombuffer(bytes(columns["texts"]), np.uint64)[self.order]
        self.counts = np.array(counts, np.int64)
        self.ends = np.cumsum(self.counts)
        self.layers = _matrix(columns["layers"], _LAYER_BYTES)

    def row(self, position: int) -> int:
        return int(self.rows[position])

    def name(self, position: int) -> str:
        return f"{self.ids[position].tobytes().hex()} (row {self.rows[position]})"

    def first_of_id(self) -> npt.NDArray[np.intp]:
        """For each position the first one with the same bytes."""
        keys = np.ascontiguousarray(self.ids).view("V16").ravel()
        _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        original: npt.NDArray[np.intp] = first[inverse]
        return original

    def alike(self, one: int, two: int, config: DedupConfig) -> bool:
        """Whether the guards let two designs be the same."""
        ratio = float(self.aspects[one] / self.aspects[two])
        if max(ratio, 1 / ratio) > config.max_aspect:
            return False
        if config.same_text and self.texts[one] and self.texts[two] and self.texts[one] != self.texts[two]:
            return False
        if np.abs(self.colours[one].astype(np.int16) - self.colours[two]).mean() > config.max_colour:
            return False
        few, many = sorted((self._stack(one), self._stack(two)), key=len)
        if len(many) + 1 > config.max_layer_ratio * (len(few) + 1):
            return False
        return _share_alike(few, many) >= config.min_layers_alike

    def _stack(self, position: int) -> npt.NDArray[np.int16]:
        source = self.order[position]
        end = int(self.ends[source])
        return self.layers[end - int(self.counts[source]) : end].astype(np.int16)


def _share_alike(few: npt.NDArray[np.int16], many: npt.NDArray[np.int16]) -> float:
    """The share of ``few``'s layers that have one in ``many`` in about the same place and as full."""
    if len(few) == 0:
        return 1.0
    apart = np.abs(few[:, None] - many[None])
    return float(((apart[..., :4].max(-1) <= _BOX_SLACK) & (apart[..., 4] <= _COVERAGE_SLACK)).any(axis=1).mean())


def _matrix(data: bytearray, width: int) -> npt.NDArray[np.uint8]:
    return np.frombuffer(data, np.uint8).reshape(-1, width)


def _text(design: Design) -> str:
    texts = [unicodedata.normalize("NFKC", layer.text.content).casefold() for layer in design.layers if layer.text]
    words = sorted(" ".join(text.split()) for text in texts)
    joined = "\n".join(text for text in words if text)
    return hashlib.sha256(joined.encode("utf-8", "replace")).hexdigest()[:16] if joined else ""


def _layers(design: Design) -> str:
    visible = design.visible
    out = bytearray()
    for layer in design.layers[1:]:
        box = layer.box.intersect(visible).within(visible)
        out += bytes(min(255, round(255 * x / visible.width)) for x in (box.x0, box.x1))
        out += bytes(min(255, round(255 * y / visible.height)) for y in (box.y0, box.y1))
        out.append(round(255 * layer.coverage))
    return out.hex()
