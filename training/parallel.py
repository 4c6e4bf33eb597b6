"""Several processes as one: who is there, how weights are spread over them, and how they agree.

Tensors of agreement lie on the CPU, where gloo moves them; gradients and sums move as their device has it.
"""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.utils._pytree import register_dataclass

from model.text import Text
from training.errors import RemoteError, RemoteUsageError, TrainingError, UsageError

if TYPE_CHECKING:
    from training.learner import Learner

Made = TypeVar("Made")

TIMEOUT_S = 1800.0
"""Seconds that a collective waits for a rank before it fails."""

BACKENDS = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl"}
"""By device. Beside a GPU the CPU has a backend too: agreement and checkpoints need no word from the GPU."""

GLOO = "/gloo/transport/"
"""In every message of a connection of gloo, whose errors have no type of their own."""

MESSAGE_BYTES, FOLDER_BYTES, FOLDER_FILES = 4096, 256 * 2**20, 1000
_USAGE = b"!"

register_dataclass(Text, field_names=["values", "lengths"])
"""FSDP gathers a module's weights again for the backward pass when it finds tensors in what its forward returned."""


@dataclass(frozen=True)
class World:
    """The processes of a run. ``rank`` of ``size``; ``local_rank``: on this host; ``device``: the one of this rank."""

    rank: int
    size: int
    local_rank: int
    device: torch.device


@contextmanager
def join(device: Literal["auto", "cpu", "cuda"] = "auto", timeout_s: float = TIMEOUT_S) -> Iterator[World]:
    """Be one of the processes that torchrun or Ray Train began; without either, a world of one.

    A process group that is there is used and left alone; one that is made here ends with the context.

    Raises:
        UsageError: there is no such device, or the environment names a rank without a world.
        TrainingError: the others did not come.
        RemoteError: in the context, when another rank is gone.
    """
    rank, size, local_rank = _of_environment()
    kind = _kind(device, local_rank)
    if dist.is_initialized():
        where = torch.device("cuda", torch.cuda.current_device()) if kind == "cuda" else torch.device("cpu")
        with peers(dist.get_rank()):
            yield World(dist.get_rank(), dist.get_world_size(), local_rank, where)
        return
    where = torch.device("cpu")
    if kind == "cuda":
        where = torch.device("cuda", local_rank)
        torch.cuda.set_device(where)
    _begin(BACKENDS[kind], rank, size, timeout_s)
    try:
        with peers(rank):
            yield World(rank, size, local_rank, where)
    finally:
        dist.destroy_process_group()


@contextmanager
def peers(rank: int) -> Iterator[None]:
    """What a collective of torch raises on this rank when another is gone, in one line; other errors stay as they are.

    Raises:
        RemoteError: another rank is gone, or does not answer.
    """
    try:
        yield
    except RuntimeError as error:
        line = str(error).partition("\n")[0]
        if not isinstance(error, dist.DistError) and GLOO not in line:
            raise
        detail = line.rpartition(GLOO)[2].partition("] ")[2] or line
        raise RemoteError(
            f"rank {rank}: another rank is gone or does not answer ({detail.partition('. ')[0]}), which its own output "
            "may explain; give the command again to go on from the last checkpoint"
        ) from error


