"""Shard: everything the stages made of a unit, brought together into one tar, its index rows and its ledger rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
    check_hash,
    healing,
    load,
    put_blob,
)
from pipelines.plan import PlanRow
from pipelines.storage import Store
from schemas.design import Design, Licence
from schemas.images import Codec
from schemas.index import Location, index_row
from schemas.ledger import Code, LedgerRow
from schemas.sample import Sample, restyle_stem, write_shard


def shard_unit(store: Store, inputs: Mapping[str, str], rows: Sequence[PlanRow], codec: Codec) -> Sharded:
    """Write the shard of a unit and say what is in it. A unit without an ok design has no shard."""
    samples = UnitSamples.open(store, inputs, rows)
    parts = Parts(store, inputs)
    published: list[tuple[PlanRow, Outcome, Design]] = []

    def assemble() -> Iterator[Sample]:
        for row, outcome in samples.kept:
            if str(outcome.design_id) not in parts.failed:
                sample = parts.assemble(samples.load(str(outcome.design_id)), row, codec)
                published.append((row, outcome, sample.design))
                yield sample

    def write(out: IO[bytes]) -> list[Location]:
        return write_shard(out, assemble(), "")

    unit, split = rows[0].unit, rows[0].split

    def name(sha256: str, locations: list[Location]) -> str | None:
        return f"shards/{split}-{unit:06d}-{sha256[:8]}.tar" if locations else None

    path, sha256, size, locations = put_blob(store, write, name)
    index = []
    for (row, outcome, design), location in zip(published, locations, strict=True):
        place = location.model_copy(update={"shard": path})
        phash = outcome.signature.phash if outcome.signature else ""
        index.append(index_row(design, place, split=split, unit=unit, row=row.row, phash=phash))
    entry = None
    if path is not None:
        entry = ShardEntry(path=path, split=split, unit=unit, samples=len(index), bytes=size, sha256=sha256)
    return Sharded(shard=entry, index=tuple(index), ledger=_ledger(rows, samples, parts))


class Parts:
    """What the stages made of a unit's designs, and the assembly of one sample from it."""

    def __init__(self, store: Store, inputs: Mapping[str, str]) -> None:
        self._store, self._inputs = store, inputs
        self._captioned = load(store, inputs["caption"], Captioned)
        self._grouped = load(store, inputs["group"], Grouped)
        self._restyled = load(store, inputs["restyle"], Restyled)
        self.dropped = load(store, inputs["dedup"], Deduplicated).dropped
        self.failed = {
            key: (stage, code, message)
            for stage, made in (("restyle", self._restyled), ("group", self._grouped), ("caption", self._captioned))
            for key, (code, message) in made.failed.items()
        }
        """By design, the first stage that could not, with code and message."""

    def assemble(self, sample: Sample, row: PlanRow, codec: Codec) -> Sample:
        """The sample with the terms of its row, captions, groupings and pairs."""
        design = sample.design
        captions, layer_captions = self._captioned.designs[design.design_id]
        members = dict(sample.members)
        pairs = []
        for pair, piece in self._restyled.designs.get(design.design_id, ()):
            if pair.donor in self.failed:  # what is not published lends no style
                continue
            blob = str(self._restyled.blob)
            with healing(self._store, self._inputs["restyle"], blob):
                data = self._store.read_range(blob, piece.offset, piece.size)
                check_hash(data, piece.sha256)
            members[f"{restyle_stem(pair.layer)}.{codec}"] = data
            pairs.append(pair)
        origin = {"uri": row.uri, "family": row.family, "tags": row.tags}
        changes = {
            "captions": captions,
            "layers": tuple(
                layer.model_copy(update={"caption": layer_captions.get(layer.index)}) for layer in design.layers
            ),
            "groupings": self._grouped.designs.get(design.design_id, ()),
            "restyles": tuple(sorted(pairs, key=lambda pair: pair.layer)),
            "licence": Licence(id=row.licence or "", licensor=row.licensor or "", expires=row.expires),
            "provenance": design.provenance.model_copy(update=origin),
        }
        return Sample(design.model_copy(update=changes), members)


def _ledger(rows: Sequence[PlanRow], samples: UnitSamples, parts: Parts) -> tuple[LedgerRow, ...]:
    """The last word on every row of the unit."""
    outcomes = iter(samples.extracted.outcomes)
    ledger = []
    for row in rows:
        if row.code is not Code.OK:
            said: dict[str, object] = {"stage": "plan", "code": row.code, "message": row.message}
        else:
            outcome = next(outcomes)
            stage, code, message = _settle(row, outcome, parts)
            said = {"stage": stage, "code": code, "message": message, "design_id": outcome.design_id}
            said |= {"attempts": outcome.attempts, "seconds": outcome.seconds}
        ledger.append(LedgerRow.model_validate({"row": row.row, "uri": row.uri, "unit": row.unit, **said}))
    return tuple(ledger)


def _settle(row: PlanRow, outcome: Outcome, parts: Parts) -> tuple[str, Code, str]:
    """(stage, code, message) of an admitted row."""
    if outcome.code is not Code.OK:
        return "extract", outcome.code, outcome.message
    if row.row in parts.dropped:
        return ("dedup", *parts.dropped[row.row])
    return parts.failed.get(str(outcome.design_id), ("shard", Code.OK, ""))
