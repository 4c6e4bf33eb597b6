"""Low-rank adapters (LoRA, Hu et al. 2021) on the blocks of a transformer, and the weights with them folded in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from model.transformer import KIND_EMBED, NEW_PARAMETERS, RegionTransformer
from schemas.settings import Section
from training.errors import UsageError

if TYPE_CHECKING:
    from training.learner import Learner

BLOCKS = "transformer_blocks"
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
MLP = ("img_mlp.net.0.proj", "img_mlp.net.2", "txt_mlp.net.0.proj", "txt_mlp.net.2")

_BASE = ".base_layer."
_DOWN, _UP = ".lora_A.default.weight", ".lora_B.default.weight"


class LoraSettings(Section):
    """``rank`` of the change of each weight, which is scaled by ``alpha`` / ``rank``.

    ``targets``: the linear layers of every block that are changed, by the end of their names. There is no dropout: what
    it draws would not be the same at another number of ranks.
    """

    rank: Annotated[int, Field(ge=1, le=4096)] = 64
    alpha: Annotated[float, Field(gt=0)] = 64.0
    targets: Annotated[tuple[str, ...], Field(min_length=1)] = ATTENTION + MLP


def add_lora(learner: Learner, settings: LoraSettings, seed: int = 0) -> None:
    """Give the transformer an adapter that changes nothing yet, and train it alone with what Qwen-Image lacks.

    All else of the learner is frozen, its text encoder too. Do it before the learner is sharded or optimised, with the
    same ``seed`` on all ranks.

    Raises:
        UsageError: no linear layer of a block has the name of a target.
    """
    from peft import LoraConfig  # late: it takes a second to import, and most runs have no adapter

    transformer = learner.transformer
    _check_targets(transformer, settings.targets)
    ends = "|".join(map(re.escape, settings.targets))
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]
        target_modules=rf"{BLOCKS}\.\d+\.(.*\.)?({ends})",
        init_lora_weights=True,
    )
    learner.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):  # it is drawn on the CPU; otherwise every GPU of the host would be woken
        torch.manual_seed(seed)
        transformer.add_adapter(config)
    for name, parameter in transformer.named_parameters():
        if name in (*NEW_PARAMETERS, KIND_EMBED):
            parameter.requires_grad_(True)


def merged(learner: Learner, keep: bool = True, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """The transformer's weights on the CPU by diffusers' names, whole, with the adapter, if there is one, folded in.

    A copy in ``dtype`` (None: as they are) that shares nothing with the learner. Where that is sharded, all ranks do it
    together; those with ``keep`` False get nothing.
    """
    transformer = learner.transformer
    state, scales = transformer.state_dict(), dict(_scales(transformer))
    out = {}
    for name, value in state.items():
        if name.endswith((_DOWN, _UP)):
            continue
        plain = _whole(value)
        if _BASE in name and (layer := name.partition(_BASE)[0]) in scales and name.endswith(".weight"):
            plain = _folded(plain, layer, state, scales[layer])
        if keep:
            out[name.replace(_BASE, ".")] = plain.to("cpu", dtype or plain.dtype, copy=True)
    return out


def _folded(weight: Tensor, layer: str, state: Mapping[str, Tensor], scale: float) -> Tensor:
    down, up = _whole(state[layer + _DOWN]), _whole(state[layer + _UP])
    return torch.addmm(weight, up, down, alpha=scale)


def _whole(value: Tensor) -> Tensor:
    return (value.full_tensor() if isinstance(value, DTensor) else value).detach()


def _scales(transformer: nn.Module) -> Iterator[tuple[str, float]]:
    """What the product of the two small matrices is multiplied by, for each layer with an adapter."""
    for name, module in transformer.named_modules():
        if hasattr(module, "lora_A"):
            yield name, float(module.scaling["default"])


def _check_targets(transformer: RegionTransformer, targets: tuple[str, ...]) -> None:
    blocks = getattr(transformer, BLOCKS)[:1]
    names = [name.partition(".")[2] for name, part in blocks.named_modules() if isinstance(part, nn.Linear)]
    for target in targets:
        if not any(f".{name}".endswith(f".{target}") for name in names):
            raise UsageError(
                f"model.lora.targets: no linear layer of a block is a {target!r}; there are {', '.join(names)}"
            )
