"""A micro-batch: packed regions of several designs as tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch

from training.streaming.config import Task
from training.streaming.jobs import BF16, Decoded


@dataclass(frozen=True)
class MicroBatch:
    """One micro-batch; it may hold no design, so that all ranks yield alike.

    Its memory is its own until the last tensor is gone, in this process: a forked child copies what it wants to keep.

    ``position`` is its place in the global order of ``epoch``. ``keys``, ``tasks`` and ``prompts`` are of its D
    designs. ``tensors`` of a pixel stream, with T tokens of t x t px in R regions:

    - ``pixels`` uint8 ``[T t t, 4]``: straight RGBA, sRGB; the images of the regions one after another, row by row
    - ``starts`` int64 ``[R + 1]``: tokens before each region; ``boxes`` int32 ``[R, 4]``: its half-open box
      ``x0, y0, x1, y1`` in tokens on its design's padded canvas
    - ``layer`` int32 ``[R]``: 0 the composed picture, 1 the background, 2 and up the foreground layers bottom to top
    - ``design`` int32 ``[R]``: which of the D designs; ``clean`` bool ``[R]``: given, no loss; ``condition`` bool
      ``[R]``: the restyled reference of the layer of the same number
    - ``canvas`` int32 ``[D, 2]``: width and height in tokens; ``visible`` float64 ``[D, 4]``: the visible box in px on
      it; ``scale`` float32 ``[D]``: px here for each px of the source
    """

    keys: tuple[str, ...]
    position: int
    epoch: int
    tasks: tuple[Task, ...] = ()
    prompts: tuple[str, ...] = ()
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, decoded: Decoded, position: int, epoch: int) -> MicroBatch:
        """Wrap decoded arrays without a copy."""
        tensors = {}
        for name, array in decoded.arrays.items():
            tensor = torch.from_numpy(array)
            tensors[name.removesuffix(BF16)] = tensor.view(torch.bfloat16) if name.endswith(BF16) else tensor
        return cls(decoded.keys, position, epoch, decoded.tasks, decoded.prompts, tensors)

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.tensors[name]

    @property
    def tokens(self) -> int:
        """Tokens in all regions."""
        return int(self.tensors["starts"][-1])

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> MicroBatch:
        """All tensors on ``device``."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> MicroBatch:
        """All tensors in page-locked memory, for a copy to a GPU beside its work."""
        return self._each(lambda tensor: tensor.pin_memory())

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> MicroBatch:
        return replace(self, tensors={name: change(tensor) for name, tensor in self.tensors.items()})
