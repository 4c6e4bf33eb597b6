"""What a run uses and does not train, told apart: no checkpoint has it, and another would spoil the run in silence."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from model.codecs.base import LayerCodec
from model.text import TextEncoder
from training.learner import Learner

VALUES = 4096
"""Of each tensor: enough to tell other weights, and little to read of a large model."""


def fingerprint(learner: Learner) -> str:
    """32 hex digits over names, shapes and first values of all frozen weights: base of an adapter, codec, text encoder.

    Take it before the learner is sharded, on a rank that has its weights.
    """
    found, trained = hashlib.sha256(), {id(parameter) for _, parameter in learner.trained()}
    for part, of in (("transformer", learner.transformer), ("codec", learner.codec), ("text", learner.text)):
        for name, value in sorted(_tensors(of), key=lambda item: item[0]):
            if id(value) in trained:
                continue
            found.update(f"{part}.{name} {list(value.shape)}".encode())
            found.update(value.detach().flatten()[:VALUES].to("cpu", torch.float32).numpy().tobytes())
    return found.hexdigest()[:32]


def _tensors(part: object) -> Iterator[tuple[str, Tensor]]:
    """The weights of a module, or of what a codec or a text encoder holds."""
    if isinstance(part, nn.Module):
        yield from part.named_parameters()
        yield from part.named_buffers()
    elif isinstance(part, LayerCodec | TextEncoder):
        for name, held in vars(part).items():
            yield from ((f"{name}.{inner}", value) for inner, value in _tensors(held))
    elif isinstance(part, Mapping):
        yield from ((str(name), value) for name, value in part.items() if isinstance(value, Tensor))
