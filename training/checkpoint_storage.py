"""What ``torch.distributed.checkpoint`` writes to and reads from: data files on any store, without a pickle.

The writers that come with it end with a pickled ``.metadata``, and their readers unpickle it; the one for safetensors
reads local files alone. These two implement the same public interfaces, of which they use what is needed: who writes
and who reads which part of which tensor is for its planners to say.
"""

from __future__ import annotations

import dataclasses
import math
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    StorageMeta,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.planner import LoadPlan, LoadPlanner, ReadItem, SavePlan, SavePlanner
from torch.distributed.checkpoint.storage import StorageReader, StorageWriter, WriteResult
from torch.futures import Future

from training.checkpoint_files import DataFile, Piece, read_header, read_spans, write_file
from training.outputs import Output
from training.streaming.source import Source


class Planner(DefaultSavePlanner):
    """Who writes what of ``{TENSORS: {name: tensor}}``.

    ``async_save`` looks at every key of what it is given and logs it, in the time of the training loop: more than the
    copies of a small model take. So it is given one key, which the names of the tensors are to be without.
    """

    TENSORS = "tensors"

    def set_up_planner(
        self, state_dict: dict[str, Any], storage_meta: StorageMeta | None = None, is_coordinator: bool = False
    ) -> None:
        super().set_up_planner(state_dict[self.TENSORS], storage_meta, is_coordinator)


class Writer(StorageWriter):
    """One data file of this rank, and ``commit`` with the folder and all files when every rank has written its own.

    ``folder`` without its last eight digits: the first rank draws them and the plans carry them to the others.
    """

    def __init__(
        self, output: Output, folder: str, rank: int, commit: Callable[[str, Sequence[DataFile]], None]
    ) -> None:
        self._output, self._folder, self._rank, self._commit = output, folder, rank, commit

    def reset(self, checkpoint_id: Any = None) -> None:
        """Nothing is kept between saves: a writer is for one."""

    def set_up_storage_writer(self, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:
        """Nothing is needed before the plans."""

    def prepare_local_plan(self, plan: SavePlan) -> SavePlan:
        return plan

    def prepare_global_plan(self, plans: list[SavePlan]) -> list[SavePlan]:
        self._folder += uuid.uuid4().hex[:8]
        return [dataclasses.replace(plan, storage_data=self._folder) for plan in plans]

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        name = f"rank-{self._rank:05}.safetensors"
        written = []
        if plan.items:
            with self._output.stream(f"{plan.storage_data}/{name}") as out:
                tensors = [
                    (item.index.fqn, item.index.offset or (), _tensor(planner.resolve_data(item)))
                    for item in plan.items
                ]
                file = write_file(out, name, tensors)
            written = [WriteResult(MetadataIndex(name), file.size, file)]
        return _done(written)

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        self._commit(self._folder, [each.storage_data for some in results for each in some])

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: Any) -> bool:
        return False  # never found by an identifier, always given


class Table(NamedTuple):
    """What a checkpoint holds: each tensor by name, and each piece by the name of its tensor and its place there."""

    tensors: dict[str, TensorStorageMetadata]
    pieces: dict[MetadataIndex, Piece]


def read_table(source: Source, folder: str, files: Sequence[DataFile]) -> Table:
    """What the headers of the files say.

    Raises:
        ValueError: a header is damaged, or the pieces of a tensor are not all there.
        UsageError, ReadError: see ``read_spans``.
    """
    found: dict[str, list[Piece]] = defaultdict(list)
    for file in files:
        [data] = read_spans(source, folder, file, [(0, file.header)])
        for name, piece in read_header(file, data).items():
            found[name].append(piece)
    pieces = {MetadataIndex(name, piece.offsets): piece for name, some in found.items() for piece in some}
    return Table({name: _whole(name, some) for name, some in found.items()}, pieces)


