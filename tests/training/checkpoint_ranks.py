"""One of two processes that load what one process saved, save for one process to load, and fail together.

``python -m tests.training.checkpoint_ranks FOLDER RANK``; what it saw goes to ``FOLDER/seen-RANK.json``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor

from training.checkpoint import CheckpointConfig, Checkpoints
from training.errors import TrainingError

PLACES = {
    "rows": Shard(0),
    "columns": Shard(1),
    "uneven": Shard(0),
    "lone": Shard(0),
    "half": Shard(0),
    "copied": Replicate(),
}
MODEL = ("model.weight", "model.bias")


def expected() -> dict[str, Tensor]:
    """What is saved: names of PLACES and MODEL, and plain tensors, that are the same on all ranks."""
    torch.manual_seed(7)
    return {
        "rows": torch.randn(6, 4),
        "columns": torch.randn(3, 8),
        "uneven": torch.randn(5, 2, 3),
        "lone": torch.randn(1, 4),
        "half": torch.randn(4, 3).bfloat16(),
        "copied": torch.randn(2, 2),
        "model.weight": torch.randn(3, 5),
        "model.bias": torch.randn(3),
        "step": torch.tensor(12.0),
        "random": torch.randint(0, 255, (37,), dtype=torch.uint8),
    }


def empty() -> dict[str, Tensor]:
    return {name: torch.zeros_like(value) for name, value in expected().items()}


def sharded(values: Mapping[str, Tensor], mesh: DeviceMesh) -> dict[str, Tensor]:
    """The same tensors over two ranks: some by hand, a model by FSDP, the others on both."""
    model = nn.Linear(5, 3)
    model.load_state_dict({name.removeprefix("model."): values[name] for name in MODEL})
    fully_shard(model, mesh=mesh)
    placed = {name: distribute_tensor(values[name], mesh, [place]) for name, place in PLACES.items()}
    own = {f"model.{name}": value for name, value in model.named_parameters()}
    return {**values, **placed, **own}


def equal(tensors: Mapping[str, Tensor]) -> bool:
    whole = {name: value.full_tensor() if isinstance(value, DTensor) else value for name, value in tensors.items()}
    return all(torch.equal(whole[name], value) for name, value in expected().items())


def failure(url: Path, rank: int, mesh: DeviceMesh) -> str:
    """What is said when a save to ``url`` fails."""
    checkpoints = Checkpoints(str(url), CheckpointConfig(), rank=rank, world_size=2)
    checkpoints.save(1, sharded(expected(), mesh), {})
    try:
        checkpoints.close()
    except TrainingError as error:
        return str(error)
    return "nothing"


def main(folder: Path, rank: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    mesh = init_device_mesh("cpu", (2,))
    seen: dict[str, object] = {}

    checkpoints = Checkpoints(str(folder / "one"), CheckpointConfig(), rank=rank, world_size=2)
    saved = checkpoints.latest()
    assert saved is not None
    tensors = sharded(empty(), mesh)
    seen["facts"] = checkpoints.load(saved, tensors)
    seen["equal"] = equal(tensors)
    seen["wrong"] = "nothing"
    try:
        checkpoints.load(saved, {**tensors, "more": torch.zeros(1)})
    except TrainingError as error:
        seen["wrong"] = str(error)
    checkpoints.close()

    checkpoints = Checkpoints(str(folder / "two"), CheckpointConfig(keep=1), rank=rank, world_size=2)
    for step in (1, 2):
        checkpoints.save(step, sharded(expected(), mesh), {"rank": rank})
    seen["latest"] = checkpoints.latest()
    checkpoints.close()

    (folder / "blocked" / "checkpoints").parent.mkdir(exist_ok=True)
    (folder / "blocked" / "checkpoints").touch()  # no folder can be made there
    seen["apart"] = failure(folder / f"own-{rank}", rank, mesh)
    seen["blocked"] = failure(folder / ("blocked" if rank else "fine"), rank, mesh)
    (folder / f"seen-{rank}.json").write_text(json.dumps(seen))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
