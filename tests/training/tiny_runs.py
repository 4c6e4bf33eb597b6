"""Runs that take a second: designs of 16 px, a model of one block."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from pipelines.storage import Store
from training.config import TrainConfig, load_config

Settings = dict[str, Any]


def settings(dataset: Store | Path | str, out: Path | str, **changes: Any) -> Settings:
    """A configuration as dotted keys; ``changes`` have ``__`` in place of the dots."""
    known = {
        "run.out": str(out),
        "run.steps": 4,
        "run.micro_batches": 2,
        "run.device": "cpu",
        "data.dataset": str(dataset.root) if isinstance(dataset, Store) else str(dataset),
        "data.resolution": 16,
        "data.token_budget": 400,
        "model.settings": {"num_layers": 1},
        "model.codec.designs": 30,
        "optimiser.lr": 1e-3,
        "average.decay": 0.9,
        "checkpoint.every": 0,
        "watch": {"log_every": 1, "validate_every": 0, "samples_every": 0, "tensorboard": False},
    }
    return known | {name.replace("__", "."): value for name, value in changes.items()}


def config(dataset: Store | Path | str, out: Path | str, **changes: Any) -> TrainConfig:
    return load_config(None, settings(dataset, out, **changes))


def words(given: Settings) -> list[str]:
    """The same as words of the command line."""
    return [word for key, value in given.items() for word in ("--set", f"{key}={yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix('...' + chr(10)).strip()}")]


def curve(out: Path) -> list[dict[str, float]]:
    """What a run wrote of its steps."""
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def losses(out: Path) -> dict[int, float]:
    """The loss of each step."""
    return {int(line["step"]): line["loss"] for line in curve(out)}
