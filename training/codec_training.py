"""Train a codec: ``python -m training.codec_training CONFIG.yaml [--set key=value]``, or ``acetate train-codec``.

The RGBA VAE of Qwen-Image-Layered, an RGBA decoder behind an RGB encoder, or the joint decoder of ART, on the layers of
designs. What was trained is written to ``codec`` in the folder of the run; a run that ended for any reason goes on from
its last checkpoint when the command is given again. Every rank has the whole codec; gradients are summed over ranks.
"""

from __future__ import annotations

import argparse
import logging
import math
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.codecs.joint import JointCodec
from model.codecs.vae import RgbaCodec, VaeCodec
from model.tasks import Task
from schemas.errors import SettingsError
from schemas.settings import parse_assignments
from training.average import Average
from training.batch import MicroBatch
from training.codec_config import CodecTrainConfig, load_config, open_codec
from training.codec_learner import CodecLearner, Layers, learner_of
from training.codec_losses import PARTS, Losses
from training.codec_measures import FirstDesigns, codec_sheet, latent_statistics, validate
from training.errors import NonFiniteError, TrainingError, UsageError
from training.interruption import Interruption
from training.optimiser import Optimiser
from training.outputs import Output
from training.parallel import World, agree, by_first, join, share_of, together, total
from training.progress import RunProgress
from training.session import Session, named
from training.steps import SHOWN, Fetched, fetched, tell_skipped
from training.stream import DesignStream
from training.watch import Picture

log = logging.getLogger(__name__)

CODEC = "codec"
"""The folder of a run that holds what was trained."""


def train_codec(config: CodecTrainConfig) -> bool:
    """Train from the beginning or from the last checkpoint. False: interrupted, and saved.

    Raises:
        TrainingError: see ``training.errors``; nothing is lost but the steps since the last checkpoint.
    """
    with join(config.run.device) as world, Interruption() as interruption, _opened(config, world) as run:
        interrupted = False
        with closing(fetched(run.stream, config.run.micro_batches, world)) as steps:
            while run.step < config.run.steps:
                some = together(lambda: next(steps), world)
                run.after(some, run.stepper(some.batches, run.step))
                if interrupted := interruption.wanted(world):
                    break
        tell_skipped(run.stream, world)
        if interrupted:
            run.save()
            log.info("interrupted after step %d, which is saved; give the command again to go on", run.step)
            return False
        run.finish()
    return True


@dataclass(frozen=True)
class CodecReport:
    """Of one step, over all ranks. ``parts``: of the loss, by name and before they are weighted; means over px."""

    loss: float
    parts: dict[str, float]
    tokens: int
    designs: int
    norm: float


