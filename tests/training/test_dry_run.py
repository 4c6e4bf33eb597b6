"""The dry run tells the truth: its numbers are those of the plan, of the records and of a real reader."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from schemas.geometry import Box
from schemas.withdrawal import REVOKED_PARQUET, REVOKED_SCHEMA
from tests.pipelines.dataset_builder import Entry, make_sample, publish, with_design
from training.errors import UsageError
from training.stream import DesignStream
from training.streaming import deliver, report
from training.streaming.config import PlanConfig, ReadConfig, Task
from training.streaming.dryrun import DryRun, balance, dry_run
from training.streaming.fetch import Fetcher
from training.streaming.index import Index
from training.streaming.plan import Plan, open_plan
from training.streaming.source import Source

COUNT = 24
CONFIG = PlanConfig(resolution=64, token_budget=150, window=16, balance=4)
TODAY = datetime.date(2026, 5, 31)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Designs of 2 to 4 layers in 3 shards of train and one of test; a licence has expired, a design was revoked."""
    root = tmp_path_factory.mktemp("dry") / "ds [bold]"
    samples = [make_sample(i, layers=2 + i % 3) for i in range(COUNT)]
    expired = samples[3].design.licence.model_copy(update={"expires": "2026-05-31"})
    valid = samples[4].design.licence.model_copy(update={"expires": "2026-06-01"})
    samples[3], samples[4] = with_design(samples[3], licence=expired), with_design(samples[4], licence=valid)
    entries = [Entry(sample, unit=i % 3) for i, sample in enumerate(samples)]
    publish(root, [*entries, Entry(make_sample(99), split="test", unit=9)])
    row = {"design_id": samples[5].design.design_id, "reason": "a letter", "revoked": "2026-01-01"}
    pq.write_table(pa.Table.from_pylist([row], schema=REVOKED_SCHEMA), root / REVOKED_PARQUET)
    return root


def dry(dataset: Path | str, config: PlanConfig = CONFIG, **settings: Any) -> DryRun:
    return dry_run(str(dataset), config, **{"today": TODAY, "world_size": 2, "step": 4, **settings})


def in_memory(dataset: Path) -> str:
    """The URL of a copy in a store that is no file system."""
    for path in dataset.rglob("*.*"):
        fsspec.filesystem("memory").pipe_file(f"/dry-run/{path.relative_to(dataset)}", path.read_bytes())
    return "memory://dry-run"


def planned(dataset: Path | str, folder: Path, config: PlanConfig = CONFIG) -> tuple[Index, Plan]:
    index = Index.open(Source(str(dataset)))
    return index, open_plan(index, config, 0, 0, folder)