def shard(learner: Learner, world: World, *, dtype: torch.dtype = torch.float32, checkpointing: bool = False) -> None:
    """Spread the weights of a learner over all ranks (FSDP2), each block of the transformer for itself.

    The weights and their gradients stay float32, each rank with its part of them as ``DTensor``; ``dtype`` is that of
    the computation. A gradient is the *sum* over ranks, not their mean: a loss that every rank divides by a global
    count needs no correction. A parameter that one rank alone did not use counts as 0 there. ``checkpointing``: the
    activations of a block are computed again in the backward pass. A world of one in float32 is left as it is.

    The weights are those of the first rank, one after another; on the other ranks they may be on the meta device, and
    no rank but the first ever has all of them. Transformer and text encoder can be called by themselves, as a sampler
    does, as long as every rank does.
    """
    if checkpointing:
        learner.transformer.enable_gradient_checkpointing()
    if world.size == 1 and dtype is torch.float32:
        learner.to(world.device)
        return
    weights = learner.state_dict() if world.rank == 0 else {}
    learner.to("meta")
    mesh = init_device_mesh(world.device.type, (world.size,))
    policy = MixedPrecisionPolicy(
        param_dtype=None if dtype is torch.float32 else dtype, reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    # A root that stayed whole after a forward pass would show its weights whole to an optimiser and a checkpoint.
    for module in _units(learner):
        unit = fully_shard(module, mesh=mesh, mp_policy=policy, reshard_after_forward=True)
        unit.set_gradient_divide_factor(1.0)
        unit.set_force_sum_reduction_for_comms(True)
    learner.to_empty(device=world.device)
    set_model_state_dict(learner, weights, options=StateDictOptions(full_state_dict=True, broadcast_from_rank0=True))
    if isinstance(learner.trained_text, FSDPModule):
        learner.trained_text.set_reduce_scatter_unused_params(True)  # a rank without prompts uses few of them
        # Its text of no prompts is an empty view, which nobody changes in place.
        warnings.filterwarnings("ignore", r"FSDP2-wrapped module \(FSDPByteText\) returned a view", UserWarning)


def share_of(micro_batches: int, world: World) -> int:
    """How many of the micro-batches of a step each rank has.

    Raises:
        UsageError: they cannot all have as many.
    """
    if micro_batches % world.size:
        raise UsageError(
            f"run.micro_batches is {micro_batches}, which {world.size} processes cannot share evenly: "
            f"set it to a multiple of {world.size}"
        )
    return micro_batches // world.size


def total(values: Tensor, world: World) -> Tensor:
    """The sum of ``values`` over all ranks, which all have the same shape and type."""
    out = values.detach().clone()
    if world.size > 1:
        dist.all_reduce(out)
    return out


def agree(error: BaseException | None, world: World) -> None:
    """Go on if no rank has an error; every rank calls it, before a collective that a failed one would not reach.

    Raises:
        RemoteError: others failed; it has the rank and the message of the first, and is a ``RemoteUsageError`` where
            that has a ``UsageError``.
        BaseException: ``error``, on the rank that has one.
    """
    if world.size == 1:
        if error is not None:
            raise error
        return
    said = b"" if error is None else _message(error)
    lengths = torch.zeros(world.size, dtype=torch.int64)
    lengths[world.rank] = len(said)
    dist.all_reduce(lengths)
    failed = lengths.nonzero().flatten().tolist()
    if failed:
        heard = _broadcast(said, min(int(lengths[failed[0]]), MESSAGE_BYTES), failed[0])
    if error is not None:
        raise error
    if failed:
        more = f" (and {len(failed) - 1} more ranks failed)" if len(failed) > 1 else ""
        kind = RemoteUsageError if heard[:1] == _USAGE else RemoteError
        raise kind(f"rank {failed[0]}: {heard[1:].decode(errors='replace')}{more}")


def together(work: Callable[[], Made], world: World) -> Made:
    """What ``work`` gives on this rank, once it is done on every rank.

    Raises:
        RemoteError: it failed on others; see ``agree``.
        BaseException: what ``work`` raised here.
    """
    error: BaseException | None = None
    try:
        made = work()
    except BaseException as raised:  # noqa: BLE001 - agree raises it again
        error = raised
    agree(error, world)
    return made


def by_first(work: Callable[[], object], world: World) -> None:
    """Do what is the first rank's alone, once on every rank that it is done. Raises as ``together``."""
    together(work if world.rank == 0 else lambda: None, world)


def share_folder(path: Path, world: World) -> Path:
    """A folder of regular files that rank 0 alone has, on all ranks: there ``path``, elsewhere a temporary folder.

    The caller removes the temporary one.

    Raises:
        TrainingError: on rank 0: it holds other than files and folders, or too much. Elsewhere: a name leads out of it.
        RemoteError: it failed on another rank.
    """
    if world.size == 1:
        return path
    main = world.rank == 0
    names, data = together(lambda: _packed(path) if main else (b"", b""), world)
    sizes = torch.tensor([len(names), len(data)])
    dist.broadcast(sizes, 0)
    names_size, data_size = together(lambda: _bounded(sizes), world)
    names, data = _broadcast(names, names_size, 0), _broadcast(data, data_size, 0)
    return together(lambda: path if main else _unpacked(names, data), world)


def _of_environment() -> tuple[int, int, int]:
    given = {name: os.environ.get(name) for name in ("RANK", "WORLD_SIZE")}
    if not any(given.values()):
        return 0, 1, 0
    try:
        rank, size = (int(value or "") for value in given.values())
        local_rank = int(os.environ.get("LOCAL_RANK") or "")
    except ValueError:
        raise UsageError(
            "RANK, WORLD_SIZE and LOCAL_RANK must all be numbers: start with torchrun or training.launch, or unset them"
        ) from None
    if not 0 <= rank < size or local_rank < 0:
        raise UsageError(f"there is no rank {rank} (local {local_rank}) in a world of {size}: start with torchrun")
    return rank, size, local_rank


def _kind(device: str, local_rank: int) -> str:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "cpu" or (device == "auto" and count == 0):
        return "cpu"
    if count == 0:
        raise UsageError("device is cuda and there is no GPU that torch can use: set run.device=cpu, or auto")
    if local_rank >= count and not dist.is_initialized():
        raise UsageError(f"local rank {local_rank} has no GPU of its own, there are {count}: start {count} processes")
    return "cuda"


def _begin(backend: str, rank: int, size: int, timeout_s: float) -> None:
    # A world of one needs no port.
    store = dist.HashStore() if size == 1 else None  # type: ignore[attr-defined]
    try:
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=timedelta(seconds=timeout_s))
    except (RuntimeError, ValueError) as error:
        where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        detail = str(error).strip().splitlines()[0]
        raise TrainingError(f"rank {rank} could not join the {size} ranks at {where}: {detail}") from error


