"""Designs of the tiny profile as a published dataset, and the configuration of ``make train-tiny`` on it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from pipelines.build import build
from pipelines.config import BuildConfig
from pipelines.progress import Reporter
from pipelines.storage import Store
from pipelines.synth import synthesise
from training.config import TrainConfig, load_config

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
UNIT = 250
"""Designs of a shard, as in ``make train-tiny``."""

QUIET: Mapping[str, Any] = {
    "checkpoint.every": 0,
    "watch.validate_every": 0,
    "watch.samples_every": 0,
}
"""Nothing between the steps but what each of them writes down."""


def published(folder: Path, designs: int, seed: int, splits: Mapping[str, float]) -> Path:
    """A dataset of so many designs in ``folder``, made where it is not there; its place.

    Raises:
        RuntimeError: some of the designs did not come through.
    """
    config = {
        "manifest": {"path": str(folder / "designs" / "manifest.csv")},
        "run": {"executor": "inline", "unit_size": min(UNIT, designs), "splits": dict(splits)},
    }
    if not (folder / "designs" / "manifest.csv").is_file():
        synthesise(folder / "designs", designs, seed, "tiny")
    with Reporter(Console(quiet=True)) as reporter:
        made = build(BuildConfig.model_validate(config), Store(str(folder / "dataset")), reporter).dataset
    if sum(made.splits.values()) != designs:
        raise RuntimeError(f"{sum(made.splits.values())} of {designs} designs came through; choose another seed")
    return folder / "dataset"


def tiny(dataset: Path | str, out: Path, changes: Mapping[str, Any]) -> TrainConfig:
    """The configuration of ``make train-tiny`` with its own data and folder; ``changes`` are dotted keys."""
    own = {"run.out": str(out), "data.dataset": str(dataset), "data.plan_dir": str(out.parent / "plans")}
    return load_config(EXAMPLES / "train-tiny.yaml", {**own, **QUIET, **changes})