@dataclass(frozen=True, eq=False)
class CodecStepper:
    """One step: pictures, losses, gradients, update; the same for every world size."""

    learner: CodecLearner
    optimiser: Optimiser
    config: CodecTrainConfig
    world: World

    def __call__(self, batches: Sequence[MicroBatch], step: int) -> CodecReport:
        """Update the weights by some micro-batches.

        Raises:
            NonFiniteError: a loss or a gradient is not finite; the weights are as they were.
            TrainingError: of this rank or of another, while pictures are made.
        """
        some = together(lambda: [self._layers(batch) for batch in batches if batch.keys], self.world)
        rows = [(layers.pixels, layers.regions.tokens, len(layers.regions.keys)) for layers in some]
        counts = total(torch.tensor(rows, dtype=torch.int64).reshape(-1, 3).sum(dim=0), self.world)
        pixels, tokens, designs = counts.tolist()
        sums_K = torch.zeros(len(PARTS), dtype=torch.float64)
        bad: list[str] = []
        for layers in some:
            sums_K += self._backward(layers, max(1, pixels), bad)
        agree(NonFiniteError(f"the loss is not finite for {_kept(bad)}") if bad else None, self.world)
        self._sum_gradients()
        norm = self.optimiser.norm()
        if not math.isfinite(norm):
            keys = [key for layers in some for key in layers.regions.keys]
            raise NonFiniteError(f"the gradient is {norm} at step {step}, of {_kept(keys)}")
        if pixels:
            self.optimiser.update(step)
        means = (total(sums_K, self.world) / max(1, pixels)).tolist()
        loss = sum(mean * weight for mean, weight in zip(means, self.config.losses.weights, strict=True) if weight)
        return CodecReport(loss, dict(zip(PARTS, means, strict=True)), tokens, designs, norm)

    def _layers(self, batch: MicroBatch) -> Layers:
        token_px, seed = self.learner.codec.token_px, self.config.run.seed
        return Layers.of(batch, token_px, self.world.device, seed=seed).some_opaque(self.config.opaque)

    def _backward(self, layers: Layers, pixels: int, bad: list[str]) -> Tensor:
        """Sums of the parts over the px of all pictures; ``bad`` has the designs whose loss is not finite."""
        kind = self.world.device.type
        sums_K = torch.zeros(len(PARTS), dtype=torch.float64)
        with torch.autocast(kind, torch.bfloat16, enabled=self.config.run.dtype == "bfloat16"):
            for rows, parts_BK in self.learner.errors(layers):
                weights_K = parts_BK.new_tensor(self.config.losses.weights)
                errors_B = parts_BK[:, weights_K > 0] @ weights_K[weights_K > 0]
                if errors_B.requires_grad:
                    (errors_B.sum() / pixels).backward()  # type: ignore[no-untyped-call]
                sums_K += parts_BK.detach().double().sum(dim=0).cpu()
                owners = layers.regions.design[rows][~errors_B.detach().isfinite()].tolist()
                bad += [layers.regions.keys[owner] for owner in owners]
        return sums_K

    def _sum_gradients(self) -> None:
        """Over ranks; a parameter that no rank used has none after, as in a world of one."""
        if self.world.size == 1:
            return
        trained = [parameter for parameter in self.learner.parameters() if parameter.requires_grad]
        used = total(torch.tensor([parameter.grad is not None for parameter in trained], dtype=torch.int64), self.world)
        for parameter, some in zip(trained, used.tolist(), strict=True):
            if some:
                mine = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                parameter.grad = total(mine, self.world)


def _kept(keys: Sequence[str]) -> str:
    """Designs by name, and that nothing is lost."""
    names = list(dict.fromkeys(keys))
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"designs {', '.join(names[:SHOWN])}{more}; the weights are as they were before this step"


