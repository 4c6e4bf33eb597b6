"""What the stages commit: one JSON file a unit under a name that holds the stage's key, and the blobs it names.

``_work/{stage}/{unit:06d}-{key16}.json`` is written last, so that an artefact that is there is whole. Blobs are named
by content.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, TypeVar

from pydantic import BaseModel, Field

from pipelines.dedup import Signature
from pipelines.errors import StoreError, TruncatedError
from pipelines.plan import PlanRow, admitted
from pipelines.scratch import working_directory
from pipelines.storage import Store
from schemas.design import (
    Caption,
    Captions,
    DesignId,
    Grouping,
    Record,
    RestylePair,
    Sha256,
    canonical_json,
    parse_record,
)
from schemas.errors import RecordError, SampleError, SchemaError
from schemas.index import Location
from schemas.ledger import Code, LedgerRow
from schemas.sample import Sample, read_shard

WORK = "_work"

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")


class Outcome(Record):
    """What extraction made of one source. It knows nothing of rows and terms: those are bound when the unit is sharded.

    ``key`` is the row's; the signature is there where ``code`` is ok.
    """

    key: str
    design_id: DesignId | None
    code: Code
    message: str
    attempts: int
    seconds: float
    signature: Signature | None = None


class Extracted(Record):
    """The extract artefact: outcomes in the order of the unit's admitted rows, and where in the blob their samples lie.

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


class Piece(Record):
    """Bytes of a blob."""

    offset: int
    size: int
    sha256: Sha256


class Restyled(Made):
    """The restyle artefact: pairs by design, each with the place and the hash of its image in the blob."""

    designs: dict[str, tuple[tuple[RestylePair, Piece], ...]]
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
        raise StoreError(f"{name} is damaged or gone ({error})") from None


def commit(store: Store, name: str, artefact: BaseModel) -> None:
    store.write(name, canonical_json(artefact.model_dump(mode="json", by_alias=True)))


def put_blob(
    store: Store, write: Callable[[IO[bytes]], T], name: Callable[[str, T], str | None]
) -> tuple[str | None, str, int, T]:
    """Write a blob by way of a local file: (name, sha256, bytes, what ``write`` returned).

    ``name`` is asked with the sha256 and may answer None: then nothing is stored.
    """
    with working_directory() as folder:
        path = folder / "blob"
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
    """The samples of a unit that are still in, read one by one by ranged reads; ``name`` is the extract artefact's."""

    store: Store
    name: str
    extracted: Extracted
    kept: Sequence[tuple[PlanRow, Outcome]]

    @classmethod
    def open(cls, store: Store, inputs: Mapping[str, str], rows: Iterable[PlanRow]) -> UnitSamples:
        """Of ``rows``, those that are admitted, ok and not dropped; their design ids are distinct."""
        extracted = load(store, inputs["extract"], Extracted)
        dropped = load(store, inputs["dedup"], Deduplicated).dropped
        pairs = zip(admitted(rows), extracted.outcomes, strict=True)
        kept = [(row, outcome) for row, outcome in pairs if outcome.code is Code.OK and row.row not in dropped]
        return cls(store, inputs["extract"], extracted, kept)

    @property
    def ids(self) -> list[str]:
        return [str(outcome.design_id) for _, outcome in self.kept]

    def load(self, design_id: str) -> Sample:
        return load_sample(self.store, self.name, self.extracted, design_id)


def load_sample(store: Store, name: str, extracted: Extracted, design_id: str) -> Sample:
    """One sample of the extract artefact ``name`` by a single ranged read, with the hash of every member checked.

    Raises:
        StoreError: the blob is damaged or gone; the artefact is removed, so that the next run makes both again.
    """
    members = extracted.locations[design_id].members
    start = members[0].offset - tarfile.BLOCKSIZE  # the header of the first member
    end = -(-(members[-1].offset + members[-1].size) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    with healing(store, name, str(extracted.blob)):
        data = store.read_range(str(extracted.blob), start, end - start)
        for member in members:
            check_hash(data[member.offset - start : member.offset - start + member.size], member.sha256)
        return next(read_shard(io.BytesIO(data + bytes(2 * tarfile.BLOCKSIZE))))


def check_hash(data: bytes, sha256: str) -> None:
    """Raises SampleError where ``data`` has another hash."""
    if hashlib.sha256(data).hexdigest() != sha256:
        raise SampleError("its bytes have another hash than was written")


@contextlib.contextmanager
def healing(store: Store, artefact: str, blob: str) -> Iterator[None]:
    """Where reading ``blob`` shows that it is damaged or gone, remove the artefact that names it.

    Raises:
        StoreError: it was so; the next run makes both anew.
    """
    try:
        yield
    except (FileNotFoundError, SchemaError, TruncatedError) as error:
        store.delete([artefact])
        raise StoreError(f"{blob} is damaged or gone ({error})") from None
