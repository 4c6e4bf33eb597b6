"""Shard: everything the stages made of a unit, brought together into one tar, its index rows and its ledger rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from pipelines.artefacts import (
    Captioned,
    Deduplicated,
    Grouped,
    Outcome,
    Restyled,
    Sharded,
    ShardEntry,
    UnitSamples,
    load,
    put_blob,
)
from pipelines.storage import Store
from schemas.design import Design
from schemas.images import Codec
from schemas.index import Location, index_row
from schemas.ledger import Code, LedgerRow
from schemas.sample import Sample, restyle_stem, write_shard


def shard_unit(store: Store, inputs: dict[str, str], unit: int, split: str, codec: Codec) -> Sharded:
    """Write the shard of a unit and say what is in it. A unit without an ok design has no shard."""
    samples = UnitSamples.open(store, inputs)
    captioned = load(store, inputs["caption"], Captioned)
    grouped = load(store, inputs["group"], Grouped)
    restyled = load(store, inputs["restyle"], Restyled)
    failed = {
        key: (stage, code, message)
        for stage, made in (("restyle", restyled), ("group", grouped), ("caption", captioned))
        for key, (code, message) in made.failed.items()
    }
    published: list[tuple[Outcome, Design]] = []

    def assemble() -> Iterator[Sample]:
        for outcome in samples.kept:
            key = str(outcome.ledger.design_id)
            if key in failed:
                continue
            sample = _assemble(samples.load(key), key, captioned, grouped, restyled, store, codec)
            published.append((outcome, sample.design))
            yield sample

    def write(out: IO[bytes]) -> list[Location]:
        return write_shard(out, assemble(), "")

    def name(sha256: str, locations: list[Location]) -> str | None:
        return f"shards/{split}-{unit:06d}-{sha256[:8]}.tar" if locations else None

    path, sha256, size, locations = put_blob(store, write, name)
    index = []
    for (outcome, design), location in zip(published, locations, strict=True):
        place = location.model_copy(update={"shard": path})
        phash = outcome.signature.phash if outcome.signature else ""
        index.append(index_row(design, place, split=split, unit=unit, row=outcome.ledger.row, phash=phash))
    entry = None
    if path is not None:
        entry = ShardEntry(path=path, split=split, unit=unit, samples=len(index), bytes=size, sha256=sha256)
    dropped = load(store, inputs["dedup"], Deduplicated).dropped
    ledger = tuple(_settle(outcome, dropped, failed) for outcome in samples.extracted.outcomes)
    return Sharded(shard=entry, index=tuple(index), ledger=ledger)


def _assemble(
    sample: Sample, key: str, captioned: Captioned, grouped: Grouped, restyled: Restyled, store: Store, codec: Codec
) -> Sample:
    """The sample with captions, groupings and restyle pairs in its record, and the pairs' images among its members."""
    captions, layer_captions = captioned.designs[key]
    members = dict(sample.members)
    pairs = []
    for pair, offset, size in restyled.designs.get(key, ()):
        members[f"{restyle_stem(pair.layer)}.{codec}"] = store.read_range(str(restyled.blob), offset, size)
        pairs.append(pair)
    layers = tuple(
        layer.model_copy(update={"caption": layer_captions.get(layer.index)}) for layer in sample.design.layers
    )
    changes = {
        "captions": captions,
        "layers": layers,
        "groupings": grouped.designs.get(key, ()),
        "restyles": tuple(sorted(pairs, key=lambda pair: pair.layer)),
    }
    return Sample(sample.design.model_copy(update=changes), members)


def _settle(
    outcome: Outcome, dropped: dict[int, tuple[Code, str]], failed: dict[str, tuple[str, Code, str]]
) -> LedgerRow:
    """The last word on one row. ``failed``: by design the stage that could not, the code and the message."""
    row = outcome.ledger
    if row.code is not Code.OK:
        return row
    if row.row in dropped:
        stage, (code, message) = "dedup", dropped[row.row]
    else:
        stage, code, message = failed.get(str(row.design_id), ("shard", Code.OK, ""))
    return row.model_copy(update={"stage": stage, "code": code, "message": message})
