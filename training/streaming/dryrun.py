"""What an epoch would be, from the index and the plan alone: no byte of a shard is read."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from model.placement import Grid, place
from training.errors import UsageError
from training.streaming import ranges
from training.streaming.config import PlanConfig, ReadConfig
from training.streaming.decode import make_decoder
from training.streaming.holes import Holes
from training.streaming.index import Index
from training.streaming.jobs import Decoder, Job
from training.streaming.layouts import as_damage
from training.streaming.plan import Plan, open_plan
from training.streaming.planned import planned_job
from training.streaming.source import Source

SAMPLED_RANKS, SAMPLED_EACH = 4, 64
"""Bytes and requests are counted for so many micro-batches of so many ranks, spread over the epoch."""
_UNLIMITED = 2**62
_SCANNED = ("key", "expires", "width", "height", "visible")
_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Tokens:
    """Of a sample."""

    mean: float
    median: float
    p95: float
    max: int


@dataclass(frozen=True)
class Balance:
    """The largest attention cost of a round of micro-batches (one a rank) to the round's mean: over all full rounds."""

    mean: float
    worst: float


@dataclass(frozen=True)
class Reading:
    """Of an optimiser step over all ranks, estimated from ``sampled`` micro-batches, with nothing cached."""

    sampled: int
    bytes: float
    requests: float


@dataclass(frozen=True)
class DryRun:
    """An epoch as it would be streamed.

    ``samples`` are planned; ``left_out``: those that no task with a weight can use; ``holes``: planned samples by why
    they are not delivered. ``useful``: share of the budget of all micro-batches that is planned tokens, holes too; one
    over the budget counts as full; ``waste``: the rest. ``largest_canvas``: tokens that the largest canvas would have
    without a limit. ``step``: micro-batches of an optimiser step over all ranks.
    """

    dataset: str
    fingerprint: str
    split: str
    samples: int
    left_out: int
    tasks: dict[str, int]
    holes: dict[str, int]
    tokens: Tokens
    budget: int
    micro_batches: int
    useful: float
    waste: float
    over_budget: int
    scaled_down: int
    largest_canvas: int
    canvas_limit: int
    world_size: int
    balance: Balance | None
    step: int
    steps: int
    reading: Reading


def dry_run(
    dataset_url: str,
    config: PlanConfig,
    *,
    seed: int = 0,
    epoch: int = 0,
    world_size: int = 8,
    step: int = 64,
    read: ReadConfig | None = None,
    decoder: str = "pixels",
    plan_dir: Path | None = None,
    storage_options: Mapping[str, Any] | None = None,
    today: date | None = None,
) -> DryRun:
    """Plan an epoch and say what it is. Without ``plan_dir`` the plan is not kept.

    Raises:
        UsageError: there is no dataset, or no sample of the split that can be used; StreamError.
    """
    if world_size < 1 or step < 1:
        raise UsageError("a world and a step have 1 micro-batch or more")
    source = Source(dataset_url, storage_options)
    index = Index.open(source)
    holes = Holes.load(source, today or datetime.now(UTC).date())
    with tempfile.TemporaryDirectory() as temporary:
        plan = open_plan(index, config, seed, epoch, plan_dir or Path(temporary))
        if len(plan) == 0:
            raise UsageError(_nothing(index, config, plan.summary.ineligible))
        largest, gone = _scan(index, plan, config, holes)
        made = make_decoder(decoder, config, seed, holes.withdrawn)
        sampled = _sampled(index, plan, made, holes, epoch, world_size)
        reading = _reading(sampled, read or ReadConfig(), source.local is not None, step)
        return _described(index, config, plan, largest, gone, reading, world_size, step)


