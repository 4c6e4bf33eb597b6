"""Designs that are not delivered though the index has them: revoked, expired, or rejected by a reviewer.

Holes are found at read time, so they shift no order. A list that is there but cannot be read is an error: a revocation
is never ignored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cached_property

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.licence import expiry
from schemas.withdrawal import REVIEW, REVOKED_PARQUET, Decision
from training.errors import StreamError
from training.streaming.source import MissingError, Source

MAX_BYTES = 2**28
"""Of one list, stored and unpacked."""

MAX_ROWS = 2**24
"""Of one list."""


@dataclass(frozen=True)
class Holes:
    """``revoked`` and ``rejected`` are design ids; ``today`` is the first day that an expiry date no longer covers."""

    today: date
    revoked: frozenset[str] = frozenset()
    rejected: frozenset[str] = frozenset()

    @classmethod
    def load(cls, source: Source, today: date) -> Holes:
        """Read the lists of a dataset.

        Raises:
            StreamError: a list is damaged, too large or cannot be read; the message names its URL.
        """
        return cls(today, _revoked(source), _rejected(source))

    @cached_property
    def withdrawn(self) -> frozenset[str]:
        """Designs that were revoked or rejected: what they gave to others is withdrawn too."""
        return self.revoked | self.rejected

    def reason(self, key: str, expires: str | None) -> str | None:
        """Why a design is a hole, if it is one. ``expires``: the ISO date from which its licence no longer holds."""
        if key in self.revoked:
            return "revoked"
        if expires is not None and _ended(expires, self.today):
            return "expired"
        return "rejected" if key in self.rejected else None


def _ended(expires: str, today: date) -> bool:
    """An expiry that is no date says nothing that could be relied upon: the licence counts as ended."""
    end = expiry(expires)
    return end is None or end <= today


def _revoked(source: Source) -> frozenset[str]:
    try:
        data = source.read(REVOKED_PARQUET, MAX_BYTES)
    except MissingError:
        return frozenset()
    return frozenset(_rows(source, REVOKED_PARQUET, data, ["design_id"])["design_id"])


def _rejected(source: Source) -> frozenset[str]:
    """Designs whose latest decision, over all reviewers, is against them; of two at once the rejection stands."""
    latest: dict[str, tuple[datetime, bool]] = {}
    for name in source.names(REVIEW):
        if not name.endswith(".parquet"):
            continue
        columns = _rows(source, name, source.read(name, MAX_BYTES), ["design_id", "decision", "decided"])
        for design, decision, decided in zip(*columns.values(), strict=True):
            try:
                found = (_moment(decided), Decision(decision) is Decision.REJECT)
            except ValueError as error:
                raise StreamError(f"{source.url_of(name)}: {error}") from None
            latest[design] = max(latest.get(design, found), found)
    return frozenset(design for design, (_, rejected) in latest.items() if rejected)


def _rows(source: Source, name: str, data: bytes, columns: Sequence[str]) -> dict[str, list[str]]:
    """Some columns of strings without nulls. Raises StreamError where the list is anything else."""
    url = source.url_of(name)
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        size = sum(file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups))
        if file.metadata.num_rows > MAX_ROWS or size > MAX_BYTES:
            raise StreamError(f"{url} has {file.metadata.num_rows:,} rows of {size:,} bytes, more than are read")
        missing = [column for column in columns if column not in file.schema_arrow.names]
        if missing:
            raise StreamError(f"{url} has no column {missing[0]!r}")
        strings = pa.schema([(column, pa.string()) for column in columns])
        table = file.read(columns=list(columns)).select(list(columns)).cast(strings)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise StreamError(f"{url} cannot be read: {str(error).splitlines()[0]}") from error
    if any(column.null_count for column in table.columns):
        raise StreamError(f"{url} has rows without {', '.join(columns)}")
    return {column: table[column].to_pylist() for column in columns}


def _moment(decided: str) -> datetime:
    moment = datetime.fromisoformat(decided)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
