"""A run: its folder, its model and what moves it, its checkpoints, and what is done between two steps."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from model.codecs.base import LayerCodec
from model.codecs.pca import PcaCodec
from model.presets import preset
from training.average import Average
from training.config import TrainConfig
from training.errors import UsageError
from training.examples import TASKS_OF, prepare
from training.export import export, is_exported
from training.frozen import fingerprint
from training.learner import Learner
from training.lora import add_lora
from training.masking import shown
from training.models import build, fit_codec, open_codec
from training.noise import draw_noise
from training.optimiser import Optimiser
from training.parallel import World, by_first, shard, share_folder, share_of, together, total
from training.progress import RunProgress
from training.sampled import Sampler
from training.session import Session, named
from training.sheet import sheet_of
from training.steps import Fetched, Report, Stepper
from training.stream import DesignStream
from training.validation import FixedDesigns, Validation
from training.watch import of_step

log = logging.getLogger(__name__)

FROZEN = "frozen"
"""In the facts of a checkpoint: the fingerprint of what is not trained, and not in it."""

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


class Run(Session):
    """A training run on one rank. ``step``: of all stages together. Made by ``opened``."""

    def __init__(self, config: TrainConfig, world: World, stack: ExitStack) -> None:
        super().__init__(config, world, stack, partial(_check_data, config))
        self.config, self._place = config, Place()
        self.learner = self._new_learner()
        self.average = Average(self.learner, config.average)
        self._optimiser = Optimiser(self.learner, config.optimiser, config.run.steps)
        self.resume()

    def tensors(self) -> dict[str, Tensor]:
        """Weights, their averages and what the optimiser keeps of them."""
        weights = {name: value.detach() for name, value in self.learner.trained()}
        return named(weights=weights, average=self.average.tensors(), optimiser=self._optimiser.tensors())

    def facts(self) -> dict[str, Any]:
        """Where the run goes on, and over what."""
        return {**self._place._asdict(), FROZEN: self._frozen}

    def accept(self, facts: dict[str, Any]) -> None:
        """Go on from there. Raises UsageError: the run is over other weights."""
        by_first(partial(self._check_frozen, facts.pop(FROZEN, None)), self.world)
        self._place = Place(**facts)

    @property
    def mark(self) -> object:
        """A stage that is over is saved as the next one's beginning."""
        return self.step, self._place.stage

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
        if self.due(watch.log_every):
            self.scalars(of_step(report, lr=lr, pace=stage.progress.meter.pace))
        if self.due(watch.validate_every):
            self._validate(stage)
        if self.due(watch.samples_every):
            self._samples(stage)
        if self.due(self.config.checkpoint.every):
            self.save()
        self.watchdog.beat(f"step {self.step + 1}")

    def finish(self, stage: Stage) -> None:
        """The end of a stage: the model is written, and the next stage is where a run goes on.

        What is saved is still in this stage, so that a run that ends before the model is written does so when it goes
        on, and one that was given more steps makes them.
        """
        self.save()
        self.watchdog.beat("export")
        dtype = self.config.run.export_dtype
        place = {"stage": stage.number, "step": self.step, "dtype": dtype}
        if not is_exported(self.output, MODEL, self.world, place):
            with self.average.swapped():
                export(self.learner, self.output, MODEL, self.world, place, getattr(torch, dtype))
        elif stage.number + 1 >= len(self.config.stages):
            more = "add a stage, or steps to the last," if self.config.stages else "raise run.steps"
            log.info("the run of %d steps is finished; %s to go on", self.step, more)
        self._place = Place(stage.number + 1)

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
        held = FixedDesigns(
            settings, as_it_is, split=of.split, seed=of.seed, rank=self.world.rank, size=self.world.size
        )
        validation = Validation(
            held,
            of,
            total=partial(total, world=self.world),
            together=partial(together, world=self.world),
        )
        noise = partial(draw_noise, config=config.noise, seed=config.run.seed)
        stepper = Stepper(self.learner, self._optimiser, self.world, prepared, noise)
        with RunProgress(self.console, name, config.run.steps, done=here.step) as progress:
            yield Stage(number, name, config, stream, stepper, held.alone(), validation, progress, here.step)

    def _validate(self, stage: Stage) -> None:
        if not stage.shown.tasks:
            return
        self.watchdog.beat("validate")
        with self.average.swapped():
            found = stage.validation(self.learner)
        self.scalars(found.scalars())
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
                self.show(f"samples/{task}", partial(np.asarray, sheet))
        stage.progress.meter.pause()

    def _new_learner(self) -> Learner:
        config, device = self.config, self.world.device
        codec = together(lambda: open_codec(config.model, device), self.world) or self._fitted_codec()
        empty = self.world.rank > 0
        bundle = together(lambda: build(config.model, codec, config.run.seed, device, empty=empty), self.world)
        learner = Learner(replace(bundle, overflow=config.staged()[-1][1].examples.overflow))
        if config.model.lora is not None:
            add_lora(learner, config.model.lora, config.run.seed)
        self._frozen = None if empty else fingerprint(learner)
        dtype = getattr(torch, config.run.dtype)
        shard(learner, self.world, dtype=dtype, checkpointing=config.run.checkpointing)
        return learner

    def _check_frozen(self, known: str | None) -> None:
        if known is not None and known != self._frozen:
            raise UsageError(
                f"{shown(self.config.run.out)} holds a run over other weights: set model.weights, model.text and "
                "model.codec to those it began with, or run.out to another folder"
            )

    def _fitted_codec(self) -> LayerCodec | None:
        """The codec of this run's folder, fitted by the first rank where there is none; None: the checkpoint's."""
        if self.config.model.has_codec:
            return None
        with tempfile.TemporaryDirectory(prefix="acetate-codec-") as temporary:
            folder = Path(temporary)
            by_first(lambda: self._fit(folder), self.world)
            shared = share_folder(folder, self.world)
            try:
                return PcaCodec.load(shared)
            finally:
                if shared != folder:
                    shutil.rmtree(shared)

    def _fit(self, folder: Path) -> None:
        # What a run left that saved nothing may be of other settings, or not whole.
        names = self.output.sizes(CODEC) if self.goes_on else {}
        if not names:
            self.watchdog.beat("fit the codec")
            settings = self.config.staged()[0][1].data.stream_settings(1, seed=self.config.run.seed)
            fit_codec(self.config.model.codec, settings, self.world.device).save(folder)
            for path in sorted(folder.iterdir()):
                self.output.write(f"{CODEC}/{path.name}", path.read_bytes())
        for name in names:
            (folder / name).write_bytes(self.output.source.read(f"{CODEC}/{name}"))


