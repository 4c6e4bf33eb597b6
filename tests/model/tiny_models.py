"""Tiny transformers that several tests share: diffusers' own with weights under which every path counts, and ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import QwenImageTransformer2DModel
from torch import Tensor

from model.regions import Regions
from model.transformer import RegionTransformer

CHANNELS, TEXT = 16, 24
TINY: dict[str, Any] = {
    "patch_size": 1,
    "in_channels": CHANNELS,
    "out_channels": CHANNELS,
    "num_layers": 2,
    "attention_head_dim": 32,
    "num_attention_heads": 4,
    "joint_attention_dim": TEXT,
    "axes_dims_rope": (8, 12, 12),
}


def stock(seed: int = 0, **settings: Any) -> QwenImageTransformer2DModel:
    """Diffusers' model; no bias, norm or embedding is left at what it begins with."""
    model = QwenImageTransformer2DModel(**{**TINY, **settings}).eval()
    spread(model, seed)
    return model


def ours(seed: int = 0, **settings: Any) -> RegionTransformer:
    """A region transformer with weights of its own, the new ones too."""
    model = RegionTransformer(**{**TINY, **settings}).eval()
    spread(model, seed)
    return model


def like(other: QwenImageTransformer2DModel, **settings: Any) -> RegionTransformer:
    """A region transformer with the settings and the weights of diffusers' model."""
    known = {name: other.config[name] for name in (*TINY, "zero_cond_t", "use_additional_t_cond", "use_layer3d_rope")}
    model = RegionTransformer(**{**known, **settings}).eval()
    missing, unexpected = model.load_state_dict(other.state_dict(), strict=False)
    assert set(missing) <= {"cond_token_embed", "layer_embed"} and not unexpected
    return model


def spread(model: torch.nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            fan = parameter[0].numel() if parameter.ndim > 1 else 4
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.7 / fan**0.5)
            if "norm" in name:
                parameter.add_(1)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def run(
    model: RegionTransformer,
    tokens_TC: Tensor,
    text_SE: Tensor,
    sigmas: Sequence[float],
    regions: Regions,
    text_lengths: Sequence[int],
    kinds: Sequence[int] | None = None,
) -> Tensor:
    """The velocity of a packed batch."""
    kind_D = None if kinds is None else torch.tensor(kinds)
    packing = model.pack(regions, text_lengths)
    out: Tensor = model(tokens_TC, text_SE, torch.tensor(sigmas), regions, packing, kind_D)
    return out
