"""One of two ranks: what several processes do together, as facts that ``test_parallel`` reads. Takes a folder."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from model.codecs.pca import PcaCodec
from model.tasks import Task
from model.text_bytes import ByteText
from tests.model.test_transformer import Design, batch, design
from tests.model.tiny_models import CHANNELS, TEXT, ours, spread
from tests.training.example_batches import codec
from tests.training.shards import whole
from tests.training.small_learner import small_learner
from training.errors import UsageError
from training.learner import Learner
from training.lora import LoraSettings, add_lora
from training.models import ModelConfig, build
from training.parallel import World, agree, join, shard, share_folder, together, total

PROMPTS = ["a poster", "", "<layer> a red circle </layer>"]
DESIGNS = [
    design(Task.TEXT_TO_LAYERS, [(0, 0, 6, 4), (1, 1, 3, 4)], (6, 4), (0, 0, 6, 4), 0, 1),
    design(Task.IMAGE_TO_LAYERS, [(0, 0, 5, 5), (3, 3, 4, 5)], (5, 5), (1, 1, 4, 4), 0, 2),
    design(Task.RESTYLE, [(0, 0, 3, 4), (1, 2, 3, 3)], (3, 4), (0, 0, 3, 3), 0, 3),
]
OF_RANK = [[[0], [1]], [[2], []]]
"""The designs of both micro-batches of each rank; the last has none."""


class Tiny(nn.Module):
    """A transformer and its text encoder as a learner has them."""

    def __init__(self) -> None:
        super().__init__()
        self.transformer = ours(zero_cond_t=True)
        self.trained_text = ByteText(TEXT, 64)
        spread(self.trained_text, 1)

    def forward(self, chosen: Sequence[int]) -> Tensor:
        designs: list[Design] = [DESIGNS[number] for number in chosen]
        said = self.trained_text.encode([PROMPTS[number] for number in chosen])
        regions = batch(designs)
        tokens = torch.cat([torch.empty(0, CHANNELS), *(each.image for each in designs)])
        sigmas = torch.tensor([each.sigma for each in designs])
        packing = self.transformer.pack(regions, said.lengths)
        return self.transformer(tokens, said.values, sigmas, regions, packing)


def gradients(model: Tiny, micro_batches: Sequence[Sequence[int]]) -> dict[str, Tensor]:
    for chosen in micro_batches:
        (model(chosen).square().sum() / 100).backward()
    grads = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
    return {name: grad.full_tensor() if isinstance(grad, DTensor) else grad for name, grad in grads.items()}


def gradient_facts(world: World) -> dict[str, Any]:
    alone = Tiny()
    expected = gradients(alone, [[0, 1, 2]])
    model = Tiny()
    shard(model, world, checkpointing=True)
    with torch.no_grad():
        velocity = model([0])
        same = torch.allclose(velocity, alone([0]), atol=1e-6)
    sharded = all(isinstance(value, DTensor) for value in model.parameters())
    found = gradients(model, OF_RANK[world.rank])
    return {
        "sampled as by one": same,
        "sharded": sharded,
        "names": sorted(found) == sorted(expected),
        "parameters": len(found),
        "largest": max(float(grad.abs().max()) for grad in expected.values()),
        "difference": max(float((found[name] - grad).abs().max()) for name, grad in expected.items()),
    }


def bfloat16_facts(world: World) -> dict[str, Any]:
    model = Tiny()
    shard(model, world, dtype=torch.bfloat16)
    seen: list[torch.dtype] = []
    model.transformer.img_in.register_forward_hook(lambda *given: seen.append(given[2].dtype))
    found = gradients(model, [[world.rank]])
    return {
        "weights": {str(value.dtype) for value in model.parameters()}.pop(),
        "gradients": {str(grad.dtype) for grad in found.values()}.pop(),
        "computation": str(seen[0]),
    }


def begun_facts(world: World, folder: Path) -> dict[str, Any]:
    """A new model, and one of a checkpoint with an adapter, each of which the first rank alone has the weights of."""
    place = folder / "begun"
    together(lambda: small_learner(5).bundle.save(place) if world.rank == 0 else None, world)
    return {
        "new": begun(world, ModelConfig(settings={"num_layers": 1}), codec()),
        "adapted": begun(world, ModelConfig(weights=str(place), lora=LoraSettings(rank=2)), None),
    }


def begun(world: World, config: ModelConfig, made: PcaCodec | None) -> dict[str, Any]:
    alone, spread_out = (
        Learner(build(config, made, 7, torch.device("cpu"), empty=empty)) for empty in (False, world.rank > 0)
    )
    if config.lora is not None:
        for learner in (alone, spread_out):
            add_lora(learner, config.lora, 3)
    empty = all(value.is_meta for name, value in spread_out.transformer.named_parameters() if "lora" not in name)
    shard(spread_out, world, dtype=torch.bfloat16)
    found = dict(spread_out.named_parameters())
    wanted = dict(alone.named_parameters())
    return {
        "empty before": empty,
        "same": found.keys() == wanted.keys()
        and all(torch.equal(whole(found[name]), value) for name, value in wanted.items()),
        "trained": [name for name, _ in spread_out.trained()] == [name for name, _ in alone.trained()],
        "share": sum(local(value).nbytes for value in found.values()) / sum(value.nbytes for value in wanted.values()),
        "types": sorted({str(value.dtype) for value in found.values()}),
    }


def local(value: Tensor) -> Tensor:
    return value.to_local() if isinstance(value, DTensor) else value


def raised(call: Any) -> str:
    try:
        call()
    except Exception as error:  # noqa: BLE001 - the fact
        return f"{type(error).__name__}: {error}"
    return "nothing"


def failing(world: World, ranks: set[int]) -> str:
    error = OSError(f"the disk of {world.rank} is gone") if world.rank in ranks else None
    return raised(lambda: agree(error, world))


def facts(world: World, folder: Path) -> dict[str, Any]:
    mine = folder / "codec"
    if world.rank == 0:
        (mine / "deep").mkdir(parents=True)
        (mine / "deep" / "basis.bin").write_bytes(bytes(range(256)))
        (mine / "empty").touch()
        (folder / "bad").mkdir()
        (folder / "bad" / "link").symlink_to(mine)
    shared = share_folder(mine if world.rank == 0 else folder / "not there", world)
    said = {
        "total": total(torch.tensor([1.5, world.rank], dtype=torch.float64), world).tolist(),
        "none": failing(world, set()),
        "second": failing(world, {1}),
        "usage": raised(lambda: agree(UsageError("steps is 0") if world.rank else None, world)),
        "both": failing(world, {0, 1}),
        "together": together(lambda: world.rank * 10, world),
        "reader": raised(lambda: together(lambda: iter([1][world.rank :]).__next__(), world)),
        "own folder": shared == mine,
        "files": {
            path.relative_to(shared).as_posix(): len(path.read_bytes()) for path in shared.rglob("*") if path.is_file()
        },
        "link": raised(lambda: share_folder(folder / "bad", world)),
        "gradients": gradient_facts(world),
        "bfloat16": bfloat16_facts(world),
        "begun": begun_facts(world, folder),
    }
    if shared != mine:
        shutil.rmtree(shared)
    return said


def main() -> None:
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    with join("cpu", timeout_s=60) as world:
        found = facts(world, folder)
    (folder / f"{os.environ['RANK']}.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
