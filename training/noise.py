"""What noise a design gets, and how much of it: drawn from its key, whatever stands beside it and on whichever rank.

Shapes: D designs, T tokens, C channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from model.sampling import shift_for, shifted
from schemas.settings import Section
from training.examples import Example
from training.streaming.draws import generator


class NoiseConfig(Section):
    """How sigma is drawn, between 0 (data) and 1 (noise), one for each design.

    ``timesteps``: ``uniform`` (MRT); ``logit-normal``, the logistic function of a normal of ``mean`` and ``std`` (SD3,
    section 3.1); ``shifted``, uniform and then moved towards noise by ``shift`` (SD3, eq. 23), or, with ``by_tokens``,
    by what Qwen-Image's schedule takes for as many tokens as all regions of the design have.
    """

    timesteps: Literal["uniform", "logit-normal", "shifted"] = "uniform"
    mean: float = 0.0
    std: Annotated[float, Field(gt=0)] = 1.0
    shift: Annotated[float, Field(gt=0)] = 3.0
    by_tokens: bool = False

    @model_validator(mode="after")
    def _used(self) -> Self:
        if self.by_tokens and self.timesteps != "shifted":
            raise ValueError(f"by_tokens is a way to shift, and timesteps is {self.timesteps!r}; set it to 'shifted'")
        return self


@dataclass(frozen=True, eq=False)
class Noise:
    """``sigma_D`` [D] and ``noise_TC`` [T, C], standard normal, both float32. Given tokens have rows that none uses."""

    sigma_D: Tensor
    noise_TC: Tensor


def draw_noise(example: Example, config: NoiseConfig, seed: int) -> Noise:
    """The noise to learn from, another in each epoch."""
    pairs = zip(example.keys, example.regions.lengths, strict=True)
    sigmas = [_sigma(config, generator(key, seed, example.epoch, "timestep"), tokens) for key, tokens in pairs]
    sigma_D = torch.tensor(sigmas, dtype=torch.float32, device=example.tokens.device)
    return Noise(sigma_D, _normal(example, seed, example.epoch, "noise"))


def fixed_noise(example: Example, sigma: float, seed: int) -> Noise:
    """Every design at one sigma, with noise that is the same in all epochs and another for each sigma."""
    sigma_D = torch.full((len(example.keys),), sigma, dtype=torch.float32, device=example.tokens.device)
    return Noise(sigma_D, noise_of(example, seed, f"noise at {sigma}"))


def noise_of(example: Example, seed: int, purpose: str) -> Tensor:
    """Standard normal float32 [T, C], the same in all epochs."""
    return _normal(example, seed, 0, purpose)


def _sigma(config: NoiseConfig, rng: np.random.Generator, tokens: int) -> float:
    if config.timesteps == "logit-normal":
        return 1 / (1 + math.exp(-rng.normal(config.mean, config.std)))
    drawn = rng.random()
    if config.timesteps == "uniform":
        return drawn
    shift = shift_for(tokens) if config.by_tokens else config.shift
    return float(shifted(torch.tensor(drawn, dtype=torch.float64), shift))


def _normal(example: Example, seed: int, epoch: int, purpose: str) -> Tensor:
    out_TC = np.empty(tuple(example.tokens.shape), np.float32)
    start = 0
    for key, tokens in zip(example.keys, example.regions.lengths, strict=True):
        generator(key, seed, epoch, purpose).standard_normal(dtype=np.float32, out=out_TC[start : start + tokens])
        start += tokens
    return torch.from_numpy(out_TC).to(example.tokens.device)
