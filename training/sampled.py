"""Layers out of noise for the designs of an example: what sheets, evaluation and generation look at.

Shapes: D designs, T tokens, C channels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from model.guidance import GUIDANCE, Denoiser, Guidance
from model.sampling import Progress, sample, schedule
from training.errors import UsageError
from training.examples import Example
from training.learner import Learner
from training.noise import noise_of


@dataclass(frozen=True)
class Sampler:
    """How noise becomes tokens. ``guidance`` None: the task's own of ``model.guidance``. ``seed``: of the noise."""

    steps: int = 8
    shift: float = 3.0
    guidance: Guidance | None = None
    seed: int = 0


@torch.no_grad()
def sample_tokens(
    learner: Learner, example: Example, sampler: Sampler, watch: Callable[[Progress], None] | None = None
) -> Tensor:
    """Tokens [T, C] of all regions, the given ones as they are. All designs of the example are of one task.

    The noise of a design depends on its key and the seed, not on the designs beside it.

    Raises:
        UsageError: the designs are of several tasks.
    """
    tasks = set(example.tasks)
    if len(tasks) != 1:
        raise UsageError(f"one task is sampled at a time, not {len(tasks)}; give the designs of each apart")
    task = tasks.pop()
    target_T = example.regions.target_T
    guidance = GUIDANCE[task] if sampler.guidance is None else sampler.guidance
    start = torch.where(target_T[:, None], noise_of(example, sampler.seed, "sample"), example.tokens)
    denoiser = Denoiser(
        learner.transformer,
        task,
        example.regions,
        learner.text.encode(example.prompts),
        guidance,
        null=learner.text.encode([""] * len(example.keys)) if guidance.scale != 1 else None,
    )
    return sample(denoiser, start, target_T, schedule(sampler.steps, sampler.shift), watch=watch)


def decoded(learner: Learner, example: Example, tokens_TC: Tensor) -> list[list[Tensor]]:
    """Pictures u8 [h, w, 4] of the regions of each design, its references left out."""
    regions = example.regions
    kept = ~regions.condition
    bare = regions.select(kept)
    pictures = learner.codec.decode_regions(tokens_TC[regions.of_tokens(kept)], bare)
    out: list[list[Tensor]] = [[] for _ in example.keys]
    for picture, design in zip(pictures, bare.design.tolist(), strict=True):
        out[design].append(picture)
    return out
