"""The straight path between data and noise, and the preconditioning of its velocity.

A token at sigma is ``(1 - sigma) * data + sigma * noise``; its velocity is ``noise - data``, the sign of Qwen-Image's
weights (MRT's text writes the opposite). Shapes: T tokens, C channels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


def noised(clean_TC: Tensor, noise_TC: Tensor, sigma_T: Tensor) -> Tensor:
    """Tokens on the path at ``sigma_T``; a sigma of 0 leaves them clean."""
    return torch.lerp(clean_TC, noise_TC, sigma_T[:, None].to(clean_TC.dtype))


def velocity(clean_TC: Tensor, noise_TC: Tensor) -> Tensor:
    """What the model is to predict, the same at every sigma."""
    return noise_TC - clean_TC


def to_clean(noised_TC: Tensor, velocity_TC: Tensor, sigma_T: Tensor) -> Tensor:
    """The data that a velocity at ``sigma_T`` points to."""
    return noised_TC - sigma_T[:, None].to(noised_TC.dtype) * velocity_TC


class Preconditioning(NamedTuple):
    """``velocity = skip * x + out * network(x / spread)``, each [T, C].

    Where the channels of the data are independent with mean 0 and a known spread, ``skip * x`` is the best linear guess
    of the velocity (Wiener) and ``out`` the standard deviation of its error, so that the network sees and predicts
    values of about unit variance at every sigma and in every channel, as EDM (Karras et al., 2022) for other paths.
    """

    skip: Tensor
    out: Tensor
    spread: Tensor

    @classmethod
    def at(cls, sigma_T: Tensor, std_C: Tensor) -> Preconditioning:
        """For data of standard deviation ``std_C`` at ``sigma_T``; both float32."""
        sigma, std = sigma_T[:, None], std_C[None]
        keep = 1 - sigma
        variance = (keep * std).square() + sigma.square()
        spread = variance.sqrt()
        return cls((sigma - keep * std.square()) / variance, std / spread, spread)
