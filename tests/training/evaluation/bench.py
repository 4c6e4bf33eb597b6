"""A small published dataset with both benchmark sets, its cases, and an untrained model for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from model import presets
from model.bundle import Bundle
from model.tasks import Task
from model.text_bytes import ByteText
from schemas.design import Overflow
from schemas.geometry import Box
from schemas.sample import Sample
from tests.pipelines.dataset_builder import Entry, make_sample, publish, with_design
from tests.training.example_batches import TOKEN_PX, codec
from training.evaluation.sets import Group, Which, choose, read
from training.streaming.config import PlanConfig, plan_config
from training.streaming.index import Index
from training.streaming.source import Source

RESOLUTION = 24


def dataset(root: Path, *, inside: int = 3, overflow: int = 4, split: str = "test") -> str:
    """Designs of 3 or 4 layers in two shards; returns the URL."""
    samples = [make_sample(number, side=48, layers=3 + number % 2) for number in range(inside + overflow)]
    whole = [_inside(sample) for sample in samples[:inside]]
    publish(root, [Entry(one, unit=at % 2, split=split) for at, one in enumerate([*whole, *samples[inside:]])])
    return str(root)


def plan(task: Task = Task.IMAGE_TO_LAYERS, **changes: Any) -> PlanConfig:
    settings = {"split": "test", "resolution": RESOLUTION, "token_px": TOKEN_PX, "token_budget": 300, "grouping": 0.0}
    return plan_config(**{**settings, "tasks": {task: 1.0}, **changes})


def groups(url: str, which: Which = Which.OVERFLOW, task: Task = Task.IMAGE_TO_LAYERS, **changes: Any) -> list[Group]:
    """A set in micro-batches of at most two or three designs."""
    index, settings = opened(url), plan(task, **changes)
    chosen = next(one for one in choose(index, settings, 100) if one.which is which)
    return read(index, chosen, settings)


def opened(url: str) -> Index:
    return Index.open(Source(url))


def bundle(**settings: Any) -> Bundle:
    """One block, every path of which counts, and a codec that loses nothing."""
    torch.manual_seed(0)
    known = {"num_layers": 1, "channel_std": codec().channel_std, **settings}
    transformer = presets.transformer("tiny", **known).eval()
    with torch.no_grad():
        for parameter in transformer.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.05)
    return Bundle(transformer, codec(), ByteText(width=transformer.config.joint_attention_dim), "tiny")


def cases_of(found: Sequence[Group]) -> list[Any]:
    return [case for group in found for case in group.cases]


def _inside(sample: Sample) -> Sample:
    """The same design with all of its canvas in view."""
    design = sample.design
    layers = tuple(layer.model_copy(update={"overflow": Overflow()}) for layer in design.layers)
    visible = Box(0, 0, design.canvas.width, design.canvas.height)
    return with_design(sample, visible=visible, layers=layers)
