"""The file of a plan: a magic, a header in JSON with its hash, and aligned arrays that are mapped, never read whole."""

from __future__ import annotations

import hashlib
import mmap
import operator
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from training.errors import DamageError
from training.streaming.config import TASKS, Task
from training.streaming.jobs import Draw

MAGIC = b"ACETPLAN"
MAX_HEAD = 2**24
ALIGNMENT = 64
_FIXED = struct.Struct("<8sQ32s")
_LAYOUT = (("starts", "<u4"), ("rows", "<u4"), ("tokens", "<u4"), ("partitions", "<i2"), ("tasks", "i1"))


class PlanFileError(Exception):
    """A file that is no whole plan of these inputs."""


class Summary(BaseModel):
    """An epoch in numbers.

    ``samples`` are in it, ``ineligible`` ones of the split are not, as no task with weight can use them.
    ``scaled_down``: samples whose canvas is too large at the resolution. ``over_budget``: those alone as they have
    more tokens than the budget. ``useful_share``: of the tokens that the micro-batches have room for.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    samples: int
    ineligible: int
    scaled_down: int
    over_budget: int
    micro_batches: int
    tokens: int
    useful_share: float
    samples_by_task: dict[Task, int]
    tokens_by_task: dict[Task, int]


class Head(BaseModel):
    """The header: the hash of what the plan was made from, the index's parts with their rows, the summary.

    ``window``: samples of the largest window. ``checksum``: of the arrays, set when they are written.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    inputs: str
    parts: tuple[tuple[str, int], ...]
    summary: Summary
    window: int = Field(ge=0)
    checksum: int = 0


class Plan:
    """The micro-batches of an epoch by position.

    ``summary`` has it in numbers; ``parts`` are the index's files; ``window``: samples of the largest window.
    """

    def __init__(self, path: Path, head: Head, arrays: dict[str, npt.NDArray[Any]]) -> None:
        self.path, self._head = path, head
        self.summary, self.parts, self.window = head.summary, head.parts, head.window
        self.starts, self.rows, self.tokens = arrays["starts"], arrays["rows"], arrays["tokens"]
        self.partitions, self.tasks = arrays["partitions"], arrays["tasks"]
        self._samples, self._index_rows = len(self.rows), sum(rows for _, rows in head.parts)

    def __reduce__(self) -> tuple[Any, tuple[Path, str]]:
        return read_plan, (self.path, self._head.inputs)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, position: int) -> tuple[Draw, ...]:
        """The samples of a micro-batch. Raises IndexError; DamageError: the file was damaged after it was made."""
        position = operator.index(position)
        if not 0 <= position < len(self):
            raise IndexError(f"micro-batch {position} of {len(self)}")
        start, end = self.starts[position : position + 2].tolist()
        rows, tasks = self.rows[start:end].tolist(), self.tasks[start:end].tolist()
        whole = start < end <= self._samples and max(rows) < self._index_rows
        if not whole or min(tasks) < 0 or max(tasks) >= len(TASKS):
            raise DamageError(f"{self.path} is damaged: remove it, and it is made anew")
        partitions, tokens = self.partitions[start:end].tolist(), self.tokens[start:end].tolist()
        return tuple(map(Draw, rows, [TASKS[task] for task in tasks], partitions, tokens))


def write_plan(path: Path, head: Head, *arrays: npt.NDArray[Any]) -> None:
    """Write the header and the arrays: starts [M + 1], rows, tokens, partitions and tasks [N]."""
    columns = [np.ascontiguousarray(array, dtype) for (_, dtype), array in zip(_LAYOUT, arrays, strict=True)]
    text = head.model_copy(update={"checksum": _checksum(columns)}).model_dump_json().encode()
    with path.open("xb") as out:
        out.write(_FIXED.pack(MAGIC, len(text), hashlib.sha256(text).digest()) + text)
        for column in columns:
            out.write(bytes(-out.tell() % ALIGNMENT))
            column.tofile(out)


def read_plan(path: Path, inputs: str) -> Plan:
    """Map the plan that was made from ``inputs``, all of which is checked before: 0.1 s for ten million samples.

    Raises:
        FileNotFoundError: there is none. PlanFileError: it is damaged or of other inputs.
    """
    with path.open("rb") as stream:
        fixed = stream.read(_FIXED.size)
        if len(fixed) < _FIXED.size:
            raise PlanFileError("it is cut off")
        magic, size, digest = _FIXED.unpack(fixed)
        if magic != MAGIC or size > MAX_HEAD:
            raise PlanFileError("it is no plan")
        text = stream.read(size)
        if hashlib.sha256(text).digest() != digest:
            raise PlanFileError("its header is damaged")
        try:
            head = Head.model_validate_json(text)
        except ValidationError as error:
            raise PlanFileError(f"its header has {error.error_count()} errors") from None
        if head.inputs != inputs:
            raise PlanFileError("it is of other inputs")
        places, end = _places(head.summary, _FIXED.size + size)
        if stream.seek(0, 2) != end:
            raise PlanFileError("it is cut off or too long")
        mapped = mmap.mmap(stream.fileno(), end, access=mmap.ACCESS_READ)
    arrays = {name: np.frombuffer(mapped, dtype, count, at) for name, (dtype, count, at) in places.items()}
    if _checksum(arrays.values()) != head.checksum:
        raise PlanFileError("its arrays are damaged")
    if int(arrays["starts"][0]) != 0 or int(arrays["starts"][-1]) != head.summary.samples:
        raise PlanFileError("its micro-batches are not those of its samples")
    return Plan(path, head, arrays)


def _checksum(arrays: Iterable[npt.NDArray[Any]]) -> int:
    value = 0
    for array in arrays:
        value = zlib.crc32(array.data, value)
    return value


def _places(summary: Summary, at: int) -> tuple[dict[str, tuple[str, int, int]], int]:
    """Type, length and byte offset of each array, and where the file ends."""
    if not 0 <= summary.micro_batches <= summary.samples < 2**32:
        raise PlanFileError("its counts are impossible")
    out = {}
    for name, dtype in _LAYOUT:
        count = summary.micro_batches + 1 if name == "starts" else summary.samples
        at += -at % ALIGNMENT
        out[name] = dtype, count, at
        at += count * np.dtype(dtype).itemsize
    return out, at
