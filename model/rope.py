"""Rotary positions on three axes (layer, y, x), as Qwen-Image has them (MSRoPE).

Shapes: T tokens, H heads, K head dim.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

MAX_POSITION = 4096
"""Positions that Qwen-Image's tables have on each side of 0; the public weights saw none beyond."""


def rotations(positions_T3: Tensor, axes: Sequence[int], theta: float) -> Tensor:
    """The turns of integer positions, one for each pair of channels: complex64 ``[T, K / 2]``, of length 1.

    ``axes``: dims of a head for each axis, even, together K; one of 0 tells no positions on that axis apart. The angles
    are those of diffusers' tables bit by bit, since both are the same product of the same floats; a slice of a grid has
    a slice of the grid's rotations.
    """
    device = positions_T3.device
    angles = []
    for axis, dim in enumerate(axes):
        exponents = torch.arange(0, dim, 2, device=device).to(torch.float32).div(dim)
        angles.append(torch.outer(positions_T3[:, axis].to(torch.float32), 1.0 / torch.pow(theta, exponents)))
    angle = torch.cat(angles, dim=-1)
    return torch.polar(torch.ones_like(angle), angle)


def rotate(x_THK: Tensor, rotations_TK: Tensor) -> Tensor:
    """Turn each pair of neighbouring channels by its angle, in float32."""
    pairs = torch.view_as_complex(x_THK.float().reshape(*x_THK.shape[:-1], x_THK.shape[-1] // 2, 2))
    return torch.view_as_real(pairs * rotations_TK[:, None]).flatten(-2).to(x_THK.dtype)
