"""Say what an epoch of a dataset would be, without reading a sample: tokens, packing, balance, bytes and requests."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from training.errors import TrainingError, UsageError
from training.streaming.config import PlanConfig, Task, plan_config
from training.streaming.dryrun import DryRun, dry_run

USAGE, FAILURE = 2, 1
"""Exit codes: the user's mistake, and everything else that goes wrong."""
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the dry run."""
    parser.add_argument("dataset", metavar="DATASET", help="directory or fsspec URL of a published dataset")
    parser.add_argument("--budget", type=int, required=True, help="tokens of a micro-batch, at most")
    parser.add_argument("--resolution", type=int, default=512, help="px: the visible box has its square of pixels")
    parser.add_argument("--token-px", type=int, default=16, help="px of a token's side")
    parser.add_argument("--split", default="train")
    parser.add_argument(
        "--task", action="append", default=[], metavar="NAME=WEIGHT", help=f"one of {', '.join(Task)}; again for a mix"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="any other setting that decides the plan"
    )
    parser.add_argument("--world-size", type=int, default=8, help="ranks")
    parser.add_argument("--step", type=int, default=64, help="micro-batches of an optimiser step, over all ranks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epoch", type=int, default=0)
    parser.add_argument("--decoder", default="pixels", help="what decides which members are read")
    parser.add_argument("--plan-dir", type=Path, help="keep the plan there; by default it is made and thrown away")
    parser.add_argument("--storage-options", default="{}", metavar="JSON", help="what fsspec is given for the URL")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace, console: Console | None = None) -> int:
    """Print a dry run; returns the exit code: 0, 2 for a user's mistake, 1 for anything else."""
    console = console or Console()
    try:
        done = dry_run(
            arguments.dataset,
            _config(arguments),
            seed=arguments.seed,
            epoch=arguments.epoch,
            world_size=arguments.world_size,
            step=arguments.step,
            decoder=arguments.decoder,
            plan_dir=arguments.plan_dir,
            storage_options=_options(arguments.storage_options),
        )
    except TrainingError as error:
        sys.stderr.write(f"{error}\n")
        return USAGE if isinstance(error, UsageError) else FAILURE
    if arguments.json:
        sys.stdout.write(json.dumps(dataclasses.asdict(done), indent=2) + "\n")
    else:
        show(done, console)
    return 0


def show(done: DryRun, console: Console) -> None:
    """Print a dry run as tables."""
    console.print(f"{done.dataset}: an epoch of the split {done.split}", markup=False, highlight=False)
    tasks = ((name, f"{count:,}", _share(count / done.samples)) for name, count in done.tasks.items())
    console.print(_table("Samples", ("", "samples", "share"), [*tasks, *_left(done)]))
    tokens, reading = done.tokens, done.reading
    console.print(
        _table(
            "Tokens",
            ("", "mean", "median", "95 %", "largest"),
            [("of a sample", f"{tokens.mean:,.0f}", f"{tokens.median:,.0f}", f"{tokens.p95:,.0f}", f"{tokens.max:,}")],
        )
    )
    console.print(_table("Packing", ("", ""), _packing(done)))
    about = f"from {reading.sampled} micro-batches, with nothing cached"
    rows = [("bytes", _bytes(reading.bytes)), ("requests", f"{reading.requests:,.0f}"), ("estimated", about)]
    console.print(_table(f"A step of {done.step} micro-batches", ("", ""), rows))


def _left(done: DryRun) -> Iterable[tuple[str, str, str]]:
    yield "all", f"{done.samples:,}", ""
    yield "no task can use", f"{done.left_out:,}", ""
    for reason, count in done.holes.items():
        yield f"not delivered: {reason}", f"{count:,}", ""


def _packing(done: DryRun) -> Iterable[tuple[str, str]]:
    yield "micro-batches", f"{done.micro_batches:,} of {done.budget:,} tokens"
    yield "steps of an epoch", f"{done.steps:,} of {done.step} micro-batches"
    yield "useful", _share(done.useful)
    yield "waste", _share(done.waste)
    yield "over the budget", f"{done.over_budget:,} designs"
    yield "scaled down", f"{done.scaled_down:,} designs, to a canvas of {done.canvas_limit:,} tokens"
    yield "largest canvas", f"{done.largest_canvas:,} tokens unscaled"
    if done.balance is None:
        yield "balance", f"no full round of {done.world_size} ranks"
    else:
        mean, worst = done.balance.mean, done.balance.worst
        yield "balance", f"{mean:.3f} (worst {worst:.3f}): attention FLOPs, slowest of {done.world_size} ranks to mean"


def _table(title: str, head: Sequence[str], rows: Iterable[Iterable[str]]) -> Table:
    table = Table(title=title, title_justify="left", show_header=any(head))
    for number, name in enumerate(head):
        table.add_column(name, justify="right" if number and any(head) else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def _config(arguments: argparse.Namespace) -> PlanConfig:
    settings: dict[str, Any] = {
        "split": arguments.split,
        "resolution": arguments.resolution,
        "token_px": arguments.token_px,
        "token_budget": arguments.budget,
    }
    if arguments.task:
        settings["tasks"] = {name: value or 1 for name, value in map(_pair, arguments.task)}
    settings |= dict(map(_pair, arguments.set))
    return plan_config(**settings)


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


def _options(text: str) -> Mapping[str, Any]:
    try:
        options = json.loads(text)
    except ValueError as error:
        raise UsageError(f"--storage-options: {error}") from None
    if not isinstance(options, dict):
        raise UsageError("--storage-options is a JSON object")
    return options


def _share(share: float) -> str:
    return f"{100 * share:.1f} %"


def _bytes(size: float) -> str:
    power = 0
    while size >= 1024 and power < len(_UNITS) - 1:
        size, power = size / 1024, power + 1
    return f"{size:,.1f} {_UNITS[power]}"
