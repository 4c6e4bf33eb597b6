"""``acetate validate``: reads a published dataset again and lists everything that is wrong with it.

Tables first, then shard by shard with bounded memory, in parallel where that pays; a problem never stops the rest. What
needs a table that cannot be read is left out: the unreadable table is the problem.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

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
EXPECTATION_ROWS = 65_536

_EXPECTATIONS = TypeAdapter(list[Expectation])


def verify(
    store: Store, progress: Callable[[int, int], None] | None = None, *, workers: int | None = None
) -> list[Problem]:
    """Everything that is wrong with the dataset in ``store``; an empty list where all of it holds.

    ``progress`` is told (shards done, shards in all). ``workers``: processes, by default one a core for a dataset of
    many shards. Never raises for what the dataset holds.

    Raises:
        StoreError: the store refused a read.
    """
    dataset = _dataset(store)
    if isinstance(dataset, Problem):
        return [dataset]
    tables = Tables(store, dataset)
    problems = list(tables.problems)
    problems += _safely("croissant.json", lambda: check_croissant(store, dataset, tables.digests))
    if tables.readable("index", "ledger"):
        problems += _safely("dataset.json", lambda: check_counts(tables, dataset))
    if tables.readable("index", "ledger", "plan"):
        problems += _safely("ledger", lambda: check_ledger(tables))
    if tables.readable("index"):
        problems += _safely("index", lambda: _expectations(store, dataset, tables))
    if tables.readable("shards"):
        problems += _safely("shard table", lambda: _shards(store, dataset, tables, progress, workers))
    return problems


def _dataset(store: Store) -> Dataset | Problem:
    try:
        data = store.read(DATASET_JSON)
    except FileNotFoundError:
        remedy = "nothing is published here; give the directory that holds it, or run acetate build"
        return Problem(where=DATASET_JSON, message=f"there is none in {store.url}: {remedy}")
    try:
        return Dataset.from_json(data)
    except RecordError as error:
        version = _version(data)
        if version not in (None, SCHEMA_VERSION):
            message = (
                f"has schema {quoted(version)}, this program reads schema {SCHEMA_VERSION}; use the one that wrote it"
            )
            return Problem(where=DATASET_JSON, message=message)
        return Problem(where=DATASET_JSON, message=f"is damaged: {quoted(str(error), 300)[1:-1]}")


def _version(data: bytes) -> object:
    try:
        return json.loads(data).get("schema")
    except (ValueError, AttributeError, RecursionError):
        return None


def _safely(where: str, check: Callable[[], list[Problem]]) -> list[Problem]:
    try:
        return check()
    except StoreError:
        raise
    except Exception as error:  # noqa: BLE001 - what untrusted data provokes is a finding, and must not hide the rest
        return [Problem(where=where, message=f"cannot be checked: {explained(error)}")]


def _expectations(store: Store, dataset: Dataset, tables: Tables) -> list[Problem]:
    """The suite once more, with the thresholds that the published results were held to."""
    prefix = f"manifest/expectations-{dataset.generation:06d}-"
    config, problems = ExpectationsConfig(), list[Problem]()
    for name in [name for name in store.names("manifest") if name.startswith(prefix)][-1:]:
        data = store.read(name)
        if hashlib.sha256(data).hexdigest()[:8] != name.removeprefix(prefix).removesuffix(".json"):
            problems.append(Problem(where=name, message="its name is not that of its content"))
        try:
            config = config_of(_EXPECTATIONS.validate_json(data))
        except (ValidationError, ValueError) as error:
            problems.append(Problem(where=name, message=f"is no list of results: {explained(error)}"))
    for result in check_index(tables.batches(dataset.index, rows=EXPECTATION_ROWS), config):
        if result.critical and not result.passed:
            ids = f": {some(result.failed_ids)}" if result.failed_ids else ""
            message = f"expectation {result.name} fails ({result.description}; {result.detail}){ids}"
            problems.append(Problem(where="index", message=message))
    return problems


def _shards(
    store: Store,
    dataset: Dataset,
    tables: Tables,
    progress: Callable[[int, int], None] | None,
    workers: int | None,
) -> list[Problem]:
    rows = tables.columns(dataset.shards, SHARD_SCHEMA.names, SHARD_SCHEMA).to_pylist()
    problems = check_shard_table(rows, dataset)
    named = {str(row["path"]): row for row in rows if SHARD_NAME.fullmatch(str(row["path"]))}
    total = len(named)
    for done, found in enumerate(_checked(_jobs(store, tables, named, problems), store, total, workers), 1):
        problems += found
        if progress is not None:
            progress(done, total)
    return problems


def _jobs(
    store: Store, tables: Tables, named: dict[str, dict[str, Any]], problems: list[Problem]
) -> Iterator[ShardJob]:
    """A job for every shard, in the order of the index; its rows are None where the index cannot be read."""
    left = dict(named)
    readable = tables.readable("index")
    try:
        for path, rows in rows_by_shard(tables) if readable else ():
            if path in left:
                yield ShardJob(store, left.pop(path), tuple(rows))
            else:
                message = f"{len(rows)} samples lie in {quoted(path)}, which the shard table does not name"
                problems.append(Problem(where="index", message=message))
    except StoreError:
        raise
    except Exception as error:  # noqa: BLE001 - the shards are checked even where the index breaks off
        problems.append(Problem(where="index", message=f"cannot be read to its end: {explained(error)}"))
        readable = False
    for row in left.values():
        yield ShardJob(store, row, () if readable else None)


def _checked(jobs: Iterator[ShardJob], store: Store, total: int, workers: int | None) -> Iterator[list[Problem]]:
    """The findings of each job in order, from processes where there are many jobs and the store can be seen by them."""
    count = workers or (os.cpu_count() or 1 if total >= PARALLEL_SHARDS else 1)
    if count == 1 or not store.shared:
        yield from map(check_shard, jobs)
        return
    waiting: deque[tuple[ShardJob, Any]] = deque()
    pool: Any = pebble.ProcessPool(max_workers=min(count, total), context=multiprocessing.get_context("spawn"))
    try:
        for job in jobs:
            waiting.append((job, pool.schedule(check_shard, args=[job])))
            if len(waiting) > 2 * count:
                yield _result(*waiting.popleft())
        while waiting:
            yield _result(*waiting.popleft())
    finally:
        pool.stop()
        pool.join()


def _result(job: ShardJob, future: Any) -> list[Problem]:
    try:
        found: list[Problem] = future.result()
    except pebble.ProcessExpired as error:
        return [Problem(where=job.path, message=f"ends the process that checks it: {explained(error)}")]
    return found
