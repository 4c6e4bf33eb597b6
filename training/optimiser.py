"""AdamW with its schedule: clip the gradient, look at its norm, then update the weights.

The two are apart so that a gradient that is not finite is seen before a weight changes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from schemas.settings import Section

STATES = ("step", "exp_avg", "exp_avg_sq")
"""What AdamW keeps of a parameter: its updates so far, and the running means of the gradient and of its square."""

Beta = Annotated[float, Field(ge=0, lt=1)]


class OptimiserConfig(Section):
    """``lr``: the highest learning rate, reached after ``warmup`` steps in a straight line.

    ``schedule``: what follows, ``constant`` or a half ``cosine`` down to ``floor`` (a share of ``lr``) at the last
    step. ``clip``: the norm of the gradient of all weights together is at most this; None leaves it as it is.
    """

    lr: Annotated[float, Field(gt=0)] = 1e-4
    betas: tuple[Beta, Beta] = (0.9, 0.99)
    eps: Annotated[float, Field(gt=0)] = 1e-8
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    clip: Annotated[float, Field(gt=0)] | None = 1.0
    warmup: Annotated[int, Field(ge=0)] = 0
    schedule: Literal["constant", "cosine"] = "constant"
    floor: Annotated[float, Field(ge=0, le=1)] = 0.1

    def lr_at(self, step: int, total_steps: int) -> float:
        """The learning rate of a step, counted from 0, of a run of ``total_steps``."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        if self.schedule == "constant":
            return self.lr
        share = min(1.0, (step - self.warmup) / max(1, total_steps - 1 - self.warmup))
        return self.lr * (self.floor + (1 - self.floor) * (1 + math.cos(math.pi * share)) / 2)


class Optimiser:
    """Updates what is trained of a module, in place and in the type of its weights, which is to be float32.

    Only the weights of linear and convolutional layers decay: a bias, the scale of a norm, a position or an embedding
    has no size that could be too large. Make it once the module is sharded: its states are sharded likewise.
    """

    def __init__(self, module: nn.Module, config: OptimiserConfig, total_steps: int) -> None:
        self._named = {name: value for name, value in module.named_parameters() if value.requires_grad}
        decayed = {id(value) for value in _decayed(module)}
        groups = [
            {"params": [p for p in self._named.values() if (id(p) in decayed) is decays], "decays": decays}
            for decays in (True, False)
        ]
        self._adam = torch.optim.AdamW(groups, fused=True)
        self.configure(config, total_steps)
        for parameter in self._named.values():  # AdamW would do so at the first step, too late to load a checkpoint
            self._adam.state[parameter] = {
                "step": torch.zeros((), device=parameter.device),
                "exp_avg": torch.zeros_like(parameter, requires_grad=False),
                "exp_avg_sq": torch.zeros_like(parameter, requires_grad=False),
            }

    def configure(self, config: OptimiserConfig, total_steps: int) -> None:
        """Go on with other settings and the same states, as the next stage of a run does."""
        self.config, self.total_steps = config, total_steps
        for group in self._adam.param_groups:
            group["betas"], group["eps"] = config.betas, config.eps
            group["weight_decay"] = config.weight_decay if group["decays"] else 0.0

    def norm(self) -> float:
        """The norm of the gradient of all weights of all ranks, which is clipped hereby; asked by all ranks together.

        Where it is not finite, so is no gradient any more: update nothing by them.
        """
        most = math.inf if self.config.clip is None else self.config.clip
        norm = nn.utils.clip_grad_norm_(self._named.values(), most)
        return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)

    def update(self, step: int) -> None:
        """Move the weights by their gradients, at the learning rate of a step counted from 0; drop the gradients.

        A weight without a gradient stays as it is.
        """
        for group in self._adam.param_groups:
            group["lr"] = self.config.lr_at(step, self.total_steps)
        self._adam.step()
        self._adam.zero_grad(set_to_none=True)

    def tensors(self) -> dict[str, Tensor]:
        """The states themselves by name, such as ``exp_avg.transformer.img_in.weight``, there from the beginning.

        What is loaded into them is gone on with; the learning rate is a function of the step.
        """
        return {f"{kind}.{name}": self._adam.state[p][kind] for kind in STATES for name, p in self._named.items()}


def _decayed(module: nn.Module) -> Iterator[Tensor]:
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            yield part.weight
