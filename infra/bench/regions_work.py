"""The contestants of the benchmark of regions: one transformer with new weights, and designs laid out for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from infra.bench.regions_measure import growth
from model import layouts, presets
from model.cost import Lengths
from model.layouts import Layout
from model.regions import Regions
from model.tasks import Region, Task
from model.transformer import Packing, RegionTransformer

TASK = Task.IMAGE_TO_LAYERS
TOKEN_PX = presets.preset("qwen-20b").token_px


def backbone(name: str, device: torch.device, dtype: torch.dtype, **overrides: Any) -> RegionTransformer:
    """A preset's transformer in which every weight is drawn, so that no gate or modulation hides a difference."""
    with torch.device("meta"):
        model: RegionTransformer = presets.transformer(name, **overrides).eval()
    generator = torch.Generator(device).manual_seed(0)
    for module in model.modules():
        for key, parameter in module.named_parameters(recurse=False):
            spread = parameter.shape[-1] ** -0.5 if parameter.ndim > 1 else 0.1
            drawn = torch.randn(parameter.shape, generator=generator, device=device) * spread
            setattr(module, key, nn.Parameter(drawn.to(dtype)))
    return model


@dataclass(frozen=True, eq=False)
class Work:
    """One forward pass: packed designs with tokens and texts of noise."""

    model: RegionTransformer
    tokens: Tensor
    text: Tensor
    timestep: Tensor
    regions: Regions
    packing: Packing

    @classmethod
    def of(
        cls,
        model: RegionTransformer,
        designs: Sequence[Sequence[Region]],
        drawn: Sequence[Layout],
        texts: Sequence[int],
        seed: int = 0,
    ) -> Work:
        device, dtype = model.device, model.dtype
        regions = Regions.lay_out(designs, [one.canvas for one in drawn], [one.visible for one in drawn]).to(device)
        generator = torch.Generator(device).manual_seed(seed)

        def noise(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, device=device).to(dtype)

        tokens = noise(regions.tokens, model.config.in_channels)
        text = noise(sum(texts), model.config.joint_attention_dim)
        timestep = torch.rand(len(designs), generator=generator, device=device)
        return cls(model, tokens, text, timestep, regions, model.pack(regions, texts))

    @property
    def lengths(self) -> Lengths:
        return self.packing.lengths

    def velocity(self) -> Tensor:
        out: Tensor = self.model(self.tokens, self.text, self.timestep, self.regions, self.packing)
        return out

    def infer(self) -> Tensor:
        with torch.no_grad():
            return self.velocity()

    def train(self) -> None:
        """A forward and a backward pass; the gradients are dropped."""
        self.velocity().float().square().mean().backward()  # type: ignore[no-untyped-call]
        self.model.zero_grad(set_to_none=True)


def both(model: RegionTransformer, layout: Layout, text: int) -> tuple[Work, Work]:
    """A design as regions, and with full-canvas layers."""
    return (
        Work.of(model, [layout.regions(TASK)], [layout], [text]),
        Work.of(model, [layout.full_canvas()], [layout], [text]),
    )


def grown(layers: int, side: int, text: int, full: bool) -> int:
    """Bytes by which this process, best a new one, grows at most in a forward and a backward pass of ``tiny``."""
    torch.set_num_threads(1)
    model = backbone("tiny", torch.device("cpu"), torch.float32)
    small = both(model, layouts.draw(1, 2, 0), 1)[full]
    small.train()
    return growth(both(model, layouts.draw(layers, side, 0), text)[full].train)