def _described(
    index: Index, config: PlanConfig, plan: Plan, largest: int, holes: Mapping[str, int], reading: Reading,
    world_size: int, step: int,
) -> DryRun:  # fmt: skip
    summary, tokens = plan.summary, plan.tokens
    costs = np.add.reduceat(np.square(tokens, dtype=np.float64), plan.starts[:-1])
    return DryRun(
        dataset=index.source.shown,
        fingerprint=index.fingerprint,
        split=config.split,
        samples=summary.samples,
        left_out=summary.ineligible,
        tasks={str(task): count for task, count in summary.samples_by_task.items() if count},
        holes=dict(sorted(holes.items())),
        tokens=Tokens(
            float(tokens.mean()), float(np.median(tokens)), float(np.percentile(tokens, 95)), int(tokens.max())
        ),
        budget=config.token_budget,
        micro_batches=len(plan),
        useful=summary.useful_share,
        waste=1 - summary.useful_share,
        over_budget=summary.over_budget,
        scaled_down=summary.scaled_down,
        largest_canvas=largest,
        canvas_limit=config.grid.canvas_limit,
        world_size=world_size,
        balance=balance(costs, world_size),
        step=step,
        steps=-(-len(plan) // step),
        reading=reading,
    )


def balance(costs: _Floats, world_size: int) -> Balance | None:
    """How evenly micro-batches of the attention costs [M] load the ranks; None where there is no full round."""
    rounds = costs[: len(costs) // world_size * world_size].reshape(-1, world_size)
    if not len(rounds):
        return None
    ratios = rounds.max(axis=1) / rounds.mean(axis=1)
    return Balance(float(ratios.mean()), float(ratios.max()))


def _scan(index: Index, plan: Plan, config: PlanConfig, holes: Holes) -> tuple[int, Counter[str]]:
    """What a plan does not tell of its samples: tokens of the largest canvas without a limit, and who is a hole."""
    largest, reasons, first = 0, Counter[str](), 0
    withdrawn = pa.array(sorted(holes.withdrawn), pa.string())
    unlimited = Grid(config.resolution, config.token_px, _UNLIMITED)
    planned = np.zeros(sum(index.counts), np.bool_)
    planned[plan.rows] = True
    for part in range(len(index.parts)):
        for table in index.scan(part, _SCANNED):
            rows = table.filter(pa.array(planned[first : first + len(table)]))
            first += len(table)
            if not len(rows):
                continue
            sizes = np.stack([rows["width"].to_numpy(), rows["height"].to_numpy()], axis=1)
            visible = rows["visible"].combine_chunks().flatten().to_numpy().reshape(-1, 4)
            with as_damage():
                canvas = place(sizes, visible, unlimited).canvas
            largest = max(largest, int(canvas.prod(axis=1).max()))
            doubtful = rows.filter(pc.or_(pc.is_valid(rows["expires"]), pc.is_in(rows["key"], withdrawn)))
            found = map(holes.reason, doubtful["key"].to_pylist(), doubtful["expires"].to_pylist())
            reasons.update(reason for reason in found if reason is not None)
    return largest, reasons


def _sampled(index: Index, plan: Plan, decoder: Decoder, holes: Holes, epoch: int, world_size: int) -> list[list[Job]]:
    """For some ranks, consecutive micro-batches of theirs."""
    out, ranks = [], min(world_size, SAMPLED_RANKS, len(plan))
    for rank in range(ranks):
        positions = islice(range(len(plan) * rank // ranks, len(plan), world_size), SAMPLED_EACH)
        out.append([planned_job(index, plan, decoder, holes, epoch, position)[0] for position in positions])
    return out


def _reading(sampled: Sequence[Sequence[Job]], read: ReadConfig, local: bool, step: int) -> Reading:
    """As a Fetcher reads."""
    size = number = jobs = 0
    ahead = ranges.ahead(read, local=local)
    for stretch in sampled:
        for group in ranges.groups(stretch, ahead.group):
            requests = ranges.plan(group, gap=ahead.gap, limit=read.request_bytes)
            size += sum(request.size for request in requests)
            number += len(requests)
            jobs += len(group)
    return Reading(jobs, size / jobs * step, number / jobs * step)


def _nothing(index: Index, config: PlanConfig, ineligible: int) -> str:
    if ineligible:
        return f"none of the {ineligible:,} samples of the split {config.split!r} can be used for {config.wanted_tasks}"
    there = ", ".join(f"{name} ({count:,})" for name, count in sorted(index.dataset.splits.items()))
    return f"the split {config.split!r} has no sample; the splits of {index.source.shown} are {there or 'empty'}"
