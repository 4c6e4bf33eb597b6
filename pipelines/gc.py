"""Garbage: what no generation names and what a killed build left unfinished."""

from __future__ import annotations

from collections.abc import Iterable

from pipelines.artefacts import WORK
from pipelines.errors import UsageError
from pipelines.plan import generation_of, plan_names
from pipelines.publish import batches, load_dataset
from pipelines.report import stale_assets
from pipelines.storage import TEMPORARY, Store
from schemas.dataset import Dataset


def collect(store: Store, *, work: bool) -> list[str]:
    """Remove shards and manifest files the published generation does not name, unfinished files, and with ``work``
    the stage artefacts too (the next build that changes anything computes them again). Returns the removed names.

    Not while a build of the same dataset runs: it would find its shards gone and have to be run again.

    Raises:
        UsageError: nothing is published here, so nothing is known to be garbage.
    """
    dataset = load_dataset(store)
    if dataset is None:
        raise UsageError(f"{store.url} holds no published dataset; gc removes only what a dataset.json does not name")
    named = set(_named(store, dataset))
    garbage = [name for folder in ("shards", "manifest") for name in store.all_names(folder) if name not in named]
    garbage += [name for name in store.all_names(WORK) if work or TEMPORARY in name]
    garbage += [name for name in store.all_names("report") if TEMPORARY in name] + stale_assets(store)
    store.delete(garbage)
    return garbage


def _named(store: Store, dataset: Dataset) -> Iterable[str]:
    yield dataset.plan
    newer = (name for name in plan_names(store) if generation_of(name) > generation_of(dataset.plan))
    yield from newer  # a killed build goes on from there
    yield from (*dataset.shards, *dataset.index, *dataset.ledger)
    prefixes = tuple(f"manifest/{kind}-{dataset.generation:06d}" for kind in ("expectations", "claim"))
    yield from (name for name in store.names("manifest") if name.startswith(prefixes))
    for batch in batches(store, dataset.shards, ["path"]):
        yield from batch["path"].to_pylist()
