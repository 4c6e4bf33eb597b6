"""Small designs to judge, drawn by hand or at random."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from schemas.geometry import Box
from training.evaluation.stack import Placed, Stack


def solid(height: int, width: int, rgba: tuple[int, int, int, int]) -> Tensor:
    return torch.tensor(rgba, dtype=torch.uint8).expand(height, width, 4).clone()


def filled(box: Box, rgba: tuple[int, int, int, int]) -> Placed:
    return box, solid(box.height, box.width, rgba)


def random_stack(seed: int, layers: int, side: int = 16, margin: int = 4) -> Stack:
    """An opaque background on the visible square and layers anywhere, each with a solid pixel that is seen."""
    rng = np.random.default_rng(seed)
    whole = side + 2 * margin
    visible = Box(margin, margin, margin + side, margin + side)
    placed = [(visible, _noise(rng, side, side, 255))]
    for _ in range(layers - 1):
        width, height = (int(v) for v in rng.integers(2, side // 2 + 2, 2))
        x, y = int(rng.integers(0, whole - width + 1)), int(rng.integers(0, whole - height + 1))
        placed.append((Box(x, y, x + width, y + height), _noise(rng, height, width, 0)))
    return Stack(placed, (whole, whole), visible)


def _noise(rng: np.random.Generator, height: int, width: int, least_alpha: int) -> Tensor:
    """Random pixels; all four corners are solid, so that the picture's box is exact."""
    pixels = rng.integers(0, 256, (height, width, 4), dtype=np.uint8)
    pixels[..., 3] = np.maximum(pixels[..., 3] * (rng.random((height, width)) < 0.7), least_alpha)
    pixels[:: height - 1, :: width - 1, 3] = 255
    return torch.from_numpy(pixels)


stacks = st.builds(random_stack, st.integers(0, 10_000), st.integers(1, 5))
