"""The running average of the weights, which makes better pictures than the last ones do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from schemas.settings import Section


class AverageConfig(Section):
    """``decay``: the share of the average that a step leaves of it.

    The first steps leave less, so that it forgets the weights that it began with: (1 + n) / (``warmup`` + n).
    """

    decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    warmup: Annotated[int, Field(ge=1)] = 10

    def decay_at(self, step: int) -> float:
        """The decay of a step, counted from 0."""
        return min(self.decay, (1 + step) / (self.warmup + step))


class Average:
    """The average of what is trained of a module, in the type of its weights, which is to be float32.

    Make it once the module is sharded: each rank averages its own shards.
    """

    def __init__(self, module: nn.Module, config: AverageConfig) -> None:
        self.config, self._module = config, module
        self._weights = {name: value for name, value in module.named_parameters() if value.requires_grad}
        self._average = {name: value.detach().clone() for name, value in self._weights.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the average towards the weights after a step, counted from 0."""
        kept, new = _local(self._average.values()), _local(self._weights.values())
        torch._foreach_lerp_(kept, new, 1 - self.config.decay_at(step))

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """The module has the averaged weights in here, and its own again after, to the bit.

        No updates in here; ``tensors`` has the module's own weights meanwhile.
        """
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def tensors(self) -> dict[str, Tensor]:
        """The averaged weights themselves by the names of the weights; what is loaded into them is gone on with."""
        return dict(self._average)

    @torch.no_grad()
    def _swap(self) -> None:
        """Exchange the values in place, one weight after another: FSDP holds on to the storage of its shards."""
        for kept, weight in zip(_local(self._average.values()), _local(self._weights.values()), strict=True):
            before = weight.clone()
            weight.copy_(kept)
            kept.copy_(before)
        for part in self._module.modules():
            if isinstance(part, FSDPModule):  # the root keeps what it gathered for a pass without gradient
                part.reshard()


def _local(values: Iterable[Tensor]) -> list[Tensor]:
    return [value.to_local() if isinstance(value, DTensor) else value for value in values]
