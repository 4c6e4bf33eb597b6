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
    """Cosines and sines of the angles of integer positions: float32 ``[2, T, K / 2]``.

    ``axes``: dims of a head for each axis, even, together K. The angles are those of diffusers' tables bit by bit,
    since both are the same product of the same floats; a slice of a grid has a slice of the grid's rotations.
    """
    device = positions_T3.device
    angles = []
    for axis, dim in enumerate(axes):
        exponents = torch.arange(0, dim, 2, device=device).to(torch.float32).div(dim)
        angles.append(torch.outer(positions_T3[:, axis].to(torch.float32), 1.0 / torch.pow(theta, exponents)))
    angle = torch.cat(angles, dim=-1)
    return torch.stack([angle.cos(), angle.sin()])


def rotate(x_THK: Tensor, rotations_2TK: Tensor) -> Tensor:
    """Turn each pair of neighbouring channels by its angle, in float32."""
    cos, sin = rotations_2TK[:, :, None]
    real, imaginary = torch.unflatten(x_THK.float(), -1, (-1, 2)).unbind(-1)
    turned = torch.stack([real * cos - imaginary * sin, real * sin + imaginary * cos], dim=-1)
    return turned.flatten(-2).to(x_THK.dtype)
