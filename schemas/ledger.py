"""The ledger: one row for every input, with what became of it and why (DESIGN section 3.3).

The identity that always holds: inputs = ok + filtered + failed, one row an input.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import pyarrow as pa
from pydantic import Field

from schemas.design import DesignId, Record


class State(StrEnum):
    """``filtered``: a rule said no. ``failed``: we could not."""

    OK = "ok"
    FILTERED = "filtered"
    FAILED = "failed"


class Code(StrEnum):
    """Why an input ended as it did; the code decides the state."""

    OK = "ok"

    LICENCE_MISSING = "licence_missing"
    LICENCE_EXPIRED = "licence_expired"
    LICENCE_NOT_ALLOWED = "licence_not_allowed"
    DUPLICATE = "duplicate"
    NEAR_DUPLICATE = "near_duplicate"
    TOO_FEW_LAYERS = "too_few_layers"
    TOO_SMALL = "too_small"
    TOO_LARGE = "too_large"
    UNSUPPORTED = "unsupported"
    RECOMPOSE_MISMATCH = "recompose_mismatch"
    REJECTED_BY_REVIEWER = "rejected_by_reviewer"
    REVOKED = "revoked"

    NOT_FOUND = "not_found"
    UNREADABLE = "unreadable"
    TIMEOUT = "timeout"
    CRASHED = "crashed"
    OUT_OF_MEMORY = "out_of_memory"
    CAPTION_FAILED = "caption_failed"
    INTERNAL = "internal"

    @property
    def state(self) -> State:
        if self is Code.OK:
            return State.OK
        return State.FAILED if self in _FAILED else State.FILTERED


_FAILED = frozenset(
    {
        Code.NOT_FOUND,
        Code.UNREADABLE,
        Code.TIMEOUT,
        Code.CRASHED,
        Code.OUT_OF_MEMORY,
        Code.CAPTION_FAILED,
        Code.INTERNAL,
    }
)


class LedgerRow(Record):
    """What became of one input. ``row`` is its number in the plan; ``design_id`` is null when it was never read."""

    row: Annotated[int, Field(ge=0)]
    uri: str
    design_id: DesignId | None = None
    unit: Annotated[int, Field(ge=0)]
    stage: str
    code: Code
    message: str = ""
    attempts: Annotated[int, Field(ge=0)] = 0
    seconds: Annotated[float, Field(ge=0)] = 0.0

    @property
    def state(self) -> State:
        return self.code.state

    def to_arrow(self) -> dict[str, object]:
        return {**self.model_dump(mode="json"), "state": str(self.state)}


LEDGER_SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("design_id", pa.string()),
        pa.field("unit", pa.int64(), nullable=False),
        pa.field("state", pa.string(), nullable=False),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("code", pa.string(), nullable=False),
        pa.field("message", pa.string(), nullable=False),
        pa.field("attempts", pa.int32(), nullable=False),
        pa.field("seconds", pa.float64(), nullable=False),
    ]
)
