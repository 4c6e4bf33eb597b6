"""``dataset.json``, the only mutable name of a dataset, and the table of its shards (DESIGN section 3)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Annotated, Literal

import pyarrow as pa
from pydantic import ConfigDict, Field, model_validator

from schemas import SCHEMA_VERSION
from schemas.design import Record, Sha256, canonical_json, parse_record

DATASET_JSON = "dataset.json"

SHARD_SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("unit", pa.int64(), nullable=False),
        pa.field("samples", pa.int64(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
    ]
)


class Counts(Record):
    """The ledger in four numbers; inputs = ok + filtered + failed."""

    inputs: Annotated[int, Field(ge=0)]
    ok: Annotated[int, Field(ge=0)]
    filtered: Annotated[int, Field(ge=0)]
    failed: Annotated[int, Field(ge=0)]

    @model_validator(mode="after")
    def _identity(self) -> Counts:
        if self.inputs != self.ok + self.filtered + self.failed:
            raise ValueError(
                f"inputs {self.inputs} is not ok {self.ok} + filtered {self.filtered} + failed {self.failed}"
            )
        return self


class Dataset(Record):
    """The published state of a dataset.

    ``fingerprint`` is a hash of the content (``content_fingerprint``); ``build`` of what it was made from (plan,
    configuration and stage versions): a build with the same one has nothing to do. ``splits`` and ``licences`` count
    samples. The paths are relative to the dataset.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True)

    schema_version: Literal[1] = Field(default=SCHEMA_VERSION, alias="schema")
    generation: Annotated[int, Field(ge=1)]
    fingerprint: Sha256
    build: Sha256
    plan: str
    settings: dict[str, str] = Field(default_factory=dict)
    counts: Counts
    splits: dict[str, int]
    licences: dict[str, int]
    shards: tuple[str, ...]
    index: tuple[str, ...]
    ledger: tuple[str, ...]

    def to_json(self) -> bytes:
        return canonical_json(self.model_dump(mode="json", by_alias=True))

    @classmethod
    def from_json(cls, data: bytes | str) -> Dataset:
        """Raises RecordError: it does not validate; the message names the field."""
        return parse_record(cls, data)


def content_fingerprint(shards: Iterable[tuple[str, str]]) -> str:
    """The fingerprint of a dataset's content: sha256 hex over the sorted (path, sha256) pairs of its shards.

    The index follows from the shards, and its names carry a generation: it is left out, so that the same samples keep
    their fingerprint in every generation.
    """
    return hashlib.sha256(canonical_json(sorted([path, digest] for path, digest in shards))).hexdigest()
