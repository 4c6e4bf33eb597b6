"""Train a model on a dataset: ``python -m training.train CONFIG.yaml [--set key=value]``, or ``acetate train``.

Micro-batches are streamed, made into examples and noised, and the error of the predicted velocity moves the weights.
A run that ended for any reason goes on from its last checkpoint when the command is given again.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from schemas.errors import SettingsError
from schemas.settings import parse_assignments
from training.config import TrainConfig, load_config
from training.errors import TrainingError, UsageError
from training.interruption import Interruption
from training.parallel import join, together
from training.run import Run, Stage, opened
from training.steps import fetched, tell_skipped

log = logging.getLogger("training.train")  # also where it is __main__


def train(config: TrainConfig) -> bool:
    """Run all stages, from the beginning or from the last checkpoint. False: interrupted, and saved.

    Raises:
        TrainingError: see ``training.errors``; nothing is lost but the steps since the last checkpoint.
    """
    with join(config.run.device) as world, Interruption() as interruption, opened(config, world) as run:
        for stage in run.stages():
            done = _steps(run, stage, interruption)
            tell_skipped(stage.stream, world)
            if not done:
                run.save()
                log.info("interrupted after step %d, which is saved; give the command again to go on", run.step)
                return False
            run.finish(stage)
    return True


def _steps(run: Run, stage: Stage, interruption: Interruption) -> bool:
    """The steps that are left of a stage. False: interrupted."""
    with closing(fetched(stage.stream, run.config.run.micro_batches, run.world)) as steps:
        while stage.step < stage.steps:
            some = together(lambda: next(steps), run.world)
            report = stage.stepper(some.batches, stage.step)
            run.after(stage, some, report)
            if interruption.wanted(run.world):
                return False
    return True


def run(path: Path, overrides: Mapping[str, Any]) -> int:
    """Read a configuration and train; the exit code of the command, 0 also where it was interrupted and saved."""
    train(load_config(path, overrides))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """The command line of one process, as torchrun starts it."""
    parser = argparse.ArgumentParser(prog="python -m training.train", description=(__doc__ or "").partition(":")[0])
    parser.add_argument("config", type=Path, help="the configuration of the run (YAML)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="set a configuration key")
    given = parser.parse_args(argv)
    try:
        return run(given.config, parse_assignments(given.set, "run.steps=100"))
    except (SettingsError, TrainingError) as error:
        sys.stderr.write(f"acetate: {error}\n")
        return 2 if isinstance(error, SettingsError | UsageError) else 1


if __name__ == "__main__":
    sys.exit(main())
