"""Judge a checkpoint on held-out designs, beside the methods that need no model: ``acetate evaluate CONFIG.yaml``.

Two sets are cut from the split: designs that lie inside of their visible box, and designs that overflow it. What comes
out is a table, the numbers as JSON, and a page with the best and the worst cases.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from model.tasks import Task
from schemas.errors import SettingsError
from schemas.settings import parse_assignments
from training.errors import TrainingError, UsageError
from training.evaluation import checkpoints
from training.evaluation.config import EvaluateConfig
from training.evaluation.features import BUILT_IN, extractor
from training.evaluation.judge import Judge
from training.evaluation.methods import layered_method, methods
from training.evaluation.report import PAGE, write
from training.evaluation.results import READING, Results, printed
from training.evaluation.runs import Runner
from training.evaluation.sets import choose
from training.masking import masked, shown
from training.outputs import Output
from training.streaming.config import PlanConfig
from training.streaming.index import Index
from training.streaming.source import Source

_PROBE = ".acetate-evaluate"
PLAIN_WIDTH = 140
"""Columns of what is printed where there is no terminal."""


def evaluate(config: EvaluateConfig, console: Console | None = None) -> Results:
    """Everything that the configuration asks for; what is wrong with it is said before weights are loaded.

    ``console``: where progress is shown; None shows none.

    Raises:
        UsageError: the dataset has another schema or no design for a task, the checkpoint is of another model or is
            damaged, or there is no such device. StreamError: the data cannot be delivered.
    """
    device = device_of(config.device)
    features = extractor(config.features or BUILT_IN, device)
    index = Index.open(Source(config.dataset, config.storage_options))
    with tempfile.TemporaryDirectory() as temporary, _watched(console) as watch:
        folder = checkpoints.fetched(config.checkpoint, config.storage_options, Path(temporary) / "model")
        about = checkpoints.check(folder, config.tasks)
        if config.layered is not None:
            checkpoints.check_layered(config.layered)
        for task in config.tasks:
            choose(index, config.plan(task, PlanConfig().token_px), 1)
        judge = Judge(config, index, features, watch)
        runner = Runner(checkpoints.load(folder, device), device, config.jitter, config.seed)
        for task in config.tasks:
            judge.judge(task, runner.token_px, lambda groups: methods(config, runner, groups))
        if config.layered is not None:
            other = checkpoints.layered(config.layered, config.storage_options, Path(temporary) / "layered", device)
            layered = Runner(other, device, config.jitter, config.seed, layered_shift=True)
            judge.beside(Task.IMAGE_TO_LAYERS, layered.token_px, layered_method(config, layered))
    where = {"checkpoint": config.checkpoint, **about, "dataset": config.dataset, "fingerprint": index.fingerprint}
    settings = config.model_dump(mode="json", exclude={"storage_options"})
    said = masked({**where, "split": config.split, "settings": settings})
    return Results(said, judge.sizes, judge.rows, judge.shown)


def device_of(name: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """Raises UsageError: there is no such device."""
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise UsageError("no CUDA device is at hand: set device to cpu, or to auto")
    return torch.device("cuda" if there and name != "cpu" else "cpu")


@contextmanager
def _watched(console: Console | None) -> Iterator[Progress | None]:
    """A bar for each set on a terminal; elsewhere the log has a line for each method."""
    if console is None or not console.is_terminal:
        yield None
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console) as progress:
        yield progress


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. 0: done; 2: a setting or an input is wrong; 1: something else failed."""
    parser = argparse.ArgumentParser(prog="acetate evaluate", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("config", type=Path, help="a YAML file; see training/evaluation/config.py")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="set a key of it, many times")
    arguments = parser.parse_args(argv)
    errors = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    if not errors.is_terminal:
        logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        changes = parse_assignments(arguments.set, "designs=20")
        config = EvaluateConfig.load(arguments.config, changes)
        output = Output(config.out, config.storage_options)
        _try(output)
        results = evaluate(config, errors)
        write(results, output)
    except (SettingsError, UsageError) as error:
        errors.print(f"error: {error}")
        return 2
    except TrainingError as error:
        errors.print(f"error: {error}")
        return 1
    _say(results, config)
    return 0


def _try(output: Output) -> None:
    """Write a file and remove it, so that a folder that cannot be written to is told before the work, not after."""
    output.write(_PROBE, b"")
    output.remove(_PROBE)


def _say(results: Results, config: EvaluateConfig) -> None:
    console = Console(soft_wrap=True, highlight=False, markup=False)
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    for table in printed(results):
        console.print(table)
    for line in [*results.notes, READING, f"The page: {shown(config.out.rstrip('/'))}/{PAGE}"]:
        console.print(line)


if __name__ == "__main__":
    sys.exit(main())
