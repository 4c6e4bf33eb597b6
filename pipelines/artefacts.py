"""What the stages commit: one JSON file a unit under a name that holds the stage's key, and the blobs it names.

``_work/{stage}/{unit:06d}-{key16}.json`` is written last, so that an artefact that is there is whole. Blobs are named
by content.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, TypeVar

from pydantic import BaseModel, Field

from pipelines.dedup import Signature
from pipelines.errors import StoreError
from pipelines.storage import Store
from schemas.design import Caption, Captions, Grouping, Record, RestylePair, canonical_json, parse_record
from schemas.errors import RecordError, SchemaError
from schemas.index import Location
from schemas.ledger import Code, LedgerRow
from schemas.sample import Sample, read_shard

WORK = "_work"

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")


class Outcome(Record):
    """What extraction made of one row: its key, its ledger entry so far, and the signature for dedup where it is ok."""

    key: str
    ledger: LedgerRow
    signature: Signature | None = None


class Extracted(Record):
    """The extract artefact: outcomes in row order, and where the samples of the ok ones lie in the blob.

    ``config`` is the key of version and configuration: outcomes can be taken over from an artefact with the same one.
    """

    config: str
    outcomes: tuple[Outcome, ...]
    blob: str | None
    locations: dict[str, Location]


class Deduplicated(Record):
    """The dedup artefact of a unit: rows that are dropped, with code and message."""

    dropped: dict[int, tuple[Code, str]]


class Made(Record):
    """Base of what is made of every design that is still in: ``failed`` says for which it could not be, and why."""

    failed: dict[str, tuple[Code, str]] = Field(default_factory=dict)


class Captioned(Made):
    """The caption artefact: global and layer captions by design."""

    designs: dict[str, tuple[Captions, dict[int, Caption]]]


class Grouped(Made):
    """The group artefact: partitions by design."""

    designs: dict[str, tuple[Grouping, ...]]


class Restyled(Made):
    """The restyle artefact: pairs by design, each with offset and size of its image in the blob."""

    designs: dict[str, tuple[tuple[RestylePair, int, int], ...]]
    blob: str | None = None


class ShardEntry(Record):
    """A row of the shard table."""

    path: str
    split: str
    unit: int
    samples: int
    bytes: int
    sha256: str


class Sharded(Record):
    """The shard artefact: the shard (None where no design of the unit is ok), its index rows and the unit's ledger."""

    shard: ShardEntry | None
    index: tuple[dict[str, object], ...]
    ledger: tuple[LedgerRow, ...]


def artefact_name(stage: str, unit: int, key: str) -> str:
    return f"{WORK}/{stage}/{unit:06d}-{key[:16]}.json"


def load(store: Store, name: str, model: type[M]) -> M:
    """Read an artefact.

    Raises:
        StoreError: it is gone or damaged; names the remedy.
    """
    try:
        return parse_record(model, store.read(name))
    except (FileNotFoundError, RecordError) as error:
        store.delete([name])
        raise StoreError(f"{name} was damaged and has been removed ({error}); run the build again") from None


def commit(store: Store, name: str, artefact: BaseModel) -> None:
    store.write(name, canonical_json(artefact.model_dump(mode="json", by_alias=True)))


def put_blob(
    store: Store, write: Callable[[IO[bytes]], T], name: Callable[[str, T], str | None]
) -> tuple[str | None, str, int, T]:
    """Write a blob by way of a local file: (name, sha256, bytes, what ``write`` returned).

    ``name`` is asked with the sha256 and may answer None: then nothing is stored.
    """
    with tempfile.TemporaryDirectory(prefix="acetate-") as folder:
        path = Path(folder) / "blob"
        with path.open("wb") as out:
            result = write(out)
        with path.open("rb") as written:
            sha256 = hashlib.file_digest(written, "sha256").hexdigest()
        size = path.stat().st_size
        target = name(sha256, result)
        if target is not None:
            store.put(target, path)
    return target, sha256, size, result


@dataclass(frozen=True)
class UnitSamples:
    """The samples of a unit that are still in, read one at a time by ranged reads."""

    store: Store
    extracted: Extracted
    dropped: frozenset[int] = frozenset()

    @classmethod
    def open(cls, store: Store, inputs: dict[str, str]) -> UnitSamples:
        extracted = load(store, inputs["extract"], Extracted)
        dropped = load(store, inputs["dedup"], Deduplicated).dropped
        return cls(store, extracted, frozenset(dropped))

    @cached_property
    def kept(self) -> Sequence[Outcome]:
        """Outcomes that are ok and not dropped, in row order; their design ids are distinct."""
        return [o for o in self.extracted.outcomes if o.ledger.code is Code.OK and o.ledger.row not in self.dropped]

    @property
    def ids(self) -> list[str]:
        return [str(outcome.ledger.design_id) for outcome in self.kept]

    def load(self, design_id: str) -> Sample:
        """Read one sample, with the hash of every member checked.

        Raises:
            StoreError: the blob is damaged or gone.
        """
        return load_sample(self.store, self.extracted, design_id)


def load_sample(store: Store, extracted: Extracted, design_id: str) -> Sample:
    """One sample of an extract artefact by a single ranged read.

    Raises:
        StoreError: the blob is damaged or gone.
    """
    blob = str(extracted.blob)
    members = extracted.locations[design_id].members
    start = members[0].offset - 512  # the tar header of the first member
    end = -(-(members[-1].offset + members[-1].size) // 512) * 512
    try:
        data = store.read_range(blob, start, end - start)
        for member in members:
            part = data[member.offset - start : member.offset - start + member.size]
            if hashlib.sha256(part).hexdigest() != member.sha256:
                raise StoreError(f"{blob}: {member.name} of {design_id} is damaged; remove {WORK} and build again")
        return next(read_shard(io.BytesIO(data + bytes(1024))))
    except (FileNotFoundError, SchemaError) as error:
        raise StoreError(f"{blob}: {error}; remove {WORK} and build again") from None
