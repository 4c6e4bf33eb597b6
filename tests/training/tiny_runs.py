"""Runs that take a second: designs of 16 px, a model of one block, four steps an epoch of which the last is short."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import yaml

from pipelines.storage import Store
from training.config import TrainConfig, load_config

Settings = dict[str, Any]


def settings(dataset: Store | Path, out: Path | str, **changes: Any) -> Settings:
    """A configuration as dotted keys; ``changes`` have ``__`` in place of the dots."""
    known = {
        "run.out": str(out),
        "run.steps": 4,
        "run.micro_batches": 2,
        "run.device": "cpu",
        "data.dataset": dataset.root if isinstance(dataset, Store) else str(dataset),
        "data.resolution": 16,
        "data.token_budget": 150,
        "data.plan_dir": None if isinstance(out, str) else str(out.parent / "plans"),
        "model.settings": {"num_layers": 1},
        "model.codec.designs": 30,
        "optimiser.lr": 1e-3,
        "average.decay": 0.9,
        "checkpoint.every": 0,
        "watch": {"log_every": 1, "validate_every": 0, "samples_every": 0, "tensorboard": False},
    }
    if "stages" in changes:
        del known["run.steps"]
    return known | {name.replace("__", "."): value for name, value in changes.items()}


def config(dataset: Store | Path, out: Path | str, **changes: Any) -> TrainConfig:
    return load_config(None, settings(dataset, out, **changes))


def words(path: Path, given: Settings) -> list[str]:
    """The same on a command line, with a file that says nothing."""
    path.write_text("{}", encoding="utf-8")
    return [str(path), *(word for key, value in given.items() for word in ("--set", f"{key}={json.dumps(value)}"))]


def written(path: Path, given: Settings) -> Path:
    """The same as a YAML file."""
    tree: dict[str, Any] = {}
    for key, value in given.items():
        *sections, name = key.split(".")
        at = tree
        for section in sections:
            at = at.setdefault(section, {})
        at[name] = value
    path.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    return path


def corrupted(designs: Store, folder: Path) -> str:
    """A copy of a dataset with a shard that has a run of other bytes; the name of that shard."""
    shutil.copytree(designs.root, folder)
    shard = sorted(folder.glob("shards/train-*.tar"))[4]
    data = bytearray(shard.read_bytes())
    data[len(data) // 4 : 3 * len(data) // 4] = bytes(len(data) // 4 * 3 - len(data) // 4)
    shard.write_bytes(data)
    return shard.name


def losses(out: Path) -> dict[int, float]:
    """The loss of each step that a run wrote down so far."""
    text = (out / "metrics.jsonl").read_text(encoding="utf-8") if (out / "metrics.jsonl").exists() else ""
    lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return {int(line["step"]): line["loss"] for line in lines if "loss" in line}


def saved(out: Path) -> list[int]:
    """The steps of its whole checkpoints."""
    return sorted(int(path.parent.name.split("-")[1]) for path in out.glob("checkpoints/step-*/state.json"))


def files(out: Path) -> set[str]:
    """What is in a folder, but for its checkpoints."""
    found = (Path(folder, name).relative_to(out).as_posix() for folder, _, names in os.walk(out) for name in names)
    return {name for name in found if not name.startswith("checkpoints/")}