class CodecRun(Session):
    """The run of a codec on one rank."""

    def __init__(self, config: CodecTrainConfig, world: World, stack: ExitStack) -> None:
        super().__init__(config, world, stack, partial(_datasets, config))
        self.config, self._state = config, dict[str, Any]()
        self.learner = together(self._new_learner, world)
        self._average = Average(self.learner, config.average)
        self._optimiser = Optimiser(self.learner, config.optimiser, config.run.steps)
        self._designs = config.data.stream_settings(
            self.learner.codec.token_px, seed=config.run.seed, tasks=Task.TEXT_TO_LAYERS
        )
        self.stream = DesignStream(**self._designs, rank=world.rank, world_size=world.size)
        self.resume()
        self._held_out = FirstDesigns.held_out(self._designs, config.validation, world)
        self.stepper = CodecStepper(self.learner, self._optimiser, config, world)
        self._progress = stack.enter_context(RunProgress(self.console, CODEC, config.run.steps, done=self.step))

    def tensors(self) -> dict[str, Tensor]:
        """Weights, their averages and what the optimiser keeps of them."""
        weights = {name: value.detach() for name, value in self.learner.named_parameters() if value.requires_grad}
        return named(weights=weights, average=self._average.tensors(), optimiser=self._optimiser.tensors())

    def facts(self) -> dict[str, Any]:
        """Where the stream goes on."""
        return {"stream": self._state}

    def accept(self, facts: dict[str, Any]) -> None:
        """Go on from there. Raises UsageError: the stream is of other data."""
        self._state = facts["stream"]
        self.stream.load_state_dict(self._state)

    def after(self, fetched: Fetched, report: CodecReport) -> None:
        """What follows a step: averages, figures, validation, a sheet, a checkpoint, each when it is due."""
        watch, progress = self.config.watch, self._progress
        lr = self.config.optimiser.lr_at(self.step, self.config.run.steps)
        self._average.update(self.step)
        self.step, self._state = self.step + 1, fetched.state
        progress.step(self.step, loss=report.loss, tokens=report.tokens, waited=fetched.waited, lr=lr)
        if self.due(watch.log_every):
            parts = {f"loss/{part}": value for part, value in report.parts.items()}
            pace = progress.meter.pace
            of_run = {"learning_rate": lr, "steps_per_second": pace.steps, "data_wait": pace.wait}
            counts = {"gradient_norm": report.norm, "tokens": float(report.tokens), "designs": float(report.designs)}
            self.scalars({"loss": report.loss, **parts, **counts, **of_run})
        if self.due(watch.validate_every):
            self._validate()
        if self.due(watch.samples_every):
            self._sheet()
        if self.due(self.config.checkpoint.every):
            self.save()
        self.watchdog.beat(f"step {self.step + 1}")

    def finish(self) -> None:
        """Save, and write the codec with its averaged weights and, where asked, new statistics of its latents."""
        self.save()
        self.watchdog.beat("export")
        with self._average.swapped():
            codec = self.learner.codec
            if isinstance(codec, RgbaCodec) and self.config.statistics:
                some = FirstDesigns(self._designs, self.config.statistics, self.world)
                mean_z, std_z = latent_statistics(codec, some, self.world)
                codec.vae.register_to_config(latents_mean=mean_z, latents_std=std_z)
            if isinstance(codec, VaeCodec | JointCodec):
                by_first(lambda: _write(codec, self.output), self.world)

    def _validate(self) -> None:
        self.watchdog.beat("validate")
        with self._average.swapped():
            found = validate(self.learner.codec, self._held_out, self.world)
        self.scalars(found.scalars())
        log.info("step %d: validation %s", self.step, ", ".join(f"{n} {v:.4f}" for n, v in found._asdict().items()))
        self._progress.meter.pause()

    def _sheet(self) -> None:
        """Of the first rank's validation designs."""
        self.watchdog.beat("sheet")
        batches = self._held_out.kept()
        self.show("reconstructions", partial(self._picture, batches))
        self._progress.meter.pause()

    def _picture(self, batches: Sequence[MicroBatch]) -> Picture:
        with self._average.swapped():
            designs = self.config.watch.sample_designs
            return np.asarray(codec_sheet(self.learner.codec, batches, designs, self.world.device))

    def _new_learner(self) -> CodecLearner:
        codec = open_codec(self.config.codec, self.config.run.seed, self.world.device)
        if isinstance(codec, JointCodec) and self.config.run.checkpointing:
            codec.decoder.enable_gradient_checkpointing()
        return learner_of(codec, Losses(self.config.losses, codec, self.world.device))


def _datasets(config: CodecTrainConfig) -> list[dict[str, str]]:
    stream = DesignStream(**config.data.stream_settings(1))
    return [{"url": config.data.dataset, "fingerprint": stream.fingerprint}]


@contextmanager
def _opened(config: CodecTrainConfig, world: World) -> Iterator[CodecRun]:
    share_of(config.run.micro_batches, world)  # before anything is written
    with ExitStack() as stack:
        yield CodecRun(config, world, stack)


def _write(codec: VaeCodec | JointCodec, output: Output) -> None:
    """Replace the codec of the run's folder; settings come last, so that half of a codec is none."""
    with tempfile.TemporaryDirectory(prefix="acetate-codec-") as temporary:
        folder = Path(temporary)
        codec.save(folder)
        output.remove(CODEC)
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        for path in sorted(paths, key=lambda path: path.suffix == ".json"):
            with path.open("rb") as source, output.stream(f"{CODEC}/{path.relative_to(folder).as_posix()}") as target:
                shutil.copyfileobj(source, target, 2**24)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line of one process, as torchrun starts it; 0 also where it was interrupted and saved."""
    parser = argparse.ArgumentParser(prog="python -m training.codec_training", description="Train a codec of layers")
    parser.add_argument("config", type=Path, help="the configuration of the run (YAML)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="set a configuration key")
    given = parser.parse_args(argv)
    try:
        train_codec(load_config(given.config, parse_assignments(given.set, "run.steps=100")))
    except (SettingsError, TrainingError) as error:
        sys.stderr.write(f"acetate: {error}\n")
        return 2 if isinstance(error, SettingsError | UsageError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
