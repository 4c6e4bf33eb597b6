"""A small network on some ranks: what it is after a few steps, whole or in shards.

``python -m tests.training.shards RANK SIZE FOLDER`` is one of several ranks; the first writes ``FOLDER/out.pt``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from training.average import Average, AverageConfig
from training.optimiser import Optimiser, OptimiserConfig

CONFIG = OptimiserConfig(lr=1e-2, clip=0.3, warmup=2)
STEPS, BATCH = 4, 6


def network(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    """Its last layer is not in a unit of its own."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.LayerNorm(7), nn.Linear(7, 3)).to(dtype)


def sharded(module: nn.Sequential) -> nn.Sequential:
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for unit in (module[0], module):
        fully_shard(unit, mesh=mesh)
    return module


def backward(module: nn.Module, step: int, rank: int = 0, size: int = 1) -> None:
    """The gradient of a rank's share of the inputs of a step; their mean over ranks is the same for every world."""
    inputs = torch.randn(BATCH, 5, generator=torch.Generator().manual_seed(step))
    inputs = inputs.to(next(module.parameters()).dtype)
    module(inputs[rank::size]).square().mean().backward()


def run(module: nn.Module, rank: int = 0, size: int = 1) -> dict[str, Tensor]:
    """After some steps: weights, states, average, the norms, and what the averaged weights made meanwhile."""
    optimiser = Optimiser(module, CONFIG, STEPS)
    average = Average(module, AverageConfig())
    norms, seen = [], []
    for step in range(STEPS):
        backward(module, step, rank, size)
        norms.append(optimiser.norm())
        optimiser.update(step)
        average.update(step)
        with average.swapped(), torch.no_grad():
            seen.append(module(torch.ones(1, 5)))
    found = {**dict(module.named_parameters()), **optimiser.tensors()}
    found |= {f"average.{name}": value for name, value in average.tensors().items()}
    return {name: whole(value) for name, value in found.items()} | {
        "norms": torch.tensor(norms),
        "seen": torch.cat([whole(value) for value in seen]),
    }


def whole(value: Tensor) -> Tensor:
    return (value.full_tensor() if isinstance(value, DTensor) else value).detach().clone()


@contextmanager
def world_of_one() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


def main() -> None:
    torch.set_num_threads(1)
    rank, size, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    dist.init_process_group("gloo", store=dist.FileStore(str(folder / "store"), size), rank=rank, world_size=size)
    found = run(sharded(network()), rank, size)
    if rank == 0:
        torch.save(found, folder / "out.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
