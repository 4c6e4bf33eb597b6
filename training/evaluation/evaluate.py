"""Judge a checkpoint on held-out designs, beside the methods that need no model: ``acetate evaluate CONFIG.yaml``.

Two sets are cut from the split: designs that lie inside of their visible box, and designs that overflow it. What comes
out is a table, the numbers as JSON, and a page with the best and the worst cases.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Field, model_validator
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from model.guidance import Guidance
from model.tasks import Task
from schemas.errors import SettingsError
from schemas.settings import Section, load_settings, parse_assignments
from training.errors import TrainingError, UsageError
from training.evaluation import checkpoints
from training.evaluation.baselines import colour_key, crop, deranged
from training.evaluation.features import BUILT_IN, Extractor, extractor
from training.evaluation.layouts import Layout
from training.evaluation.report import write
from training.evaluation.results import Results, Row, SetSize, Shown, printed
from training.evaluation.runs import Made, Runner
from training.evaluation.scores import CaseScore, distance, judged, score, values_of
from training.evaluation.sets import Case, Chosen, Group, Which, choose, read
from training.jitter import JitterConfig
from training.sampled import Sampler
from training.streaming.config import PlanConfig, plan_config
from training.streaming.index import Index
from training.streaming.source import Source

Steps = Annotated[int, Field(ge=1, le=1000)]
Judgeable = Literal[Task.TEXT_TO_LAYERS, Task.IMAGE_TO_LAYERS, Task.ADD_LAYER, Task.RESTYLE]


class EvaluateConfig(Section):
    """``checkpoint``: a folder that training exported, on any fsspec URL; ``dataset``: a published one.

    ``designs``: of each of the two sets at most; ``steps``: of sampling, a row each; ``guidance``: its scale, None is
    each task's own. ``layouts``: that the model is given in image-to-layers; ``jitter``: of the jittered one.
    ``layered``: a checkpoint or a pipeline of Qwen-Image-Layered, sampled in ``layered_steps`` with
    ``layered_guidance``. ``features``: of Fréchet distances, module:function that gives a network (an Inception makes
    it the FID), None the built-in ones. ``cases``: best, and worst, and first ones of each set that the page shows.
    """

    checkpoint: str
    dataset: str
    out: str
    split: str = "test"
    resolution: Annotated[int, Field(ge=16, le=16_384)] = 512
    designs: Annotated[int, Field(ge=1)] = 100
    tasks: Annotated[list[Judgeable], Field(min_length=1)] = Field(default_factory=lambda: [Task.IMAGE_TO_LAYERS])
    steps: Annotated[list[Steps], Field(min_length=1)] = Field(default_factory=lambda: [1, 8])
    shift: Annotated[float, Field(gt=0)] = 3.0
    guidance: Annotated[float, Field(ge=0)] | None = None
    seed: int = 0
    token_budget: Annotated[int, Field(ge=1)] = 32_768
    layouts: list[Layout] = Field(default_factory=lambda: list(Layout))
    jitter: JitterConfig = JitterConfig(share=1)
    layered: str | None = None
    layered_steps: Steps = 50
    layered_guidance: Annotated[float, Field(ge=0)] = 4.0
    features: str | None = None
    cases: Annotated[int, Field(ge=0, le=100)] = 6
    device: Literal["auto", "cpu", "cuda"] = "auto"
    storage_options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _once(self) -> Self:
        for name in ("tasks", "steps", "layouts"):
            listed = getattr(self, name)
            if len(set(listed)) != len(listed):
                raise ValueError(f"{name} lists something twice")
        return self

    @classmethod
    def load(cls, path: Path | None, overrides: Mapping[str, Any]) -> EvaluateConfig:
        """Read a YAML file and lay ``overrides`` (dotted keys) over it.

        Raises:
            UsageError: a key is unknown (the nearest known one is named), missing, or has a value that does not fit.
        """
        try:
            return load_settings(cls, path, overrides)
        except SettingsError as error:
            raise UsageError(str(error)) from None

    def plan(self, task: Task, token_px: int) -> PlanConfig:
        """What decides how designs are laid out, without any augmentation."""
        return plan_config(
            split=self.split,
            resolution=self.resolution,
            token_px=token_px,
            token_budget=self.token_budget,
            tasks={task: 1.0},
            grouping=0.0,
        )


@dataclass(frozen=True, eq=False)
class Method:
    """A row to be made: what is made of a micro-batch, and whether it may be shown among the cases."""

    name: str
    layout: Layout
    make: Callable[[Group], list[Made]]
    control: bool = False
    shown: bool = False


def evaluate(config: EvaluateConfig, console: Console | None = None) -> Results:
    """Everything that the configuration asks for; what is wrong with it is said before weights are loaded.

    Raises:
        UsageError: the dataset has another schema or no design for a task, the checkpoint is of another model or is
            damaged, or there is no such device. StreamError: the data cannot be delivered.
    """
    device = _device(config.device)
    features = extractor(config.features or BUILT_IN, device)
    index = Index.open(Source(config.dataset, config.storage_options))
    with tempfile.TemporaryDirectory() as temporary, _progress(console) as progress:
        folder = checkpoints.fetched(config.checkpoint, config.storage_options, Path(temporary))
        about = checkpoints.check(folder, config.tasks)
        for task in config.tasks:
            choose(index, config.plan(task, PlanConfig().token_px), 1)
        runner = Runner(checkpoints.load(folder, device), device, config.jitter, config.seed)
        work = _Work(config, index, features, progress)
        for task in config.tasks:
            work.judge(task, runner.token_px, lambda task=task: _methods(config, task, runner))
        if config.layered is not None and Task.IMAGE_TO_LAYERS in config.tasks:
            other = Path(temporary) / "layered"
            learner = checkpoints.layered(config.layered, config.storage_options, other, device)
            layered = Runner(learner, device, config.jitter, config.seed, layered_shift=True)
            work.judge(Task.IMAGE_TO_LAYERS, layered.token_px, lambda: [_layered(config, layered)])
    where = {"dataset": config.dataset, "fingerprint": index.fingerprint, "checkpoint": config.checkpoint, **about}
    settings = config.model_dump(mode="json", exclude={"storage_options"})
    return Results({**where, "split": config.split, "settings": settings}, work.sizes, work.rows, work.shown)
