"""Checkpoints of a run: saved in the background, whole or not at all, loaded at any world size.

    <run>/checkpoints/step-00001234-89abcdef/
        rank-00000.safetensors ...   the tensors, one file for each rank that wrote some
        state.json                   facts, files, hashes; written last, so that a folder without it is no checkpoint

Who writes and reads what is ``torch.distributed.checkpoint``'s; no pickle is ever read from storage.
"""

from __future__ import annotations

import json
import logging
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import torch.distributed as dist
from pydantic import Field
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import async_save

from schemas.settings import Section
from training.checkpoint_files import DataFile, damaged
from training.checkpoint_storage import Planner, Reader, Table, Writer, differences, read_table
from training.errors import TrainingError, UsageError
from training.outputs import Output
from training.parallel import peers
from training.streaming.source import MissingError

FOLDER = "checkpoints"
STATE = "state.json"
STATE_LIMIT = 64 * 2**20
"""Bytes that are read of a ``state.json``."""

_NAME = re.compile(r"step-(\d{8,12})-[0-9a-f]{8}")
_log = logging.getLogger(__name__)
T = TypeVar("T")


class CheckpointConfig(Section):
    """``every``: steps between two checkpoints, 0: at the end alone. ``keep``: how many of the newest are kept.

    ``keep_every``: those of every so many steps are kept for good; 0: none are.
    """

    every: Annotated[int, Field(ge=0)] = 1000
    keep: Annotated[int, Field(ge=1)] = 2
    keep_every: Annotated[int, Field(ge=0)] = 0


class Saved(NamedTuple):
    """A checkpoint that is whole: its ``step``, and the ``name`` of its folder."""

    step: int
    name: str


class _State(Section):
    format: Literal[1] = 1
    step: Annotated[int, Field(ge=0)]
    world_size: Annotated[int, Field(ge=1)]
    files: list[DataFile]
    facts: dict[str, Any]