class Reader(StorageReader):
    """Fills tensors from the pieces of a table, of which only the rows that are needed are read."""

    def __init__(self, source: Source, folder: str, files: Sequence[DataFile], table: Table) -> None:
        self._source, self._folder, self._table = source, folder, table
        self._files = {file.name: file for file in files}

    def reset(self, checkpoint_id: Any = None) -> None:
        """Nothing is kept between loads: a reader is for one."""

    def read_metadata(self) -> Metadata:
        return Metadata(dict(self._table.tensors))

    def set_up_storage_reader(self, metadata: Metadata, is_coordinator: bool) -> None:
        """The table says all."""

    def prepare_local_plan(self, plan: LoadPlan) -> LoadPlan:
        return plan

    def prepare_global_plan(self, plans: list[LoadPlan]) -> list[LoadPlan]:
        return plans

    def read_data(self, plan: LoadPlan, planner: LoadPlanner) -> Future[None]:
        wanted: dict[str, list[tuple[tuple[int, int], ReadItem, Piece]]] = defaultdict(list)
        for item in plan.items:
            piece = self._table.pieces[item.storage_index]
            wanted[piece.file].append((_span(piece, item), item, piece))
        for name, some in wanted.items():
            some.sort(key=lambda each: each[0])
            spans = read_spans(self._source, self._folder, self._files[name], [span for span, _, _ in some])
            for data, (_, item, piece) in zip(spans, some, strict=True):
                target = planner.resolve_tensor(item).detach()
                target.copy_(_part(data, piece, item))
                planner.commit_tensor(item, target)
        return _done(None)

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: Any) -> bool:
        return False  # never found by an identifier, always given


def differences(saved: Mapping[str, TensorStorageMetadata], tensors: Mapping[str, Tensor]) -> list[str]:
    """How the tensors of a checkpoint differ from those that are to be filled, each in a few words."""
    out = [f"it has no {name}" for name in sorted(tensors.keys() - saved.keys())]
    out += [f"its {name} has no place here" for name in sorted(saved.keys() - tensors.keys())]
    for name in sorted(tensors.keys() & saved.keys()):
        there, here = saved[name], tensors[name]
        if there.size != here.shape or there.properties.dtype != here.dtype:
            kinds = (_kind(there.properties.dtype, there.size), _kind(here.dtype, here.shape))
            out.append(f"its {name} is {kinds[0]}, here it is {kinds[1]}")
    return out


def _kind(dtype: torch.dtype, shape: torch.Size) -> str:
    return f"{str(dtype).removeprefix('torch.')} {list(shape)}"


def _tensor(data: object) -> Tensor:
    if not isinstance(data, Tensor):
        raise TypeError(f"a checkpoint holds tensors, not {type(data).__name__}")
    return data


def _whole(name: str, pieces: Sequence[Piece]) -> TensorStorageMetadata:
    """A tensor that its pieces fill."""
    if len({(piece.dtype, len(piece.shape)) for piece in pieces}) > 1:
        raise ValueError(f"the pieces of {name} are of several kinds")
    ends = [[at + side for at, side in zip(piece.offsets, piece.shape, strict=True)] for piece in pieces]
    size = torch.Size(max(sides) for sides in zip(*ends, strict=True))
    volumes = {piece.offsets: math.prod(piece.shape) for piece in pieces if math.prod(piece.shape)}
    if sum(volumes.values()) != math.prod(size):
        raise ValueError(f"the pieces of {name} do not make it whole")
    chunks = [ChunkStorageMetadata(torch.Size(piece.offsets), torch.Size(piece.shape)) for piece in pieces]
    return TensorStorageMetadata(TensorProperties(dtype=pieces[0].dtype), size, chunks)


def _span(piece: Piece, item: ReadItem) -> tuple[int, int]:
    """The bytes of the rows of a piece that hold what is asked for."""
    if not piece.shape:
        return piece.begin, piece.begin + piece.dtype.itemsize
    row = math.prod(piece.shape[1:]) * piece.dtype.itemsize
    first = item.storage_offsets[0]
    return piece.begin + first * row, piece.begin + (first + item.lengths[0]) * row


def _part(data: bytearray, piece: Piece, item: ReadItem) -> Tensor:
    """What is asked for, from the bytes of its rows."""
    rows = torch.frombuffer(data, dtype=piece.dtype)
    if not piece.shape:
        return rows.view(())
    rows = rows.view(item.lengths[0], *piece.shape[1:])
    for dim in range(1, len(piece.shape)):
        rows = rows.narrow(dim, item.storage_offsets[dim], item.lengths[dim])
    return rows


def _done(value: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(value)
    return future