def _check_data(config: TrainConfig) -> list[dict[str, str]]:
    """Before anything is loaded: each stage has designs, and some of every task that it is to learn.

    Gives URL and fingerprint of the datasets.

    Raises:
        UsageError: a task has none, or is none of the variant; there is no such dataset.
    """
    model, datasets = config.model, []
    fitted = (model.codec.kind or preset(model.preset).codec) == "pca"
    for name, stage in config.staged():
        settings = stage.data.stream_settings(
            model.codec.token_px if fitted else preset(model.preset).token_px, seed=stage.run.seed
        )
        stream = DesignStream(**settings)
        found = stream.plan().summary.samples_by_task
        dataset = {"url": stage.data.dataset, "fingerprint": stream.fingerprint}
        datasets += [] if dataset in datasets else [dataset]
        for task in (task for task, weight in stage.data.tasks.items() if weight):
            if task not in TASKS_OF[model.variant]:
                raise UsageError(
                    f"{name}: the variant {model.variant} does not know {task}: give weights in data.tasks to none but "
                    f"{', '.join(TASKS_OF[model.variant])}, or set model.variant"
                )
            if not found[task] and not len(DesignStream(**{**settings, "tasks": task}).plan()):
                raise UsageError(
                    f"{name}: the split {stage.data.split!r} of {shown(stage.data.dataset)} has no sample for {task}: "
                    "give it no weight in data.tasks"
                )
    return datasets


@contextmanager
def opened(config: TrainConfig, world: World) -> Iterator[Run]:
    """A run; what it holds is let go of at the end.

    Raises:
        TrainingError: a setting does not fit, the folder holds another run, or a store refuses.
    """
    share_of(config.run.micro_batches, world)  # before anything is written
    with ExitStack() as stack:
        yield Run(config, world, stack)
