"""Running builds in tests: the command line as a user calls it, and what a build made, without what may differ."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from rich.console import Console

from pipelines.build import Result, Retry, build
from pipelines.config import load_config
from pipelines.progress import Reporter
from pipelines.publish import load_dataset
from pipelines.storage import Store
from schemas.dataset import Dataset

MAY_DIFFER = ("seconds", "attempts")


def run_inline(manifest: str | Path, out: str, again: Retry | None = None, **settings: Any) -> Result:
    """Build in this process; ``settings`` are dotted keys with ``__`` for the dot."""
    overrides = {key.replace("__", "."): value for key, value in settings.items()}
    config = load_config(None, {"manifest.path": str(manifest), "run.executor": "inline", **overrides})
    with Reporter(Console(quiet=True)) as reporter:
        return build(config, Store(out, config.run.storage_options), reporter, again)


def command(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "acetate", *map(str, words)]


def call(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Call ``acetate`` and wait for it."""
    return subprocess.run(
        command(*words), capture_output=True, text=True, timeout=280, check=False, env={**os.environ, **environment}
    )


def published(out: str | Path) -> Dataset:
    dataset = load_dataset(Store(str(out)))
    assert dataset is not None
    return dataset


def rows(out: str | Path, kind: str) -> list[dict[str, Any]]:
    """The rows of a manifest table (``index``, ``ledger``, ``shards``) of the published generation."""
    store, found = Store(str(out)), []
    for name in getattr(published(out), kind):
        with store.open(name) as source:
            found += pq.read_table(source).to_pylist()
    return found


def codes(out: str | Path) -> dict[str, str]:
    """The ledger as {uri: code}."""
    return {row["uri"]: row["code"] for row in rows(out, "ledger")}


def outcome(out: str | Path) -> dict[str, Any]:
    """Everything that must be the same however a build was run: the bytes of the shards, index and ledger."""
    store = Store(str(out))
    ledger = [{key: value for key, value in row.items() if key not in MAY_DIFFER} for row in rows(out, "ledger")]
    shards = {row["path"]: store.read(row["path"]) for row in rows(out, "shards")}
    index = {name: store.read(name) for name in published(out).index}
    return {"shards": shards, "index": index, "ledger": ledger, "fingerprint": published(out).fingerprint}


def listing(folder: Path) -> dict[str, int]:
    """Every file with its time of change, to see what was written."""
    return {str(path): path.stat().st_mtime_ns for path in sorted(folder.rglob("*")) if path.is_file()}
