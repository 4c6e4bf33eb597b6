"""The ledger by code: how many inputs ended how, and which, failures first."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.report.tables import row_groups
from pipelines.storage import Store
from schemas.ledger import State

_COLUMNS = ("row", "uri", "design_id", "state", "stage", "code", "message")
_ORDER = {State.FAILED: 0, State.FILTERED: 1, State.OK: 2}


@dataclass
class Outcome:
    """All inputs of one (state, code, stage). ``rows`` are the first of them by row of the plan."""

    state: str
    code: str
    stage: str
    count: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)


def outcomes(store: Store, paths: Sequence[str], limit: int) -> list[Outcome]:
    """The ledger grouped by state, code and stage, with at most ``limit`` inputs each: failed, filtered, ok."""
    groups: dict[tuple[str, str, str], Outcome] = {}
    for _, columns in row_groups(store, paths, _COLUMNS):
        for values in zip(*(columns[name] for name in _COLUMNS), strict=True):
            row = dict(zip(_COLUMNS, values, strict=True))
            key = (row["state"], row["code"], row["stage"])
            outcome = groups.setdefault(key, Outcome(*key))
            outcome.count += 1
            outcome.rows.append(row)
            if len(outcome.rows) > 2 * limit + 64:
                outcome.rows = _first(outcome.rows, limit)
    for outcome in groups.values():
        outcome.rows = _first(outcome.rows, limit)
    return sorted(groups.values(), key=lambda o: (_ORDER[State(o.state)], -o.count, o.code, o.stage))


def _first(rows: list[dict[str, Any]], limit: int) -> list[dict[str, Any]]:
    return heapq.nsmallest(limit, rows, key=lambda row: int(row["row"]))
