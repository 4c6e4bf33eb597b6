"""Classifier-free guidance: what each task leaves out for its second pass, and how far it goes from there.

Shapes: T tokens, C channels, S text tokens, E text width, D designs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from model.regions import Regions
from model.tasks import LAYOUTS, Task
from model.text import Text
from model.transformer import Packing, RegionTransformer


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance: ``without + scale * (with - without)``; a scale of 1 needs no second pass.

    ``normalise``: each token's velocity is brought back to the length that it has with the condition.
    """

    scale: float = 1.0
    normalise: bool = False

    def combine(self, given_TC: Tensor, without_TC: Tensor) -> Tensor:
        out = without_TC + self.scale * (given_TC - without_TC)
        if self.normalise:
            out = out * (given_TC.norm(dim=-1, keepdim=True) / out.norm(dim=-1, keepdim=True).clamp(min=1e-12))
        return out


GUIDANCE: dict[Task, Guidance] = {
    Task.TEXT_TO_LAYERS: Guidance(4.0),
    Task.IMAGE_TO_LAYERS: Guidance(1.0),
    Task.ADD_LAYER: Guidance(4.0),
    Task.RESTYLE: Guidance(2.0),
    Task.TEXT_TO_RGB: Guidance(4.0),
    Task.TEXT_TO_RGBA: Guidance(4.0),
}
"""Of a teacher. Text tasks leave the text out; restyle leaves its references out, for the text is always the same."""


@dataclass(frozen=True, eq=False)
class Denoiser:
    """The guided velocity of one batch of one task: what ``sampling.sample`` calls.

    ``null``: the text of the second pass, where the task leaves the text out. A task with conditions leaves those out.
    """

    model: RegionTransformer
    task: Task
    regions: Regions
    text: Text
    guidance: Guidance = field(default_factory=Guidance)
    null: Text | None = None

    def __call__(self, tokens_TC: Tensor, sigma: float) -> Tensor:
        timestep_D = torch.full((len(self.regions.keys),), sigma, device=tokens_TC.device)
        given: Tensor = self.model(tokens_TC, self.text.values, timestep_D, self.regions, self._packing, self._kind_D)
        if self.guidance.scale == 1:
            return given
        if LAYOUTS[self.task].conditions:
            without = given.clone()
            bare, packing = self._without_references
            kept_T = ~self.regions.of_tokens(self.regions.condition)
            without[kept_T] = self.model(tokens_TC[kept_T], self.text.values, timestep_D, bare, packing, self._kind_D)
        else:
            null, packing = self._without_text
            without = self.model(tokens_TC, null.values, timestep_D, self.regions, packing, self._kind_D)
        return self.guidance.combine(given, without)

    @cached_property
    def _kind_D(self) -> Tensor | None:
        """int64 [D]: the task's kind of picture, where the checkpoint tells RGB from RGBA."""
        if not self.model.config.use_additional_t_cond:
            return None
        designs = len(self.regions.keys)
        return torch.full((designs,), LAYOUTS[self.task].kind, dtype=torch.long, device=self.regions.boxes.device)

    @cached_property
    def _packing(self) -> Packing:
        return self.model.pack(self.regions, self.text.lengths)

    @cached_property
    def _without_references(self) -> tuple[Regions, Packing]:
        bare = self.regions.select(~self.regions.condition)
        return bare, self.model.pack(bare, self.text.lengths)

    @cached_property
    def _without_text(self) -> tuple[Text, Packing]:
        if self.null is None:
            raise ValueError("guidance on the text needs the text of an empty prompt: give null")
        return self.null, self.model.pack(self.regions, self.null.lengths)
