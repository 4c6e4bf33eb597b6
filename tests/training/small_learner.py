"""A learner of one block with the codec of ``example_batches``, for what looks at learners."""

from __future__ import annotations

import torch

from model import presets
from model.bundle import Bundle
from model.text_bytes import ByteText
from tests.training.example_batches import codec
from training.learner import Learner


def small_learner(seed: int = 0) -> Learner:
    torch.manual_seed(seed)
    transformer = presets.transformer("tiny", channel_std=codec().channel_std, num_layers=1)
    return Learner(Bundle(transformer, codec(), ByteText(width=64), "tiny"))
