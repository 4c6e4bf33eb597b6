"""The ledger against the plan and the index: one row an input, and what was published is what was planned."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.plan import PLAN_SCHEMA
from pipelines.validation.problem import Problem, quoted, some
from pipelines.validation.verify_tables import Tables
from schemas.index import INDEX_SCHEMA
from schemas.ledger import LEDGER_SCHEMA, Code

_PLANNED = ("unit", "split", "uri", "licence", "licensor", "family", "expires")


def check_ledger(tables: Tables) -> list[Problem]:
    """Every row of the plan once, codes that give their states, and the ok rows exactly the index's."""
    ledger = tables.columns(tables.ledger, ["row", "unit", "design_id", "state", "code"], LEDGER_SCHEMA)
    messages = [
        *_codes(ledger),
        *_rows(tables, ledger),
        *_published(tables, ledger),
        *_planned(tables),
        *_judged(tables, ledger),
    ]
    return [Problem(where="ledger", message=message) for message in messages]


def _codes(ledger: pa.Table) -> Iterator[str]:
    for pair in ledger.group_by(["code", "state"]).aggregate([]).to_pylist():
        code, state = pair["code"], pair["state"]
        if code not in set(Code):
            yield f"unknown code {quoted(code)}"
        elif Code(code).state != state:
            yield f"code {code} has state {quoted(state)}, not {Code(code).state}"


def _rows(tables: Tables, ledger: pa.Table) -> Iterator[str]:
    planned = _numbers(tables)
    if not np.array_equal(np.sort(planned), np.arange(len(planned))):
        yield f"the plan's rows are not 0 to {len(planned) - 1}, each once"
    rows, times = np.unique(ledger.column("row").to_numpy(), return_counts=True)
    if (lost := np.setdiff1d(planned, rows)).size:
        yield f"{lost.size} inputs of the plan have no row: {some(lost.tolist())}"
    if (foreign := np.setdiff1d(rows, planned)).size:
        yield f"{foreign.size} rows are not in the plan: {some(foreign.tolist())}"
    if (several := rows[times > 1]).size:
        yield f"{several.size} inputs have several rows: {some(several.tolist())}"


def _judged(tables: Tables, ledger: pa.Table) -> Iterator[str]:
    """Whether what the licence policy refused stayed refused: nothing of it may have been read, let alone published."""
    plan = tables.columns(tables.plan, ["row", "code"], PLAN_SCHEMA)
    refused = plan.filter(pc.not_equal(plan.column("code"), str(Code.OK)))
    verdicts = dict(zip(refused.column("row").to_pylist(), refused.column("code").to_pylist(), strict=True))
    said = zip(ledger.column("row").to_pylist(), ledger.column("code").to_pylist(), strict=True)
    if wrong := [row for row, code in said if verdicts.get(row, code) != code]:
        yield f"{len(wrong)} rows that the licence policy refused are not recorded so: {some(wrong)}"


def _published(tables: Tables, ledger: pa.Table) -> Iterator[str]:
    index = tables.columns(tables.index, ["key", "row", "unit"], INDEX_SCHEMA)
    there = set(zip(*(index.column(name).to_pylist() for name in ("row", "unit", "key")), strict=True))
    ok = ledger.filter(pc.equal(ledger.column("state"), "ok"))
    said = set(zip(*(ok.column(name).to_pylist() for name in ("row", "unit", "design_id")), strict=True))
    if lost := sorted(said - there, key=str):
        yield f"{len(lost)} ok inputs (row, unit, design) are not in the index: {some(lost)}"
    if foreign := sorted(there - said, key=str):
        yield f"{len(foreign)} samples of the index (row, unit, key) are not ok in the ledger: {some(foreign)}"


def _planned(tables: Tables) -> Iterator[str]:
    """Whether ledger and index give each row's unit, uri and terms as the plan does."""
    plan = _plan_hashes(tables)
    for table, names, schema in (("ledger", tables.ledger, LEDGER_SCHEMA), ("index", tables.index, INDEX_SCHEMA)):
        for column in [name for name in _PLANNED if name in schema.names]:
            wrong: list[int] = []
            for batch in tables.batches(names, ["row", column]):
                rows = batch.column("row").to_numpy()
                known = (rows >= 0) & (rows < len(plan[column]))
                values = _hashes(batch.column(column))
                wrong += rows[known][plan[column][rows[known]] != values[known]].tolist()
            if wrong:
                yield f"{len(wrong)} rows have another {column} in the {table} than in the plan: {some(wrong)}"


def _plan_hashes(tables: Tables) -> dict[str, npt.NDArray[np.int64]]:
    """By column, the hash of each row's value: 8 bytes a row whatever the manifest holds."""
    count = len(_numbers(tables))
    out = {column: np.zeros(count, np.int64) for column in _PLANNED}
    for batch in tables.batches(tables.plan, ["row", *_PLANNED]):
        rows = batch.column("row").to_numpy()
        known = (rows >= 0) & (rows < count)
        for column in _PLANNED:
            out[column][rows[known]] = _hashes(batch.column(column))[known]
    return out


def _hashes(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    return np.array([hash(value) for value in column.to_pylist()], np.int64)


def _numbers(tables: Tables) -> npt.NDArray[np.int64]:
    """The row numbers of the plan."""
    numbers: npt.NDArray[np.int64] = tables.columns(tables.plan, ["row"], PLAN_SCHEMA).column("row").to_numpy()
    return numbers