def test_the_numbers_are_those_of_the_plan(dataset: Path, tmp_path: Path) -> None:
    done = dry(dataset)
    _, plan = planned(dataset, tmp_path)
    draws = [draw for position in range(len(plan)) for draw in plan[position]]
    sums = [sum(draw.tokens for draw in plan[position]) for position in range(len(plan))]
    tokens = [draw.tokens for draw in draws]
    assert done.samples == len(draws) == COUNT
    assert done.tasks == {task: count for task in Task if (count := [d.task for d in draws].count(task))}
    assert (done.micro_batches, done.steps) == (len(plan), -(-len(plan) // 4))
    assert done.tokens.mean == pytest.approx(sum(tokens) / COUNT)
    assert done.tokens.max == max(tokens)
    assert sorted(tokens)[COUNT // 2 - 1] <= done.tokens.median <= sorted(tokens)[COUNT // 2]
    assert done.tokens.median <= done.tokens.p95 <= done.tokens.max
    assert done.useful == pytest.approx(sum(sums) / (len(plan) * 150))
    assert done.useful + done.waste == pytest.approx(1)
    costs = [sum(draw.tokens**2 for draw in plan[position]) for position in range(len(plan))]
    rounds = [(costs[p], costs[p + 1]) for p in range(0, len(costs) - 1, 2)]
    ratios = [max(pair) / (sum(pair) / 2) for pair in rounds]
    assert done.balance is not None
    assert (done.balance.mean, done.balance.worst) == pytest.approx((sum(ratios) / len(ratios), max(ratios)))


def test_holes_are_counted_of_the_split_alone(dataset: Path) -> None:
    assert dry(dataset).holes == {"expired": 1, "revoked": 1}
    assert dry(dataset, today=datetime.date(2026, 6, 1)).holes == {"expired": 2, "revoked": 1}
    assert dry(dataset, PlanConfig(resolution=64, split="test")).holes == {}


def test_what_is_over_the_budget_and_what_no_task_can_use(dataset: Path) -> None:
    small = dry(dataset, PlanConfig(resolution=64, token_budget=20))
    assert small.over_budget == small.micro_batches == COUNT
    assert small.useful == 1.0
    assert dry(dataset).over_budget == 0
    only = dry(dataset, PlanConfig(resolution=64, tasks={Task.RESTYLE: 1.0}))
    assert only.tasks == {"restyle": COUNT}
    assert only.left_out == 0


def test_designs_without_a_pair_are_left_out_of_restyle(tmp_path: Path) -> None:
    samples = [make_sample(0), with_design(make_sample(1), restyles=())]
    publish(tmp_path / "ds", [Entry(sample) for sample in samples])
    row = {"design_id": samples[1].design.design_id, "reason": "a letter", "revoked": "2026-01-01"}
    pq.write_table(pa.Table.from_pylist([row], schema=REVOKED_SCHEMA), tmp_path / "ds" / REVOKED_PARQUET)
    done = dry(tmp_path / "ds", PlanConfig(resolution=64, tasks={Task.RESTYLE: 1.0}))
    assert (done.samples, done.left_out, done.holes) == (1, 1, {})
    publish(tmp_path / "none", [Entry(samples[1])])
    with pytest.raises(UsageError, match=r"none of the 1 samples .* for restyle"):
        dry(tmp_path / "none", PlanConfig(resolution=64, tasks={Task.RESTYLE: 1.0}))


def test_the_largest_canvas_is_what_it_would_be_without_a_limit(tmp_path: Path) -> None:
    """A visible box of 32 x 32 px in a canvas of 80 x 64 px, at 64 px: 160 x 128 px, 10 x 8 tokens."""
    design = with_design(make_sample(0), visible=Box(0, 0, 32, 32))
    publish(tmp_path / "ds", [Entry(design), Entry(make_sample(1))])
    done = dry(tmp_path / "ds")
    assert (done.scaled_down, done.largest_canvas, done.canvas_limit) == (1, 80, 64)
    wide = dry(tmp_path / "ds", CONFIG.model_copy(update={"max_canvas_tokens": 80}))
    assert (wide.scaled_down, wide.largest_canvas) == (0, 80)


def test_no_shard_is_read(dataset: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(dataset, bare, ignore=shutil.ignore_patterns("shards"))
    assert not (bare / "shards").exists()
    assert dry(bare) == dataclasses.replace(dry(dataset), dataset=str(bare))


@pytest.mark.parametrize("local", [True, False], ids=["local", "store"])
def test_bytes_and_requests_are_those_of_a_stream(dataset: Path, local: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """All micro-batches of one rank are sampled, so the estimate is exact. A store is asked for each job alone here."""
    read = ReadConfig(gap_bytes=2000, request_bytes=4000, prefetch_bytes=0)
    url = str(dataset) if local else in_memory(dataset)
    fetchers: list[Fetcher] = []

    class Watched(Fetcher):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            fetchers.append(self)

    monkeypatch.setattr(deliver, "Fetcher", Watched)
    stream = DesignStream(url, read=read, today=TODAY, **CONFIG.model_dump())
    delivered = sum(len(batch.keys) for batch in stream)
    done = dry(url, world_size=1, step=len(stream.plan()), read=read)
    assert done.holes == stream.holes == {"expired": 1, "revoked": 1}
    assert delivered == done.samples - 2
    assert done.reading.sampled == len(stream.plan())
    assert done.reading.requests == pytest.approx(fetchers[0].stats.requests)
    assert done.reading.bytes == pytest.approx(fetchers[0].stats.bytes)


def test_groups_of_a_store_save_requests(dataset: Path) -> None:
    url = in_memory(dataset)
    alone, together = (dry(url, world_size=1, read=ReadConfig(prefetch_bytes=size)).reading for size in (0, 2**28))
    assert together.requests < alone.requests


def test_an_even_load_has_a_balance_of_one() -> None:
    even = balance(np.full(12, 7.0), 4)
    assert even is not None
    assert (even.mean, even.worst) == (1.0, 1.0)
    uneven = balance(np.array([1.0, 3.0, 2.0, 2.0, 100.0]), 2)
    assert uneven is not None
    assert (uneven.mean, uneven.worst) == (1.25, 1.5)
    assert balance(np.ones(3), 4) is None


def test_a_world_larger_than_the_epoch(dataset: Path) -> None:
    done = dry(dataset, world_size=512)
    assert done.balance is None
    assert done.reading.sampled > 0


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    report.add_arguments(parser)
    return parser.parse_args(words)


def test_json_holds_every_number(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "--budget",
        "150",
        "--resolution",
        "64",
        "--task",
        "restyle=2",
        "--task",
        "add-layer",
        "--set",
        "window=16",
    ]
    assert report.run(arguments(str(dataset), *words, "--world-size", "2", "--step", "4", "--json")) == 0
    config = PlanConfig(resolution=64, token_budget=150, window=16, tasks={Task.RESTYLE: 2, Task.ADD_LAYER: 1})
    assert json.loads(capsys.readouterr().out) == dataclasses.asdict(
        dry(dataset, config, today=datetime.datetime.now(datetime.UTC).date())
    )


def test_the_tables_show_the_numbers_and_names_as_they_are(dataset: Path) -> None:
    done, out = dry(dataset), io.StringIO()
    report.show(done, Console(file=out, width=120))
    text = out.getvalue()
    assert str(dataset) in text.replace("\n", "")
    for shown in ("not delivered: revoked", f"{100 * done.waste:.1f} %", f"{done.tokens.max:,}", "estimated"):
        assert shown in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--task", "nope"], "tasks.nope"),
        (["--task", "restyle=much"], "tasks.restyle"),
        (["--set", "bugdet=3"], "bugdet"),
        (["--split", "gone"], "the split 'gone' has no sample; .* train \\(24\\)"),
        (["--world-size", "0"], "1 micro-batch or more"),
        (["--storage-options", "{"], "--storage-options"),
        (["--storage-options", "[]"], "--storage-options"),
        (["--decoder", "nope"], "no decoder 'nope'"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_exits_2(
    dataset: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report.run(arguments(str(dataset), "--budget", "150", "--resolution", "64", *words)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(said, line), line


def test_no_dataset_exits_2_and_a_damaged_one_1(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report.run(arguments(str(tmp_path), "--budget", "150")) == 2
    assert "dataset.json" in capsys.readouterr().err
    broken = tmp_path / "broken"
    shutil.copytree(dataset, broken)
    part = next((broken / "manifest").glob("index-*.parquet"))
    part.write_bytes(part.read_bytes()[:-100])
    assert report.run(arguments(str(broken), "--budget", "150")) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert str(part) in line
