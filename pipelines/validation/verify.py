"""``acetate validate``: reads a published dataset again and lists everything that is wrong with it.

Tables first, then shard by shard with bounded memory, in parallel where that pays; a problem never stops the rest. What
needs a table that cannot be read is left out: the unreadable table is the problem.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future

import pebble
from pydantic import TypeAdapter, ValidationError

from pipelines.errors import StoreError
from pipelines.storage import Store
from pipelines.validation.expectations import Expectation, ExpectationsConfig, check_index, config_of
from pipelines.validation.problem import Problem, explained, quoted, some
from pipelines.validation.verify_croissant import check_croissant
from pipelines.validation.verify_ledger import check_ledger
from pipelines.validation.verify_shard import ShardJob, check_shard
from pipelines.validation.verify_tables import SHARD_NAME, Tables, check_counts, check_shard_table, rows_by_shard
from schemas import SCHEMA_VERSION
from schemas.dataset import DATASET_JSON, SHARD_SCHEMA, Dataset
from schemas.errors import RecordError

__all__ = ["Problem", "verify"]

PARALLEL_SHARDS = 8
"""From this many shards on, processes pay for their start."""

_EXPECTATIONS = TypeAdapter(list[Expectation])


def verify(
    store: Store, progress: Callable[[int, int], None] | None = None, *, workers: int | None = None
) -> list[Problem]:
    """Everything that is wrong with the dataset in ``store``; an empty list where all of it holds.

    ``progress`` is told (shards done, shards in all). ``workers``: processes, by default one a core for a dataset of
    many shards. Never raises for what the dataset holds.
    """
    dataset = _dataset(store)
    if isinstance(dataset, Problem):
        return [dataset]
    tables = Tables(store, dataset)
    problems = list(tables.problems)
    problems += check_croissant(store, dataset)
    if tables.whole:
        for check in (check_counts, _ledger, _expectations):
            problems += _safely(check, tables, dataset, store)
    rows = _safely_read(tables, problems)
    problems += check_shard_table(rows, dataset)
    for done, found in enumerate(_checked(_jobs(store, tables, rows, problems), store, len(rows), workers), 1):
        problems += found
        if progress is not None:
            progress(min(done, len(rows)), len(rows))
    return problems
