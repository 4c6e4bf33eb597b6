"""The loss on designs that are never learned from: the same designs and the same noise each time, by task and sigma.

Every task is looked at apart, whatever its weight is. Nothing is drawn but by design and seed, and ranks share the
micro-batches, so that the figures are the same at every world size.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from copy import copy
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, cast

import torch
from pydantic import Field
from torch import Tensor

from model.tasks import Task
from schemas.settings import Section
from training.batch import MicroBatch
from training.examples import Example
from training.learner import Learner
from training.noise import fixed_noise
from training.stream import DesignStream, default_plan_dir, plan_tasks
from training.streaming.config import PAPER_MIX, TASKS

log = logging.getLogger(__name__)

Sigma = Annotated[float, Field(gt=0, le=1)]
Together = Callable[[Callable[[], list[Example]]], list[Example]]


class ValidationConfig(Section):
    """``designs``: of each task, at least so many: micro-batches are taken whole. ``sigmas``: of the noise.

    ``split`` and ``seed``: which designs, and which noise. ``cache_mb``: MiB of clean tokens that are kept in memory
    between two validations, on each rank; what is over is read again.
    """

    designs: Annotated[int, Field(ge=1)] = 64
    sigmas: Annotated[tuple[Sigma, ...], Field(min_length=1)] = (0.1, 0.3, 0.5, 0.7, 0.9)
    split: Annotated[str, Field(min_length=1)] = "validation"
    seed: int = 0
    cache_mb: Annotated[int, Field(ge=0)] = 512


@dataclass(frozen=True)
class Validated:
    """``losses``: of the velocity, over all noised tokens, by task and sigma."""

    losses: dict[Task, dict[float, float]]

    @property
    def means(self) -> dict[Task, float]:
        """Over the sigmas."""
        return {task: sum(losses.values()) / len(losses) for task, losses in self.losses.items() if losses}

    def scalars(self) -> dict[str, float]:
        """Everything by a name for ``training.watch``."""
        means = {f"validation/{task}": mean for task, mean in self.means.items()}
        for task, losses in self.losses.items():
            means |= {f"validation/{task}/{sigma}": loss for sigma, loss in losses.items()}
        return means


class FixedDesigns:
    """The first designs of a split, each task apart, the same in every epoch and at every world size.

    ``settings``: arguments of a ``DesignStream`` as for training (``DataConfig.stream_settings``), of which ``tasks``
    are those with a weight. Tasks that the split has no sample for are left out of ``tasks``, as the log of
    the first rank says. ``prepare`` makes an example as it is, without augmentation (``evaluation=True``).

    Raises:
        UsageError, StreamError: the dataset cannot be read.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        prepare: Callable[[MicroBatch], Example],
        *,
        split: str,
        seed: int,
        rank: int = 0,
        size: int = 1,
    ) -> None:
        # A folder of its own: plans of validation do not push out those of training, of which few are kept.
        folder = Path(settings.get("plan_dir") or default_plan_dir()) / "validation"
        fixed = {"split": split, "seed": seed, "grouping": 0.0, "workers": 0, "plan_dir": folder}
        self._settings = {**settings, **fixed, "rank": rank, "world_size": size}
        self._prepare = prepare
        weights = plan_tasks(settings.get("tasks")) or PAPER_MIX
        wanted = [task for task in TASKS if weights.get(task, 0)]
        self.tasks = [task for task in wanted if len(self._stream(task).plan())]
        missing = [task for task in wanted if task not in self.tasks]
        if missing and rank == 0:
            log.warning("the split %r has no sample for %s, which is left out", split, ", ".join(missing))

    def alone(self) -> FixedDesigns:
        """The same designs, all of which this rank gets."""
        made = copy(self)
        made._settings = self._settings | {"rank": 0, "world_size": 1}
        return made

    def examples(self, task: Task, designs: int) -> list[Example]:
        """This rank's examples of the first micro-batches that have so many designs together.

        All ranks get equally many; where they share unevenly some are without a design.
        """
        stream = self._stream(task)
        plan = stream.plan()
        count = next((n for n in range(1, len(plan)) if plan.starts[n] >= designs), len(plan))
        batches = cast(Generator[MicroBatch, None, None], iter(stream))
        with closing(batches):
            found = list(islice(batches, -(-count // stream.world_size)))
        return [self._example(batch, kept=batch.position < count) for batch in found]

    def _example(self, batch: MicroBatch, *, kept: bool) -> Example:
        example = self._prepare(batch)
        return example if kept else example.select([])

    def _stream(self, task: Task) -> DesignStream:
        return DesignStream(**{**self._settings, "tasks": task})


class Validation:
    """The validation of a learner.

    ``total``: the sum of a tensor over all ranks. ``together``: what a function gives, once no rank failed in it; a
    rank that cannot read must not leave the others in a pass of the network.
    """

    def __init__(
        self,
        designs: FixedDesigns,
        config: ValidationConfig,
        *,
        total: Callable[[Tensor], Tensor] = lambda sums: sums,
        together: Together = lambda work: work(),
    ) -> None:
        self._designs, self._config, self._total, self._together = designs, config, total, together
        self._kept: dict[Task, list[Example]] = {}
        self._room = config.cache_mb * 2**20

    def __call__(self, learner: Learner) -> Validated:
        """Every rank calls it. The weights are those that the learner has now.

        Raises:
            TrainingError: of this rank or of another, while designs are read.
        """
        tasks, sigmas = self._designs.tasks, self._config.sigmas
        training = learner.training
        learner.eval()
        try:
            sums = [self._sums(learner, self._examples(task)) for task in tasks]
        finally:
            learner.train(training)
        rows = self._total(torch.stack(sums)).tolist() if sums else []
        return Validated(
            {
                task: {sigma: error / count for sigma, (error, count) in zip(sigmas, by_sigma, strict=True) if count}
                for task, by_sigma in zip(tasks, rows, strict=True)
            }
        )

    @torch.no_grad()
    def _sums(self, learner: Learner, examples: Sequence[Example]) -> Tensor:
        """float64 [sigmas, 2]: the errors of this rank's noised tokens, and their number."""
        rows = []
        for sigma in self._config.sigmas:
            row = torch.zeros(2, dtype=torch.float64)
            for example in examples:
                errors_D = learner(example, fixed_noise(example, sigma, self._config.seed))
                row += torch.stack([errors_D.double().sum().cpu(), example.target_counts.double().sum()])
            rows.append(row)
        return torch.stack(rows)

    def _examples(self, task: Task) -> list[Example]:
        """Of this rank, which asks together with the others also where it kept its own: they may have had no room."""
        return self._together(lambda: self._kept[task] if task in self._kept else self._read(task))

    def _read(self, task: Task) -> list[Example]:
        examples = self._designs.examples(task, self._config.designs)
        size = sum(example.tokens.nbytes for example in examples)
        if size <= self._room:
            self._room -= size
            self._kept[task] = examples
        return examples
