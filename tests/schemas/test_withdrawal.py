"""What is withdrawn: the tables are what their writers and readers were told."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.withdrawal import REVIEW_SCHEMA, REVOKED_SCHEMA, Decision

ROWS = {
    "revoked": (REVOKED_SCHEMA, {"design_id": "a" * 32, "reason": "the owner asked", "revoked": "2026-05-31"}),
    "review": (
        REVIEW_SCHEMA,
        {"design_id": "a" * 32, "decision": "reject", "reason": "a face", "decided": "2026-05-31T10:00:00Z"},
    ),
}


@pytest.mark.parametrize("name", list(ROWS))
def test_rows_survive_parquet_and_nothing_else_is_there(name: str) -> None:
    schema, row = ROWS[name]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([row], schema=schema), sink)
    table = pq.read_table(io.BytesIO(sink.getvalue()))
    assert table.schema == schema
    assert table.to_pylist() == [row]
    assert set(schema.names) == set(row)


@pytest.mark.parametrize("name", list(ROWS))
def test_no_field_may_be_null(name: str) -> None:
    schema, _ = ROWS[name]
    assert not any(field.nullable for field in schema)


def test_there_are_two_decisions() -> None:
    assert [str(decision) for decision in Decision] == ["accept", "reject"]
