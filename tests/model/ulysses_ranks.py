"""One of several ranks that share a pass, as facts that ``test_ulysses`` reads. Takes a folder."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from model.attention import Backend
from model.errors import ModelError
from model.transformer import RegionTransformer
from model.ulysses import sequence_parallel
from tests.model.test_transformer import DESIGNS, STD, Design, batch, velocities
from tests.model.tiny_models import CHANNELS, TEXT, ours

SETTINGS: dict[str, Any] = {"zero_cond_t": True, "rope_theta": 100.0, "layer_slots": 9, "channel_std": STD}
CASES: dict[str, list[Design]] = {
    "one design": DESIGNS[:1],
    "several designs": DESIGNS,
    "one word for two": [DESIGNS[1]],
    "no word": [replace(DESIGNS[2], text=0)],
}


def difference(model: RegionTransformer, designs: Sequence[Design]) -> float:
    """Of the velocity shared from that of one process, relative to its largest value."""
    with torch.inference_mode():
        alone = torch.cat(velocities(model, designs))
        with sequence_parallel(model):
            shared = torch.cat(velocities(model, designs))
    return float((shared - alone).abs().max() / alone.abs().max())


def gradients(model: RegionTransformer, shared: bool) -> dict[str, Tensor]:
    """Of two passes, whose backward passes come after both."""
    model.zero_grad()
    with sequence_parallel(model) if shared else nullcontext():
        passes = [torch.cat(velocities(model, designs)) for designs in (DESIGNS[:2], DESIGNS[2:])]
        torch.stack([out.square().sum() for out in passes]).sum().backward()
    return {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}


def gradient_facts(checkpointing: bool) -> dict[str, Any]:
    model = ours(**SETTINGS).train()
    if checkpointing:
        model.enable_gradient_checkpointing()
    alone, mean = gradients(model, shared=False), gradients(model, shared=True)
    for grad in mean.values():
        dist.all_reduce(grad)
        grad.div_(dist.get_world_size())
    return {
        "names": list(mean) == list(alone),
        "parameters": len(alone),
        "difference": max(float((mean[name] - grad).abs().max()) for name, grad in alone.items()),
        "largest": max(float(grad.abs().max()) for grad in alone.values()),
    }


def work_shared() -> dict[str, Any]:
    """What this rank's MLPs and attention see of several designs."""
    model, seen = ours(), {}
    block = model.transformer_blocks[1]
    block.img_mlp.register_forward_hook(lambda module, given, out: seen.update(image=len(given[0])))
    block.txt_mlp.register_forward_hook(lambda module, given, out: seen.update(text=len(given[0])))
    block.attn.norm_q.register_forward_hook(lambda module, given, out: seen.update(attention=list(given[0].shape)))
    with torch.inference_mode(), sequence_parallel(model):
        velocities(model, DESIGNS)
    return seen


def empty_pass() -> list[int]:
    model, regions = ours(**SETTINGS), batch([])
    with sequence_parallel(model):
        none = torch.empty(0, CHANNELS), torch.empty(0, TEXT), torch.empty(0)
        return list(model(*none, regions, model.pack(regions, [])).shape)


def left_as_it_was() -> bool:
    model = ours()
    before = torch.cat(velocities(model, DESIGNS))
    try:
        with sequence_parallel(model):
            raise KeyError
    except KeyError:
        hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]
    return sum(hooks) == 0 and torch.equal(torch.cat(velocities(model, DESIGNS)), before)


def refusal() -> str:
    try:
        with sequence_parallel(ours(num_attention_heads=3)):
            return "nothing"
    except ModelError as error:
        return str(error)


def facts() -> dict[str, Any]:
    model = ours(**SETTINGS)
    found: dict[str, Any] = {name: difference(model, designs) for name, designs in CASES.items()}
    found["one row of modulation"] = difference(ours(), DESIGNS[:1])
    model.set_attention(Backend.PADDED)
    found["padded"] = difference(model, DESIGNS)
    return {
        "differences": found,
        "gradients": [gradient_facts(checkpointing) for checkpointing in (False, True)],
        "work": work_shared(),
        "empty": empty_pass(),
        "left": left_as_it_was(),
        "refusal": refusal(),
    }


def main() -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    found = facts()
    dist.destroy_process_group()
    (Path(sys.argv[1]) / f"{os.environ['RANK']}.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
