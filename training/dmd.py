"""Distribution matching distillation in few steps (DMD2, arXiv 2405.14867, sections 3 to 4.5): what it does to tokens.

The student makes data as it will be sampled (backward simulation). Of these data, noised anew, a frozen teacher and a
fake score, which follows the student, each point to clean data; the student moves along their difference. Given tokens
stay clean in all three networks and count nowhere. Shapes: D designs, T tokens, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from model.flow import noised, to_clean, velocity
from model.sampling import sample


class Velocity(Protocol):
    def __call__(self, tokens_TC: Tensor, sigma_D: Tensor, /) -> Tensor:
        """The velocity [T, C] of all tokens, those that are to be made at the sigma of their design."""


@dataclass(frozen=True, eq=False)
class Targets:
    """Which tokens are to be made. ``design_T`` int64 [T]: whose each is; ``target_T`` bool [T]; ``designs``: D."""

    design_T: Tensor
    target_T: Tensor
    designs: int

    def spread(self, value_D: Tensor) -> Tensor:
        """[T]: the value of its design for each token that is to be made, 0 for the others."""
        return value_D[self.design_T] * self.target_T

    def sums(self, error_TC: Tensor) -> Tensor:
        """[D]: over a design's tokens that are to be made, of the mean over channels."""
        sums_D = error_TC.new_zeros(self.designs)
        return sums_D.index_add(0, self.design_T[self.target_T], error_TC[self.target_T].mean(dim=1))

    def means(self, error_TC: Tensor) -> Tensor:
        """[D]: as ``sums``, over their number."""
        counts_D = error_TC.new_zeros(self.designs)
        counts_D = counts_D.index_add(0, self.design_T, self.target_T.to(counts_D.dtype))
        return self.sums(error_TC) / counts_D.clamp(min=1)


def data_of(network: Velocity, x_TC: Tensor, sigma_D: Tensor, targets: Targets) -> Tensor:
    """The clean data [T, C] that a network points to; given tokens as they are."""
    return to_clean(x_TC, network(x_TC, sigma_D), targets.spread(sigma_D))


def simulated(
    student: Velocity,
    given_TC: Tensor,
    targets: Targets,
    sigmas: Sequence[float],
    step: int,
    noise: Callable[[], Tensor],
) -> Tensor:
    """What the student takes for the data [T, C] in its step number ``step``, after it made the steps before.

    ``given_TC``: clean tokens, of which those to be made are not looked at. ``sigmas``: of all steps, falling from 1.
    ``noise()``: fresh noise [T, C] each time. Only the last step has a gradient. The sampler is that of a student
    (``model.sampling.sample`` with ``renoise``), so that it trains on what it will see (DMD2, section 4.5).
    """
    start = torch.where(targets.target_T[:, None], noise(), given_TC)

    def at(tokens_TC: Tensor, sigma: float) -> Tensor:
        return student(tokens_TC, tokens_TC.new_full((targets.designs,), sigma))

    if step:
        start = sample(at, start, targets.target_T, sigmas[: step + 1], renoise=noise)
    return data_of(student, start, start.new_full((targets.designs,), sigmas[step]), targets)


def direction(data_TC: Tensor, fake_TC: Tensor, real_TC: Tensor, targets: Targets) -> Tensor:
    """Where the student's data [T, C] are too likely: (fake - real) / mean |data - real| of each design (DMD, eq. 8).

    ``fake_TC`` and ``real_TC``: what fake score and teacher take for the data. Not finite where the teacher agrees with
    the student in every bit.
    """
    scale_D = targets.means((data_TC - real_TC).abs())
    return (fake_TC - real_TC) / scale_D[targets.design_T][:, None]


def student_errors(data_TC: Tensor, direction_TC: Tensor, targets: Targets) -> Tensor:
    """[D]: sums over tokens of an error whose gradient to ``data_TC`` is ``direction_TC`` (DMD2, eq. 2)."""
    aim_TC = (data_TC - direction_TC).detach()
    return targets.sums((data_TC - aim_TC).square() / 2)


def fake_errors(fake: Velocity, data_TC: Tensor, sigma_D: Tensor, noise_TC: Tensor, targets: Targets) -> Tensor:
    """[D]: sums over tokens of the flow-matching error of the fake score on the student's data, as they are now."""
    data_TC = data_TC.detach()
    x_TC = noised(data_TC, noise_TC, targets.spread(sigma_D))
    return targets.sums((fake(x_TC, sigma_D).float() - velocity(data_TC, noise_TC)).square())
