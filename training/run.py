"""A run: its folder, its model and what moves it, its checkpoints, and what is done between two steps."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml
from rich.console import Console
from torch import Tensor

from model.codecs.base import LayerCodec
from model.codecs.pca import PcaCodec
from training.average import Average
from training.checkpoint import Checkpoints
from training.config import TrainConfig
from training.errors import UsageError
from training.examples import prepare
from training.export import export
from training.learner import Learner
from training.lora import add_lora
from training.models import build, fit_codec, open_codec
from training.noise import draw_noise
from training.optimiser import Optimiser
from training.outputs import Output
from training.parallel import World, shard, share_folder, together, total
from training.progress import RunProgress
from training.run_folder import RunFolder
from training.sampled import Sampler
from training.sheet import sheet_of
from training.steps import Fetched, Report, Stepper
from training.stream import DesignStream
from training.validation import FixedDesigns, Validation
from training.watch import Watch, of_step
from training.watchdog import Watchdog

log = logging.getLogger(__name__)

CODEC, MODEL = "codec", "model"
"""The folders of a run that hold the codec that was fitted for it, and what was trained."""


class Place(NamedTuple):
    """Where a run goes on: ``step`` steps of a ``stage`` are done, and its stream is at ``state`` (None: not begun)."""

    stage: int = 0
    step: int = 0
    stream: dict[str, Any] | None = None


@dataclass(eq=False)
class Stage:
    """A part of a run with settings of its own, of which ``step`` steps are done.

    ``shown``: the designs of the sheets, the same on all ranks.
    """

    number: int
    name: str
    config: TrainConfig
    stream: DesignStream
    stepper: Stepper
    shown: FixedDesigns
    validation: Validation
    progress: RunProgress
    step: int

    @property
    def steps(self) -> int:
        return self.config.run.steps


class Run:
    """All parts of a run on one rank. ``step``: of all stages together.

    Made by ``opened``; goes on from the last checkpoint of its folder where there is one.
    """

    def __init__(self, config: TrainConfig, world: World, stack: ExitStack) -> None:
        self.config, self.world, self._stack = config, world, stack
        self._output = Output(config.run.out, config.run.storage_options)
        self._checkpoints = Checkpoints(
            config.run.out,
            config.checkpoint,
            rank=world.rank,
            world_size=world.size,
            storage_options=config.run.storage_options,
        )
        stack.callback(self._checkpoints.close)
        self._latest = self._checkpoints.latest()
        self._folder = self._begun_folder()
        self.watchdog = stack.enter_context(Watchdog(config.run.hang, world))
        self.learner = self._new_learner()
        self.average = Average(self.learner, config.average)
        self._optimiser = Optimiser(self.learner, config.optimiser, config.run.steps)
        self.step, self._place = 0, Place()
        if self._latest is not None:
            self._place = Place(**self._checkpoints.load(self._latest, self._tensors()))
            self.step = self._latest.step
            log.info("goes on from step %d", self.step)
        self._saved = (self.step, self._place.stage)
        step = self._latest.step if self._latest else None
        self.watch = Watch(self._folder, config.watch, world.rank, step=step)
        stack.callback(self.watch.close)

    def stages(self) -> Iterator[Stage]:
        """The stages that are left, each once the one before is done."""
        for number, (name, config) in enumerate(self.config.staged()):
            if number >= self._place.stage:
                with self._stage(number, name, config) as stage:
                    yield stage

    def after(self, stage: Stage, fetched: Fetched, report: Report) -> None:
        """What follows a step: averages, figures, validation, samples, a checkpoint, each when it is due."""
        watch = self.config.watch
        self.average.update(self.step)
        lr = stage.config.optimiser.lr_at(stage.step, stage.steps)
        self.step, stage.step = self.step + 1, stage.step + 1
        self._place = Place(stage.number, stage.step, fetched.state)
        stage.progress.step(stage.step, loss=report.loss, tokens=report.tokens, waited=fetched.waited, lr=lr)
        if self._due(watch.log_every):
            self.watch.scalars(self.step, of_step(report, lr=lr, pace=stage.progress.meter.pace))
        if self._due(watch.validate_every):
            self._validate(stage)
        if self._due(watch.samples_every):
            self._samples(stage)
        if self._due(self.config.checkpoint.every):
            self.save()
        self.watchdog.beat(f"step {self.step + 1}")

    def finish(self, stage: Stage) -> None:
        """The end of a stage: the model is written, and the next stage is where a run goes on."""
        self._place = Place(stage.number + 1)
        self.save()
        self.watchdog.beat("export")
        with self.average.swapped():
            export(self.learner, self._output, MODEL, self.world)

    def save(self) -> None:
        """Save a checkpoint in the background, unless the last is of this step and stage."""
        now = (self.step, self._place.stage)
        if now != self._saved:
            self.watchdog.beat("save a checkpoint")
            self._checkpoints.save(self.step, self._tensors(), self._place._asdict())
            self._saved = now
            self.watch.flush()
            if self.world.rank == 0:
                self._folder.upload()

    def _due(self, every: int) -> bool:
        return every > 0 and self.step % every == 0

    def _tensors(self) -> dict[str, Tensor]:
        weights = {name: value.detach() for name, value in self.learner.trained()}
        parts = {"weights": weights, "average": self.average.tensors(), "optimiser": self._optimiser.tensors()}
        return {f"{part}.{name}": value for part, some in parts.items() for name, value in some.items()}

    @contextmanager
    def _stage(self, number: int, name: str, config: TrainConfig) -> Iterator[Stage]:
        """A stage at its place, with everything that it has for itself."""
        settings = config.data.stream_settings(self.learner.codec.token_px, seed=config.run.seed)
        stream = DesignStream(**settings, rank=self.world.rank, world_size=self.world.size)
        here = self._place if number == self._place.stage else Place(number)
        if here.stream is not None:
            stream.load_state_dict(here.stream)
        self._optimiser.configure(config.optimiser, config.run.steps)
        prepared = partial(
            prepare,
            codec=self.learner.codec,
            config=config.examples,
            seed=config.run.seed,
            device=self.world.device,
            variant=config.model.variant,
        )
        of = config.validation
        as_it_is = partial(prepared, evaluation=True)
        fixed = partial(FixedDesigns, settings, as_it_is, split=of.split, seed=of.seed)
        validation = Validation(
            fixed(rank=self.world.rank, size=self.world.size),
            of,
            total=partial(total, world=self.world),
            together=partial(together, world=self.world),
        )
        noise = partial(draw_noise, config=config.noise, seed=config.run.seed)
        stepper = Stepper(self.learner, self._optimiser, self.world, prepared, noise)
        console = Console(stderr=True, quiet=self.world.rank != 0)
        with RunProgress(console, name, config.run.steps, done=here.step) as progress:
            yield Stage(number, name, config, stream, stepper, fixed(), validation, progress, here.step)

    def _validate(self, stage: Stage) -> None:
        self.watchdog.beat("validate")
        with self.average.swapped():
            found = stage.validation(self.learner)
        self.watch.scalars(self.step, found.scalars())
        log.info("step %d: validation %s", self.step, ", ".join(f"{t} {v:.4f}" for t, v in found.means.items()))
        stage.progress.meter.pause()

    def _samples(self, stage: Stage) -> None:
        """A sheet for each task, by all ranks together and kept by the first."""
        with self.average.swapped():
            for task in stage.shown.tasks:
                self.watchdog.beat(f"sample {task}")
                designs = self.config.watch.sample_designs
                examples = together(partial(stage.shown.examples, task, designs), self.world)
                sheet = sheet_of(self.learner, examples, Sampler(seed=self.config.run.seed), designs)
                self.watch.image(self.step, f"samples/{task}", np.asarray(sheet))
        stage.progress.meter.pause()

    def _begun_folder(self) -> RunFolder:
        """The folder, begun by the first rank."""
        folder = RunFolder(self.config.run.out, self.config.run.storage_options)
        if self.world.rank == 0:
            self._stack.callback(folder.close)
        text = yaml.safe_dump(self.config.model_dump(mode="json", exclude_unset=True), sort_keys=False)
        facts = {"dataset": self.config.data.dataset}
        resume = self._latest is not None
        together(lambda: folder.open(text, facts, resume=resume) if self.world.rank == 0 else None, self.world)
        return folder

    def _new_learner(self) -> Learner:
        config, device = self.config, self.world.device
        codec = together(lambda: open_codec(config.model, device), self.world) or self._fitted_codec()
        bundle = together(lambda: build(config.model, codec, config.run.seed, device), self.world)
        learner = Learner(bundle)
        if config.model.lora is not None:
            add_lora(learner, config.model.lora, config.run.seed)
        dtype = getattr(torch, config.run.dtype)
        shard(learner, self.world, dtype=dtype, checkpointing=config.run.checkpointing)
        return learner

    def _fitted_codec(self) -> LayerCodec | None:
        """The codec of this run's folder, fitted by the first rank where there is none; None: the checkpoint's."""
        if self.config.model.has_codec:
            return None
        with tempfile.TemporaryDirectory(prefix="acetate-codec-") as temporary:
            folder = Path(temporary)
            if self.world.rank == 0:
                together(lambda: self._fit(folder), self.world)
            else:
                together(lambda: None, self.world)
            return PcaCodec.load(share_folder(folder, self.world))

    def _fit(self, folder: Path) -> None:
        names = self._output.sizes(CODEC)
        if not names:
            self.watchdog.beat("fit the codec")
            settings = self.config.staged()[0][1].data.stream_settings(1, seed=self.config.run.seed)
            fit_codec(self.config.model.codec, settings, self.world.device).save(folder)
            for path in sorted(folder.iterdir()):
                self._output.write(f"{CODEC}/{path.name}", path.read_bytes())
        for name in names:
            (folder / name).write_bytes(self._output.source.read(f"{CODEC}/{name}"))


@contextmanager
def opened(config: TrainConfig, world: World) -> Iterator[Run]:
    """A run; what it holds is let go of at the end.

    Raises:
        TrainingError: a setting does not fit, the folder holds another run, or a store refuses.
    """
    if config.run.micro_batches % world.size:
        raise UsageError(
            f"run.micro_batches is {config.run.micro_batches}, which {world.size} processes cannot share evenly: "
            f"set it to a multiple of {world.size}"
        )
    with ExitStack() as stack:
        yield Run(config, world, stack)
