"""One step of a small learner over drawn designs, which the ranks of a world share."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from model.tasks import Task
from tests.training.example_batches import micro_batch
from tests.training.shards import whole
from tests.training.small_learner import small_learner
from training.batch import MicroBatch
from training.errors import TrainingError
from training.examples import ExampleConfig, prepare
from training.learner import Learner
from training.noise import NoiseConfig, draw_noise
from training.optimiser import Optimiser, OptimiserConfig
from training.parallel import World, shard
from training.steps import Stepper

DESIGNS = [
    [(0, Task.TEXT_TO_LAYERS), (1, Task.RESTYLE)],
    [(2, Task.IMAGE_TO_LAYERS)],
    [(3, Task.ADD_LAYER), (4, Task.TEXT_TO_LAYERS), (5, Task.IMAGE_TO_LAYERS)],
    [(6, Task.IMAGE_TO_LAYERS), (7, Task.TEXT_TO_LAYERS)],
]
"""The micro-batches of a step."""

ALONE = World(0, 1, 0, torch.device("cpu"))


class Stepped(NamedTuple):
    """What a step reported, or why there was none, and the weights after it."""

    report: dict[str, Any]
    error: str
    weights: dict[str, Tensor]


def lively_learner() -> Learner:
    """One of whose weights none is 0, so that everything that it is given has a say."""
    learner = small_learner()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in learner.parameters():
            value.add_(torch.randn(value.shape, generator=generator), alpha=0.02)
    return learner


def batches(count: int, world: World) -> list[MicroBatch]:
    """This rank's share of the first ``count`` micro-batches; where it has none, empty ones."""
    own = [position for position in range(len(DESIGNS)) if position % world.size == world.rank]
    return [micro_batch(DESIGNS[position] if position < count else [], position=position) for position in own]


def stepper_of(learner: Learner, world: World, **settings: Any) -> Stepper:
    config = OptimiserConfig(**{"lr": 1e-3, "eps": 1e-4, **settings})
    prepared = partial(prepare, codec=learner.codec, config=ExampleConfig(), seed=0, device="cpu")
    noise = partial(draw_noise, config=NoiseConfig(), seed=0)
    return Stepper(learner, Optimiser(learner, config, 10), world, prepared, noise)


def stepped(name: str, world: World) -> Stepped:
    """``whole``: a step of all micro-batches; ``short``: of the first three; ``broken``: the last rank has a NaN."""
    learner = small_learner()
    shard(learner, world)
    stepper = stepper_of(learner, world)
    if name == "broken" and world.rank == world.size - 1:
        object.__setattr__(stepper, "noise", partial(spoiled, stepper.noise))
    report: dict[str, Any] = {}
    error = ""
    try:
        report = asdict(stepper(batches(3 if name == "short" else 4, world), 0))
        report["losses"] = {str(task): loss for task, loss in report["losses"].items()}
    except TrainingError as raised:
        error = f"{type(raised).__name__}: {raised}"
    return Stepped(report, error, weights_of(learner))


def spoiled(noise: Any, example: Any) -> Any:
    """Noise with a NaN for the last design."""
    out = noise(example)
    out.noise_TC[-1, 0] = torch.nan
    return out


def weights_of(learner: Learner) -> dict[str, Tensor]:
    return {name: whole(value) for name, value in learner.trained()}
