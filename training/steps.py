"""From micro-batches to steps of the optimiser: the same micro-batches make a step at every world size."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from model.tasks import Task
from training.batch import MicroBatch
from training.errors import NonFiniteError
from training.examples import Example
from training.learner import Learner
from training.noise import Noise
from training.optimiser import Optimiser
from training.parallel import World, agree, share_of, together, total
from training.stream import DesignStream
from training.streaming.config import TASKS

log = logging.getLogger(__name__)

SHOWN = 8
"""Designs that a message names at most."""


@dataclass(frozen=True, eq=False)
class Fetched:
    """What this rank has of a step: ``waited`` seconds for it, and the ``state`` of the stream after it."""

    batches: list[MicroBatch]
    waited: float
    state: dict[str, Any]


def fetched(stream: DesignStream, micro_batches: int, world: World) -> Generator[Fetched, None, None]:
    """The steps of the rest of this epoch, of the next, and so on without end.

    A step has the ``micro_batches`` that follow in the global order, of which this rank has its share; the last of an
    epoch has those that are left.
    """
    rounds = share_of(micro_batches, world)
    while True:
        epoch = iter(stream)
        while batches := _some(epoch, rounds):
            yield Fetched(*batches, stream.state_dict())


def _some(epoch: Iterator[MicroBatch], rounds: int) -> tuple[list[MicroBatch], float] | None:
    began = time.perf_counter()
    batches: list[MicroBatch] = []
    while len(batches) < rounds and (batch := next(epoch, None)) is not None:
        batches.append(batch)
    return (batches, time.perf_counter() - began) if batches else None


def tell_skipped(stream: DesignStream, world: World) -> None:
    """The log gets how many samples were skipped on all ranks together, which all call it."""
    count = int(total(torch.tensor(stream.skipped_so_far), world))
    if count and world.rank == 0:
        log.warning("%d samples were skipped in all, on %d ranks", count, world.size)


@dataclass(frozen=True)
class Report:
    """Of one step, over all ranks. ``losses``: of each task that had noised tokens, as ``loss`` of all of them.

    ``tokens``: in all regions; ``targets``: noised ones. ``norm``: of the gradient, before it was clipped.
    """

    loss: float
    losses: dict[Task, float]
    targets: int
    tokens: int
    designs: int
    norm: float


@dataclass(frozen=True, eq=False)
class Stepper:
    """One step: examples, noise, loss, gradients, update.

    The loss is the sum of the errors of all noised tokens of all ranks over their number, and gradients are summed over
    ranks (``parallel.shard``), so that a step is the same for every world size.
    """

    learner: Learner
    optimiser: Optimiser
    world: World
    prepare: Callable[[MicroBatch], Example]
    noise: Callable[[Example], Noise]

    def __call__(self, batches: Sequence[MicroBatch], step: int) -> Report:
        """Update the weights by some micro-batches.

        Raises:
            NonFiniteError: a loss or a gradient is not finite; the weights are as they were.
            TrainingError: of this rank or of another, while examples are made.
        """
        examples = together(lambda: [self.prepare(batch) for batch in batches], self.world)
        counts = torch.tensor([self._counts(example) for example in examples], dtype=torch.float64)
        targets, tokens, designs = (int(count) for count in total(counts.sum(0), self.world).tolist())
        errors = [self._backward(example, max(1, targets)) for example in examples]
        agree(_not_finite(examples, errors), self.world)
        norm = self.optimiser.norm()
        if not math.isfinite(norm):
            keys = [key for example in examples for key in example.keys]
            raise NonFiniteError(f"the gradient is {norm} at step {step}, of {_named(keys)}; the weights are as before")
        if targets:
            self.optimiser.update(step)
        sums, losses = self._losses(examples, errors)
        return Report(sums / max(1, targets), losses, targets, tokens, designs, norm)

    @staticmethod
    def _counts(example: Example) -> tuple[int, int, int]:
        return example.targets, example.regions.tokens, len(example.keys)

    def _backward(self, example: Example, targets: int) -> Tensor:
        errors_D = self.learner(example, self.noise(example))
        (errors_D.sum() / targets).backward()  # type: ignore[no-untyped-call]
        out: Tensor = errors_D.detach()
        return out

    def _losses(self, examples: Sequence[Example], errors: Sequence[Tensor]) -> tuple[float, dict[Task, float]]:
        """The sum of all errors, and the loss of each task."""
        sums = torch.zeros(len(TASKS), 2, dtype=torch.float64)
        for example, errors_D in zip(examples, errors, strict=True):
            counts = example.target_counts.tolist()
            for task, error, count in zip(example.tasks, errors_D.tolist(), counts, strict=True):
                sums[TASKS.index(task)] += torch.tensor([error, count])
        rows = total(sums, self.world).tolist()
        losses = {task: error / count for task, (error, count) in zip(TASKS, rows, strict=True) if count}
        return sum(error for error, _ in rows), losses


def _not_finite(examples: Sequence[Example], errors: Sequence[Tensor]) -> NonFiniteError | None:
    keys = [
        key
        for example, errors_D in zip(examples, errors, strict=True)
        for key, finite in zip(example.keys, errors_D.isfinite().tolist(), strict=True)
        if not finite
    ]
    if not keys:
        return None
    return NonFiniteError(f"the loss is not finite for {_named(keys)}; the weights are as they were before this step")


def _named(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return f"design{'s' if len(keys) > 1 else ''} {', '.join(keys[:SHOWN])}{more}"
