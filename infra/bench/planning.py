"""How long does it take to plan an epoch of millions of samples, and to go on in the middle of it?

``python -m infra.bench.planning [--samples N] [--out FILE.md] [--keep DIR]`` generates a dataset of N samples (an index
in parts of a million rows, a few real shards), plans an epoch of it in a process of its own, opens the plan again, and
resumes at 75 %: from opening the dataset to the first micro-batch, imports done. Then it says how full micro-batches
are and how even the ranks of a world of 8 are, at 512 and 1024 px, against samples packed as they come.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from infra.bench.machine import describe
from infra.bench.planned_index import generate
from infra.bench.tables import Section, publish
from training.streaming.config import PlanConfig, ReadConfig
from training.streaming.index import Index
from training.streaming.plan import Plan, open_plan
from training.streaming.source import Source

SEED, EPOCH = 0, 0
RESUME = 0.75
REAL_SHARDS = 256
BUDGET = 32_768
WORLD = 8
RESOLUTIONS = (512, 1024)
REPEATS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=10_000_000)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--keep", type=Path, help="a directory for the dataset, used again where it is there")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        step, data, plans, resolution = arguments.child
        print(json.dumps(STEPS[step](Path(data), Path(plans), config(int(resolution)))))
        return
    with tempfile.TemporaryDirectory() as name:
        data = (arguments.keep or Path(name)) / f"planned-{arguments.samples}"
        if not (data / "dataset.json").exists():
            generate(data, arguments.samples, SEED, EPOCH, RESUME, REAL_SHARDS)
        sections = measure(data, Path(name) / "plans")
    publish("Planning an epoch", f"{describe()}; {arguments.samples:,} samples", sections, arguments.out)


def config(resolution: int) -> PlanConfig:
    return PlanConfig(resolution=resolution, token_budget=BUDGET)


def measure(data: Path, plans: Path) -> list[Section]:
    planning, packing, going_on = [], [], []
    for resolution in RESOLUTIONS:
        made = in_child("plan", data, plans, resolution)
        planning.append([resolution, *(made[name] for name in ("seconds", "cpu_seconds", "peak_gb", "file_mb"))])
        plan = open_plan(Index.open(Source(str(data))), config(resolution), SEED, EPOCH, plans)
        planned, came = figures(plan.tokens, plan.starts), figures(*as_they_come(plan))
        packing.append([resolution, "planned", *planned])
        packing.append([resolution, "as they come", *came])
        for step in ("open", "resume"):
            times = [in_child(step, data, plans, resolution)["seconds"] for _ in range(REPEATS)]
            going_on.append([resolution, step, f"{np.median(times):.3f}", f"{max(times):.3f}"])
    return [
        ("Planning, by one process", ["resolution", "wall s", "CPU s", "peak RSS GB", "file MB"], planning),
        (
            f"Packing at a budget of {BUDGET:,} tokens, rounds of {WORLD} ranks",
            ["resolution", "order", "useful share", "max / mean attention cost", "p99 of a round"],
            packing,
        ),
        (f"An existing plan, a fresh process, median of {REPEATS}", ["resolution", "step", "s", "slowest s"], going_on),
    ]


def figures(tokens: npt.NDArray[Any], starts: npt.NDArray[Any]) -> list[str]:
    """Useful share; the largest over the mean attention cost of rounds of WORLD, in sum, and the p99 of a round."""
    useful = np.minimum(tokens, BUDGET).sum(dtype=np.int64) / ((len(starts) - 1) * BUDGET)
    cost = np.add.reduceat(np.square(tokens.astype(np.float64)), starts[:-1])
    rounds = cost[: len(cost) // WORLD * WORLD].reshape(-1, WORLD)
    slowest, mean = rounds.max(axis=1), rounds.mean(axis=1)
    return [f"{x:.4f}" for x in (useful, slowest.sum() / mean.sum(), np.percentile(slowest / mean, 99))]


def as_they_come(plan: Plan) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """The first million samples of a plan in the order of the index, a micro-batch closed by what does not fit."""
    tokens = plan.tokens[:1_000_000][np.argsort(plan.rows[:1_000_000])]
    starts, room = [0], BUDGET
    for place, count in enumerate(tokens.tolist()):
        if count > room and place > starts[-1]:
            starts.append(place)
            room = BUDGET
        room -= count
    return tokens, np.array([*starts, len(tokens)])


def in_child(step: str, data: Path, plans: Path, resolution: int) -> dict[str, float]:
    command = [sys.executable, "-m", "infra.bench.planning", "--child", step, str(data), str(plans), str(resolution)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    measured: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return measured


def make(data: Path, plans: Path, settings: PlanConfig) -> dict[str, float]:
    start = time.perf_counter()
    plan = open_plan(Index.open(Source(str(data))), settings, SEED, EPOCH, plans)
    seconds = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": seconds,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "peak_gb": used.ru_maxrss / 2**20,
        "file_mb": plan.path.stat().st_size / 2**20,
    }


def reopen(data: Path, plans: Path, settings: PlanConfig) -> dict[str, float]:
    start = time.perf_counter()
    plan = open_plan(Index.open(Source(str(data))), settings, SEED, EPOCH, plans)
    plan[len(plan) // 2]
    return {"seconds": time.perf_counter() - start}


def resume(data: Path, plans: Path, settings: PlanConfig) -> dict[str, float]:
    from training.stream import DesignStream
    from training.streaming import decode, pixels  # noqa: F401  # made by name, so imported late

    position = int(RESUME * len(open_plan(Index.open(Source(str(data))), settings, SEED, EPOCH, plans)))
    start = time.perf_counter()
    stream = DesignStream(
        str(data),
        resolution=settings.resolution,
        token_budget=settings.token_budget,
        plan_dir=plans,
        read=ReadConfig(prefetch_bytes=2**24),
    )
    state = {**stream.state_dict(), "position": position}
    stream.load_state_dict(state)
    batch = next(iter(stream))
    seconds = time.perf_counter() - start
    if batch.position != position or not batch.keys:
        raise SystemExit(f"resumed at {batch.position} instead of {position}")
    return {"seconds": seconds}


STEPS: dict[str, Any] = {"plan": make, "open": reopen, "resume": resume}


if __name__ == "__main__":
    main()
