"""What a run writes down of itself, by step: scalars and pictures, to TensorBoard, files and Weights & Biases."""

from __future__ import annotations

import importlib
import io
import json
import math
import os
import socket
import time
import uuid
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import Field
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard import summary

from schemas.settings import Section
from training.errors import UsageError
from training.outputs import Output, writing
from training.progress import Pace
from training.run_folder import METRICS, SAMPLES, TENSORBOARD, RunFolder
from training.sheet import MAX_ROWS

if TYPE_CHECKING:
    from training.steps import Report

Picture = npt.NDArray[np.uint8]
Steps = Annotated[int, Field(ge=0)]

WANDB_ID = "wandb.txt"


class WatchConfig(Section):
    """Steps between two writings; 0: never. ``log_every``: scalars of training. ``validate_every``: validation.

    ``samples_every``: sheets of ``sample_designs`` designs a task. ``tensorboard``: write its files. ``curve``: write
    ``metrics.jsonl``. ``wandb``: the project of Weights & Biases to report to.
    """

    log_every: Steps = 10
    validate_every: Steps = 500
    samples_every: Steps = 1000
    sample_designs: Annotated[int, Field(ge=1, le=MAX_ROWS)] = 8
    tensorboard: bool = True
    curve: bool = True
    wandb: Annotated[str, Field(min_length=1)] | None = None


class Watch:
    """Writes what the first rank gives it; on the others every call does nothing.

    ``step``: of the checkpoint that the run goes on from, None where it begins. What was written of later steps is
    taken back, so that nothing is there twice.

    Raises:
        UsageError: a package that the configuration wants is not installed.
        TrainingError: a file cannot be written; so of every call.
    """

    def __init__(self, folder: RunFolder, config: WatchConfig, rank: int = 0, *, step: int | None = None) -> None:
        self._sinks: list[_Sink] = []
        if rank != 0:
            return
        if config.wandb is not None:
            self._sinks.append(_Wandb(config.wandb, folder, goes_on=step is not None))
        if config.tensorboard:
            self._sinks.append(_Board(folder.local / TENSORBOARD, step))
        if config.curve:
            self._sinks.append(_Curve(folder.growing(METRICS, resume=step is not None), step))
        self._sinks.append(_Files(folder.output))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers by name, after ``step`` steps. One that is not finite is null in the JSON."""
        for sink in self._sinks:
            sink.scalars(step, values)

    def image(self, step: int, name: str, picture: Picture) -> None:
        """A picture, uint8 [height, width, 3], after ``step`` steps; a PNG of it joins the run's samples."""
        for sink in self._sinks:
            sink.image(step, name, picture)

    def close(self) -> None:
        """End everything; it may be called twice."""
        with ExitStack() as stack:
            while self._sinks:
                stack.callback(self._sinks.pop().close)


def of_step(report: Report, *, lr: float, pace: Pace) -> dict[str, float]:
    """The scalars of a step: losses of all tasks together and of each, the gradient's norm before it was clipped."""
    return {
        "loss": report.loss,
        **{f"loss/{task}": loss for task, loss in report.losses.items()},
        "gradient_norm": report.norm,
        "learning_rate": lr,
        "tokens": float(report.tokens),
        "target_tokens": float(report.targets),
        "designs": float(report.designs),
        "steps_per_second": pace.steps,
        "tokens_per_second": pace.tokens,
        "data_wait": pace.wait,
    }


class _Sink(Protocol):
    def scalars(self, step: int, values: Mapping[str, float]) -> None: ...
    def image(self, step: int, name: str, picture: Picture) -> None: ...
    def close(self) -> None: ...


class _Board:
    """TensorBoard reads all files of a folder; this one begins by purging the steps that will come again.

    Written as they come: the threads of TensorBoard's own writers end in a traceback where the disk is full.
    """

    def __init__(self, folder: Path, step: int | None) -> None:
        seconds, rest = divmod(time.time_ns(), 10**9)  # files are read in the order of their names
        self._path = folder / f"events.out.tfevents.{seconds:010}.{rest:09}.{socket.gethostname()}.{os.getpid()}"
        first = 0 if step is None else step + 1
        with writing(self._path):
            folder.mkdir(parents=True, exist_ok=True)
            self._records: Any = RecordWriter(self._path.open("wb"))
            self._write(file_version="brain.Event:2", step=first)
            self._write(session_log=SessionLog(status=SessionLog.START), step=first)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        with writing(self._path):
            for name, value in values.items():
                self._write(summary=summary.scalar(name, value), step=step)  # type: ignore[no-untyped-call]
            self._records.flush()

    def image(self, step: int, name: str, picture: Picture) -> None:
        with writing(self._path):
            found = summary.image(name, picture, dataformats="HWC")  # type: ignore[no-untyped-call]
            self._write(summary=found, step=step)
            self._records.flush()

    def close(self) -> None:
        with writing(self._path):
            self._records.close()

    def _write(self, **event: Any) -> None:
        self._records.write(Event(wall_time=time.time(), **event).SerializeToString())


class _Curve:
    """A line of JSON for each call; a line that a killed process left unfinished goes with what came after it."""

    def __init__(self, path: Path, step: int | None) -> None:
        self._path = path
        with writing(path):
            if step is not None and path.is_file():
                kept = [line for line in path.read_text(encoding="utf-8").splitlines() if _is_until(line, step)]
                temporary = path.with_name(f".tmp-{uuid.uuid4().hex}-{path.name}")
                temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
                temporary.replace(path)
            self._out = path.open("a", encoding="utf-8")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        with writing(self._path):
            self._out.write(json.dumps({"step": step, **finite}, allow_nan=False) + "\n")
            self._out.flush()

    def image(self, step: int, name: str, picture: Picture) -> None:
        """A curve has no pictures."""

    def close(self) -> None:
        with writing(self._path):
            self._out.close()


class _Files:
    """Pictures as PNG files of the run."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """These files have no scalars."""

    def image(self, step: int, name: str, picture: Picture) -> None:
        png = io.BytesIO()
        Image.fromarray(picture).save(png, "PNG")
        self._output.write(f"{SAMPLES}/step-{step:08}-{name.replace('/', '-')}.png", png.getvalue())

    def close(self) -> None:
        """No file stays open."""


class _Wandb:
    """A run of Weights & Biases, which goes on under the identity that the run's folder keeps."""

    def __init__(self, project: str, folder: RunFolder, *, goes_on: bool) -> None:
        try:
            wandb: Any = importlib.import_module("wandb")
        except ImportError:
            raise UsageError(
                "watch.wandb needs a package that is not installed: pip install wandb, or leave watch.wandb out"
            ) from None
        self._wandb = wandb
        known = folder.read(WANDB_ID) if goes_on else None
        identity = known.decode().strip() if known else uuid.uuid4().hex[:8]
        folder.output.write(WANDB_ID, f"{identity}\n".encode())
        self._run: Any = wandb.init(project=project, id=identity, resume="allow", dir=str(folder.local))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def image(self, step: int, name: str, picture: Picture) -> None:
        self._run.log({name: self._wandb.Image(picture)}, step=step)

    def close(self) -> None:
        self._run.finish()


def _is_until(line: str, step: int) -> bool:
    try:
        return bool(json.loads(line)["step"] <= step)
    except (ValueError, KeyError, TypeError):
        return False