class Checkpoints:
    """The checkpoints of the run in ``url``, of all ranks together: each of them makes every call but ``close``.

    Raises:
        UsageError: unknown protocol, or its package is not installed.
    """

    def __init__(
        self,
        url: str,
        config: CheckpointConfig,
        *,
        rank: int,
        world_size: int,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        self._output = Output(url, storage_options)
        self._config, self._rank, self._world_size = config, rank, world_size
        self._saving: Future[Any] | None = None
        # A group of its own: the background must not come between the collectives of a step.
        together = world_size > 1 or dist.is_initialized()
        self._group = dist.new_group(backend="gloo") if together else None
        if self._group is None:
            warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)

    def save(self, step: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Copy the tensors and begin to write them, with the facts of rank 0.

        A tensor that is no DTensor is the same on all ranks. ``facts`` are JSON without NaN.

        Raises:
            TrainingError: the save before this one failed.
        """
        self.wait()
        state = json.dumps({"step": step, "world_size": self._world_size, "facts": facts}, allow_nan=False)

        def commit(folder: str, files: Sequence[DataFile]) -> None:
            self._commit(folder, _State(**json.loads(state), files=list(files)))

        self._saving = async_save(  # type: ignore[assignment]  # a plain future with the stager it makes
            {Planner.TENSORS: dict(tensors)},
            planner=Planner(),
            storage_writer=Writer(self._output, f"{FOLDER}/step-{step:08}-", self._rank, commit),
            process_group=self._group,
            no_dist=self._group is None,
        )

    def wait(self) -> None:
        """Wait until what was saved is whole.

        Raises:
            TrainingError: it could not be written, by this rank or another; the checkpoint before it is still there.
        """
        saving, self._saving = self._saving, None
        if saving is not None:
            self._ran(saving.result, f"save a checkpoint to {self._output.source.shown}")

    def latest(self) -> Saved | None:
        """The whole checkpoint of the highest step.

        Raises:
            ReadError: the store does not answer.
            TrainingError: see ``wait``.
        """
        self.wait()
        return self._from_first(lambda: max(self._whole(), default=None))

    def load(self, saved: Saved, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
        """Fill the tensors in place, whatever number of ranks wrote them, and give the facts.

        Raises:
            UsageError: it is damaged, or has other tensors than these; in the latter case none was changed.
            ReadError: the store does not answer.
            TrainingError: see ``wait``.
        """
        self.wait()
        folder = f"{FOLDER}/{saved.name}"
        url = self._output.source.url_of(folder)
        state, table = self._from_first(lambda: self._read(folder))
        if found := differences(table.tensors, tensors):
            more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            raise UsageError(
                f"{url} is of another model: {found[0]}{more}; go on with the configuration it was made with, or give "
                "run.out another folder"
            )
        reader = Reader(self._output.source, folder, state.files, table)
        where = {"storage_reader": reader, "process_group": self._group, "no_dist": self._group is None}
        self._ran(lambda: load(dict(tensors), **where), f"load {url}")
        return state.facts

    def close(self) -> None:
        """Wait as ``wait`` does, and let go of what is held."""
        try:
            self.wait()
        finally:
            if self._group is not None:
                dist.destroy_process_group(self._group)
                self._group = None

    def _from_first(self, make: Callable[[], T]) -> T:
        """What rank 0 makes, or raises, on every rank."""
        made: list[Any] = [None, None]
        if self._rank == 0:
            try:
                made[0] = make()
            except TrainingError as error:
                made[1] = error
        if self._group is not None:
            dist.broadcast_object_list(made, src=0, group=self._group)
        if made[1] is not None:
            raise made[1]
        value: T = made[0]
        return value

    def _whole(self) -> list[Saved]:
        """Every checkpoint that is whole."""
        names = (name.split("/") for name in self._output.source.names(FOLDER, depth=2))
        folders = [parts[1] for parts in names if len(parts) == 3 and parts[2] == STATE]
        return [Saved(int(match[1]), name) for name in folders if (match := _NAME.fullmatch(name))]

    def _read(self, folder: str) -> tuple[_State, Table]:
        """The state of a checkpoint, and what its files hold, all of which are there."""
        source, url = self._output.source, self._output.source.url_of(folder)
        try:
            if source.size(f"{folder}/{STATE}") > STATE_LIMIT:
                raise damaged(url, f"{STATE} is too large")
            state = _State.model_validate_json(source.read(f"{folder}/{STATE}"))
            sizes = self._output.sizes(folder)
            for file in state.files:
                if sizes.get(file.name) != file.size:
                    raise damaged(url, f"{file.name} has {sizes.get(file.name, 0)} bytes of {file.size}")
            return state, read_table(source, folder, state.files)
        except MissingError:
            raise damaged(url, "a file is missing") from None
        except ValueError:  # also pydantic's, whose text has many lines
            raise damaged(url, f"{STATE} or a header is not as it was written") from None

    def _commit(self, folder: str, state: _State) -> None:
        """Make a checkpoint whole, in the background of rank 0, and remove those that it replaces."""
        sizes = self._output.sizes(folder)
        for file in state.files:
            if sizes.get(file.name) != file.size:
                raise TrainingError(
                    f"{self._output.source.url_of(folder)}/{file.name} was written and is not there; give run.out a "
                    "folder that all machines share"
                )
        self._output.write(f"{folder}/{STATE}", state.model_dump_json(indent=1).encode())
        try:
            self._clean(Saved(state.step, folder.rpartition("/")[2]))
        except TrainingError as error:  # what was saved is whole; the next save tries again
            _log.warning("old checkpoints are left: %s", error)

    def _clean(self, new: Saved) -> None:
        """Remove what the rule does not keep, and what a killed save left."""
        whole = sorted(saved for saved in self._whole() if saved == new or saved.step != new.step)
        kept = {new, *whole[-self._config.keep :]}
        if every := self._config.keep_every:
            kept |= {saved for saved in whole if saved.step % every == 0}
        names = {saved.name for saved in kept}
        for name in self._output.folders(FOLDER):
            if _NAME.fullmatch(name) and name not in names:
                self._output.remove(f"{FOLDER}/{name}/{STATE}")  # first, so that half of a checkpoint is none
                self._output.remove(f"{FOLDER}/{name}")

    def _ran(self, call: Callable[[], object], doing: str) -> None:
        """Call, and raise what went wrong on the first rank where something did, in one line."""
        try:
            with peers(self._rank):
                call()
        except CheckpointException as error:  # no Exception, and the text of every rank's traceback
            rank, (cause, _) = min(error.failures.items())
            if isinstance(cause, TrainingError):
                raise cause from error
            raise TrainingError(f"cannot {doing}: rank {rank}: {_line(cause)}") from error
        except (OSError, RuntimeError) as error:
            raise TrainingError(f"cannot {doing}: {_line(error)}") from error


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
