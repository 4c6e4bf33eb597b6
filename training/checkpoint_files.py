"""The data files of a checkpoint: safetensors, one a rank, hashed in blocks so that a part can be read and checked.

The header says where a piece lies in its tensor as ``torch.distributed.checkpoint``'s own safetensors files do, so that
its ``HuggingFaceStorageReader`` reads these too. Nothing in them is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO, Annotated, NamedTuple, Self

import torch
from pydantic import Field, TypeAdapter, model_validator
from tenacity import Retrying
from torch import Tensor

from schemas.settings import Section
from training.errors import UsageError
from training.streaming.source import ATTEMPTS, Source, patience

BLOCK = 16 * 2**20
"""Bytes of which there is one hash; a part of the format."""

AHEAD = 8
"""Blocks that are read at once."""

_HEADER_LIMIT = 100_000_000
"""Bytes; what safetensors itself allows."""

_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}

Extent = Annotated[list[Annotated[int, Field(ge=0, le=2**48)]], Field(max_length=32)]


class DataFile(Section):
    """A file: its ``size`` and that of its ``header`` in bytes, and the SHA-256 of each of its blocks."""

    name: Annotated[str, Field(pattern=r"^rank-\d{5,9}\.safetensors$")]
    size: int
    header: Annotated[int, Field(ge=8, le=_HEADER_LIMIT)]
    sha256: list[Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.header > self.size or len(self.sha256) != -(-self.size // BLOCK):
            raise ValueError("the sizes of a file and of its parts disagree")
        return self


class Piece(NamedTuple):
    """A part of a tensor: its place there (``offsets``, ``shape``), and its first byte in a file."""

    file: str
    dtype: torch.dtype
    offsets: tuple[int, ...]
    shape: tuple[int, ...]
    begin: int


class _Entry(Section):
    dtype: str
    shape: Extent
    data_offsets: tuple[int, int]


class _Place(Section):
    saved_offsets: Extent


class _Information(Section):
    DCP_SHARDING_INFO: str
    DCP_VERSION: str
    format: str


_ENTRIES = TypeAdapter(dict[str, _Entry])
_PLACES = TypeAdapter(dict[str, _Place])


def damaged(url: str, why: str) -> UsageError:
    return UsageError(f"{url} is damaged ({why}); remove the folder of this checkpoint to go on from the one before")


def write_file(out: IO[bytes], name: str, tensors: Iterable[tuple[str, Sequence[int], Tensor]]) -> DataFile:
    """Write tensors, each with its name and its place in the whole tensor of that name."""
    order = sorted(tensors, key=lambda each: -each[2].itemsize)  # so that every one is aligned
    header = _header(order)
    hashed = _Hashed(out)
    hashed.write(memoryview(header))
    for _, _, tensor in order:
        hashed.write(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return DataFile(name=name, size=hashed.size, header=len(header), sha256=hashed.done())


def read_header(file: DataFile, data: bytes | bytearray) -> dict[str, Piece]:
    """The pieces of a file by the name of their tensor.

    Raises:
        ValueError: it is no header of this file.
    """
    if int.from_bytes(data[:8], "little") + 8 != len(data):
        raise ValueError("the header has another length")
    found = TypeAdapter(dict[str, dict[str, object]]).validate_json(bytes(data[8:]))
    places = _PLACES.validate_json(_Information.model_validate(found.pop("__metadata__", {})).DCP_SHARDING_INFO)
    entries = _ENTRIES.validate_python(found)
    if places.keys() != entries.keys():
        raise ValueError("the header names other tensors than it places")
    return {name: _piece(file, entry, places[name].saved_offsets) for name, entry in entries.items()}


def read_spans(source: Source, folder: str, file: DataFile, spans: Sequence[tuple[int, int]]) -> Iterator[bytearray]:
    """The bytes from begin to end of each span, in their order, which is that of the beginnings.

    Each block is read once and checked.

    Raises:
        UsageError: a block is not what was written.
        ReadError: the store does not answer.
    """
    blocks = [range(begin // BLOCK, -(-end // BLOCK)) for begin, end in spans]
    pending = deque(sorted({number for some in blocks for number in some}))
    held: dict[int, Future[bytes]] = {}
    with ThreadPoolExecutor(AHEAD, "checkpoint-read") as pool:
        for (begin, end), some in zip(spans, blocks, strict=True):
            held = {number: block for number, block in held.items() if number >= some.start}
            while pending and (pending[0] < some.stop or len(held) < AHEAD):
                number = pending.popleft()
                held[number] = pool.submit(_read_block, source, f"{folder}/{file.name}", file, number)
            data = bytearray().join(held[number].result() for number in some)
            skipped = some.start * BLOCK
            yield data[begin - skipped : end - skipped]


def _read_block(source: Source, name: str, file: DataFile, number: int) -> bytes:
    size = min(BLOCK, file.size - number * BLOCK)
    data: bytes = Retrying(**patience(ATTEMPTS))(source.read_range, name, number * BLOCK, size)
    if hashlib.sha256(data).hexdigest() != file.sha256[number]:
        raise damaged(source.url_of(name), f"bytes {number * BLOCK} to {number * BLOCK + size} are not what was saved")
    return data


def _header(tensors: Sequence[tuple[str, Sequence[int], Tensor]]) -> bytes:
    """Eight bytes of length, JSON, and spaces up to a multiple of eight bytes."""
    places = {name: {"saved_offsets": list(offsets)} for name, offsets, _ in tensors}
    tree: dict[str, object] = {
        "__metadata__": {"DCP_SHARDING_INFO": json.dumps(places), "DCP_VERSION": "1.0", "format": "pt"}
    }
    at = 0
    for name, _, tensor in tensors:
        size = tensor.numel() * tensor.itemsize
        tree[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _piece(file: DataFile, entry: _Entry, offsets: list[int]) -> Piece:
    dtype = _DTYPES.get(entry.dtype)
    begin, end = (file.header + at for at in entry.data_offsets)
    if dtype is None or len(offsets) != len(entry.shape):
        raise ValueError(f"a tensor of {entry.dtype} {entry.shape} at {offsets} is none")
    if not file.header <= begin <= end <= file.size or end - begin != math.prod(entry.shape) * dtype.itemsize:
        raise ValueError(f"a tensor of {entry.dtype} {entry.shape} is not at {entry.data_offsets}")
    return Piece(file.name, dtype, tuple(offsets), tuple(entry.shape), begin)


class _Hashed:
    """Bytes on their way to a file, hashed in blocks."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self._hash = hashlib.sha256()
        self._done: list[str] = []
        self.size = 0

    def write(self, data: memoryview) -> None:
        while data:
            part = data[: BLOCK - self.size % BLOCK]
            self._hash.update(part)
            self._out.write(part)
            self.size += len(part)
            data = data[len(part) :]
            if self.size % BLOCK == 0:
                self._end_block()

    def done(self) -> list[str]:
        """The hashes, after the last byte."""
        if self.size % BLOCK:
            self._end_block()
        return self._done

    def _end_block(self) -> None:
        self._done.append(self._hash.hexdigest())
        self._hash = hashlib.sha256()
