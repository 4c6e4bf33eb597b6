"""The ledger: codes decide states, and rows fit the table."""

from __future__ import annotations

import pyarrow as pa
import pytest
from pydantic import ValidationError

from schemas.ledger import LEDGER_SCHEMA, Code, LedgerRow, State

FILTERED = {
    "licence_missing", "licence_expired", "licence_not_allowed", "duplicate", "near_duplicate", "too_few_layers",
    "too_small", "too_large", "unsupported", "recompose_mismatch", "rejected_by_reviewer", "revoked",
}  # fmt: skip
FAILED = {"not_found", "unreadable", "timeout", "crashed", "out_of_memory", "caption_failed", "internal"}


def test_every_code_has_the_state_it_was_published_with() -> None:
    by_state = {state: {str(code) for code in Code if code.state is state} for state in State}
    assert by_state == {State.OK: {"ok"}, State.FILTERED: FILTERED, State.FAILED: FAILED}


@pytest.mark.parametrize("code", list(Code))
def test_a_row_of_any_code_fits_the_table(code: Code) -> None:
    row = LedgerRow(row=3, uri="a.psd", unit=0, stage="extract", code=code, message="why", attempts=2, seconds=0.5)
    table = pa.Table.from_pylist([row.to_arrow()], schema=LEDGER_SCHEMA)
    table.validate(full=True)
    assert table.schema == LEDGER_SCHEMA
    assert table.to_pylist()[0] == {
        "row": 3, "uri": "a.psd", "design_id": None, "unit": 0, "state": str(code.state), "stage": "extract",
        "code": str(code), "message": "why", "attempts": 2, "seconds": 0.5,
    }  # fmt: skip


def test_the_columns_are_those_of_the_contract() -> None:
    assert LEDGER_SCHEMA.names == [
        "row", "uri", "design_id", "unit", "state", "stage", "code", "message", "attempts", "seconds",
    ]  # fmt: skip


@pytest.mark.parametrize("wrong", [{"row": -1}, {"code": "lost"}, {"design_id": "short"}, {"seconds": float("nan")}])
def test_a_row_that_says_nonsense_is_refused(wrong: dict[str, object]) -> None:
    good = {"row": 0, "uri": "a.psd", "unit": 0, "stage": "plan", "code": "ok"}
    LedgerRow.model_validate(good)
    with pytest.raises(ValidationError):
        LedgerRow.model_validate({**good, **wrong})
