"""From noise to tokens: schedules and steps. Clean tokens are never stepped.

Shapes: T tokens, C channels, D designs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

FEW_STEP_SHIFT = 3.0
"""Of the student's schedule (Lightning, MRT)."""


def shifted(sigmas: Tensor, shift: float) -> Tensor:
    """``shift * s / (1 + (shift - 1) * s)``: a shift over 1 spends more of the steps at high noise (SD3, eq. 23)."""
    return shift * sigmas / (1 + (shift - 1) * sigmas)


def schedule(steps: int, shift: float = 1.0, terminal: float | None = None) -> Tensor:
    """``steps + 1`` sigmas, float64, from 1 to 0: evenly spaced, then shifted, then stretched.

    ``terminal``: what the last sigma over 0 becomes; 1 stays, and those between move in proportion (``shift_terminal``
    in a checkpoint's ``scheduler_config.json``, 0.02 in Qwen-Image's). A single step has only 1 and nothing to stretch.
    """
    sigmas = shifted(torch.linspace(1, 0, steps + 1, dtype=torch.float64), shift)
    if terminal is not None and steps > 1:
        sigmas[:-1] = 1 - (1 - sigmas[:-1]) * (1 - terminal) / (1 - sigmas[-2])
    return sigmas


def shift_for(tokens: int, *, base: tuple[int, float] = (256, 0.5), most: tuple[int, float] = (8192, 0.9)) -> float:
    """The shift for a number of tokens: exp of a line through two points (tokens, mu), as diffusers draws it.

    ``base`` and ``most`` are Qwen-Image's: ``base_image_seq_len``, ``base_shift``, ``max_image_seq_len`` and
    ``max_shift`` of its ``scheduler_config.json``. Those that diffusers falls back to, (4096, 1.15), are FLUX's.
    """
    slope = (most[1] - base[1]) / (most[0] - base[0])
    return math.exp(base[1] + slope * (tokens - base[0]))


def layered_shift(condition_tokens: int) -> float:
    """The shift of Qwen-Image-Layered's pipeline: exp of the root of the condition's tokens over those of 256 px."""
    return math.exp(math.sqrt(condition_tokens / 256))


class Velocity(Protocol):
    def __call__(self, tokens_TC: Tensor, sigma: float, /) -> Tensor:
        """The velocity [T, C] of all tokens, those that are to be made at ``sigma``."""


@dataclass(frozen=True, eq=False)
class Progress:
    """``step`` of ``steps`` is done. ``tokens`` [T, C] now, and the ``clean`` tokens [T, C] that they point to."""

    step: int
    steps: int
    sigma: float
    tokens: Tensor
    clean: Tensor


@torch.no_grad()
def sample(
    velocity: Velocity,
    start_TC: Tensor,
    target_T: Tensor,
    sigmas: Sequence[float] | Tensor,
    *,
    renoise: Callable[[], Tensor] | None = None,
    watch: Callable[[Progress], None] | None = None,
) -> Tensor:
    """Tokens [T, C] at the end of ``sigmas``, which fall and end at 0.

    ``start_TC``: noise where ``target_T``, else clean tokens, which come back as they are. Without ``renoise`` each
    step is Euler's; with it the step goes to the data that the velocity points to and back up the path by fresh noise
    (``renoise()`` [T, C]), as a few-step student is trained (DMD2, section 4.5). ``watch`` is told of each step; what
    it raises ends the sampling.
    """
    steps = [float(sigma) for sigma in sigmas]
    x, target = start_TC.float(), target_T[:, None]
    for step, (sigma, below) in enumerate(pairwise(steps), 1):
        v = velocity(x.to(start_TC.dtype), sigma).float()
        clean = x - sigma * v
        new = x + (below - sigma) * v if renoise is None or below == 0 else torch.lerp(clean, renoise().float(), below)
        x = torch.where(target, new, x)
        if watch is not None:
            watch(Progress(step, len(steps) - 1, sigma, x, torch.where(target, clean, x)))
    return x.to(start_TC.dtype)
