"""Samples to packed latents: the tensors that a codec made of the regions, as they lie in ``latents.safetensors``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, deserialize

from training.errors import DamageError
from training.streaming.config import PlanConfig, Task
from training.streaming.jobs import BF16, Allocate, Decoded, Job, Loaded

LATENTS = "latents.safetensors"
MAX_DIM = 2**20
_BF16 = "BF16"
_DTYPES = {"F32": np.float32, "F16": np.float16, _BF16: np.uint16, "U8": np.uint8, "I8": np.int8}


class LatentDecoder:
    """Decodes samples to their latents alone; see ``decode``. Neither task nor record changes what is in them."""

    def __init__(self, config: PlanConfig, seed: int, withdrawn: frozenset[str], threads: int = 1) -> None:
        del config, seed, withdrawn, threads

    def members(self, names: Sequence[str], task: Task) -> list[str]:
        """The one member of latents; that it lacks is told when it is decoded."""
        return [name for name in names if name == LATENTS]

    def decode(self, job: Job, loaded: Sequence[Loaded], allocate: Allocate) -> Decoded:
        """The tensors [n, dim] of each sample, in the order of their names, R in all, one after another.

        ``latents`` [sum n, dim], or ``latents_bf16`` as the u16 that hold bfloat16; ``starts`` i64 [R + 1], rows before
        each tensor; ``design`` i32 [R], the sample it is of. There are no prompts: text is stored embedded.

        Raises:
            DamageError: latents are missing or damaged, or differ in dtype or dim from most of the micro-batch.
        """
        tensors = [(number, tensor) for number, one in enumerate(loaded) for tensor in _tensors(one)]
        kinds = Counter((tensor.dtype, tensor.dim) for _, tensor in tensors)
        dtype, dim = kinds.most_common(1)[0][0] if kinds else ("F32", 0)
        for number, tensor in tensors:
            if (tensor.dtype, tensor.dim) != (dtype, dim):
                key, found = loaded[number].item.key, f"{tensor.dtype} [n, {tensor.dim}]"
                raise DamageError(
                    f"design {key}: latents {found} differ from its micro-batch's {dtype} [n, {dim}]", key
                )
        name = f"latents{BF16}" if dtype == _BF16 else "latents"
        starts = np.cumsum([0, *(tensor.rows for _, tensor in tensors)])
        arrays = allocate(
            {
                name: ((int(starts[-1]), dim), _DTYPES[dtype]),
                "starts": ((len(starts),), np.int64),
                "design": ((len(tensors),), np.int32),
            }
        )
        arrays["starts"][...] = starts
        arrays["design"][...] = [number for number, _ in tensors]
        for start, (_, tensor) in zip(starts, tensors, strict=False):
            arrays[name][start : start + tensor.rows] = tensor.values()
        return Decoded(
            keys=tuple(one.item.key for one in loaded),
            tasks=tuple(one.item.task for one in loaded),
            prompts=("",) * len(loaded),
            arrays=arrays,
        )


@dataclass(frozen=True)
class _Tensor:
    """A tensor [rows, dim] as bytes."""

    dtype: str
    rows: int
    dim: int
    data: bytearray

    def values(self) -> npt.NDArray[Any]:
        return np.frombuffer(self.data, _DTYPES[self.dtype]).reshape(self.rows, self.dim)


def _tensors(loaded: Loaded) -> list[_Tensor]:
    key = loaded.item.key
    if LATENTS not in loaded.members:
        raise DamageError(f"design {key}: no member {LATENTS!r}", key)
    try:
        # Checks every size against the bytes that are there.
        found = deserialize(bytes(loaded.members[LATENTS]))  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise DamageError(f"design {key}: damaged latents: {error}", key) from None
    tensors = []
    for name, tensor in sorted(found, key=itemgetter(0)):
        shape, dtype = tensor["shape"], tensor["dtype"]
        if len(shape) != 2 or dtype not in _DTYPES:
            raise DamageError(f"design {key}: latents {name!r} are {dtype} {shape}, not [n, dim] of a known dtype", key)
        # Where one side is 0 no bytes bound the other.
        if shape[0] * max(1, shape[1]) > len(loaded.members[LATENTS]) or shape[1] > MAX_DIM:
            raise DamageError(f"design {key}: latents {name!r} of {shape} are more than its bytes can be", key)
        tensors.append(_Tensor(dtype, shape[0], shape[1], tensor["data"]))
    return tensors
