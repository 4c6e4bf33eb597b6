"""Samples to packed latents: the tensors that a codec made of the regions, as they lie in ``latents.safetensors``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, NonNegativeInt

from training.errors import DamageError
from training.streaming.config import PlanConfig, Task
from training.streaming.jobs import BF16, Allocate, Decoded, Job, Loaded

LATENTS = "latents.safetensors"
MAX_DIM = 2**20
_LENGTH = 8
"""Bytes of the length of a header."""
_BF16 = "BF16"
_DTYPES = {"F32": np.float32, "F16": np.float16, _BF16: np.uint16, "U8": np.uint8, "I8": np.int8}


class _Entry(BaseModel):
    """What the header says of a tensor."""

    dtype: str
    shape: list[NonNegativeInt]
    data_offsets: tuple[NonNegativeInt, NonNegativeInt]


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
    data: memoryview

    def values(self) -> npt.NDArray[Any]:
        return np.frombuffer(self.data, _DTYPES[self.dtype]).reshape(self.rows, self.dim)


def _tensors(loaded: Loaded) -> list[_Tensor]:
    key = loaded.item.key
    if LATENTS not in loaded.members:
        raise DamageError(f"design {key}: no member {LATENTS!r}", key)
    try:
        return _views(memoryview(loaded.members[LATENTS]))
    except _LatentsError as error:
        raise DamageError(f"design {key}: {error}", key) from None


class _LatentsError(ValueError):
    """Bytes that are no latents."""


def _views(data: memoryview) -> list[_Tensor]:
    """The tensors of a safetensors file, by name, without a copy; the library makes two of all of them."""
    end = _LENGTH + int.from_bytes(data[:_LENGTH], "little")
    if not _LENGTH < end <= len(data):
        raise _LatentsError("damaged latents: their header is cut off")
    try:
        header = json.loads(bytes(data[_LENGTH:end]))
        found = {name: _Entry.model_validate(entry) for name, entry in header.items() if name != "__metadata__"}
    except (ValueError, AttributeError, RecursionError) as error:  # what pydantic and JSON raise are ValueErrors
        raise _LatentsError(f"damaged latents: {str(error).splitlines()[0]}") from None
    out, at = [], 0
    for name, entry in sorted(found.items(), key=lambda pair: pair[1].data_offsets):
        start, stop = entry.data_offsets
        if len(entry.shape) != 2 or entry.dtype not in _DTYPES:
            raise _LatentsError(f"latents {name!r} are {entry.dtype} {entry.shape}, not [n, dim] of a known dtype")
        rows, dim = entry.shape
        if rows > len(data) or dim > MAX_DIM:  # where one side is 0 no bytes bound the other
            raise _LatentsError(f"latents {name!r} of {entry.shape} are more than its bytes can be")
        if start != at or stop - start != rows * dim * np.dtype(_DTYPES[entry.dtype]).itemsize:
            raise _LatentsError(f"damaged latents: {name!r} of {entry.shape} lie at {start} to {stop}")
        out.append((name, _Tensor(entry.dtype, rows, dim, data[end + start : end + stop])))
        at = stop
    if end + at != len(data):
        raise _LatentsError(f"damaged latents: {len(data) - end} bytes, {at} of them in tensors")
    return [tensor for _, tensor in sorted(out, key=itemgetter(0))]