def _units(learner: Learner) -> list[nn.Module]:
    """What is gathered and reduced at a time, inner ones first."""
    from model.transformer import RegionBlock  # late: it takes seconds to import, and a launcher needs none of it

    blocks = [module for module in learner.transformer.modules() if isinstance(module, RegionBlock)]
    return [*blocks, learner.transformer, *([learner.trained_text] if learner.trained_text is not None else [])]


def _message(error: BaseException) -> bytes:
    text = str(error) if isinstance(error, TrainingError) else f"{type(error).__name__}: {error}".partition("\n")[0]
    kind = _USAGE if isinstance(error, UsageError) else b" "
    return (kind + text.encode(errors="replace"))[:MESSAGE_BYTES]


def _broadcast(data: bytes, size: int, source: int) -> bytes:
    """``size`` bytes of the rank ``source``, on all."""
    if size == 0:
        return b""
    mine = dist.get_rank() == source
    buffer = torch.frombuffer(bytearray(data), dtype=torch.uint8) if mine else torch.empty(size, dtype=torch.uint8)
    dist.broadcast(buffer, source)
    return buffer.numpy().tobytes()


def _bounded(sizes: Tensor) -> list[int]:
    if not 0 <= int(sizes.min()) <= int(sizes.max()) <= FOLDER_BYTES:
        raise TrainingError(f"rank 0 sent a folder of {sizes.tolist()} bytes")
    return [int(size) for size in sizes]


def _packed(folder: Path) -> tuple[bytes, bytes]:
    """The names and sizes of all files as JSON, and their bytes one after another."""
    files: list[tuple[str, int]] = []
    parts: list[bytes] = []
    left = FOLDER_BYTES
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise TrainingError(f"{path} is neither file nor folder, and is not shared with other ranks")
        if path.is_dir():
            continue
        left -= path.stat().st_size
        if left < 0 or len(files) == FOLDER_FILES:
            raise TrainingError(f"{folder} has over {FOLDER_FILES} files or {FOLDER_BYTES} bytes: too much to share")
        parts.append(path.read_bytes())
        files.append((path.relative_to(folder).as_posix(), len(parts[-1])))
    return json.dumps(files).encode(), b"".join(parts)


def _unpacked(names: bytes, data: bytes) -> Path:
    files = [(PurePosixPath(name), int(size)) for name, size in json.loads(names)]
    for path, size in files:
        if size < 0 or path.is_absolute() or ".." in path.parts or any(sign in str(path) for sign in "\\:\0"):
            raise TrainingError(f"rank 0 sent a file {str(path)!r}, which is no name in a folder")
    folder = Path(tempfile.mkdtemp(prefix="acetate-"))
    start = 0
    for path, size in files:
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data[start : start + size])
        start += size
    return folder
