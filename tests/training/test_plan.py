"""The plan of an epoch: a function of the samples alone, made once a host, and never used damaged."""

from __future__ import annotations

import fcntl
import os
import pickle
import platform
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from pipelines.storage import Store
from tests.training.test_index import rows_of, with_index
from training.errors import DamageError, UsageError
from training.streaming import index as index_module
from training.streaming import plan as plan_module
from training.streaming.config import TASKS, PlanConfig, Task
from training.streaming.hostfile import alone, written_whole
from training.streaming.index import Index
from training.streaming.plan import Plan, open_plan
from training.streaming.source import Source

CONFIG = PlanConfig(resolution=128, token_budget=512, window=15, balance=4)

CHILD = """
import sys, time
from pathlib import Path
from training.streaming import plan as plan_module
from training.streaming.config import PlanConfig
from training.streaming.index import Index
from training.streaming.source import Source
url, folder, pause = sys.argv[1:]
write = plan_module.write_plan
def slowly(path, *rest):
    write(path, *rest)
    print("built", flush=True)
    time.sleep(float(pause))
plan_module.write_plan = slowly
config = PlanConfig(resolution=128, token_budget=512, window=15, balance=4)
plan = plan_module.open_plan(Index.open(Source(url)), config, 0, 0, Path(folder))
print("opened", len(plan), flush=True)
"""


@pytest.fixture
def index(designs: Store) -> Index:
    return Index.open(Source(designs.url))


def contents(plan: Plan, index: Index) -> list[list[tuple[str, Task, int, int]]]:
    return [
        [(index.locate([draw.row])[0].key, draw.task, draw.partition, draw.tokens) for draw in plan[position]]
        for position in range(len(plan))
    ]


def child(index: Index, folder: Path, pause: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, index.source.url, str(folder), str(pause)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_every_sample_is_there_once_within_the_budget(index: Index, tmp_path: Path) -> None:
    plan = open_plan(index, CONFIG, 0, 0, tmp_path)
    draws = [draw for position in range(len(plan)) for draw in plan[position]]
    assert sorted(draw.row for draw in draws) == list(range(60))
    sums = [sum(draw.tokens for draw in plan[position]) for position in range(len(plan))]
    assert all(total <= 512 or len(plan[position]) == 1 for position, total in enumerate(sums))
    summary = plan.summary
    assert (summary.samples, summary.micro_batches, summary.tokens) == (60, len(plan), sum(sums))
    assert summary.over_budget == sum(draw.tokens > 512 for draw in draws)
    assert summary.useful_share == pytest.approx(sum(min(total, 512) for total in sums) / len(plan) / 512)
    assert {task: n for task, n in summary.samples_by_task.items() if n} == Counter(draw.task for draw in draws)
    assert sum(summary.tokens_by_task.values()) == summary.tokens
    assert (summary.ineligible, summary.scaled_down) == (0, 0)
    with pytest.raises(IndexError):
        plan[len(plan)]
    with pytest.raises(IndexError):
        plan[-1]


def test_the_order_follows_from_the_samples_not_from_the_index(index: Index, designs: Store, tmp_path: Path) -> None:
    expected = contents(open_plan(index, CONFIG, 0, 0, tmp_path / "a", threads=1), index)
    rows = [rows_of(designs)[i] for i in np.random.default_rng(0).permutation(60)]
    other = with_index(designs, tmp_path / "ds", [rows[:10], rows[10:55], rows[55:]])
    assert contents(open_plan(other, CONFIG, 0, 0, tmp_path / "a", threads=3), other) == expected


@pytest.mark.parametrize(("seed", "epoch"), [(1, 0), (0, 1)])
def test_another_seed_or_epoch_is_another_order(index: Index, tmp_path: Path, seed: int, epoch: int) -> None:
    first, second = open_plan(index, CONFIG, 0, 0, tmp_path), open_plan(index, CONFIG, seed, epoch, tmp_path)
    assert first.path != second.path
    assert contents(first, index) != contents(second, index)
    assert sorted(first.rows) == sorted(second.rows)
    assert (first.tasks != second.tasks).any()


def test_other_splits_and_samples_without_a_task_are_left_out(designs: Store, tmp_path: Path) -> None:
    rows = rows_of(designs)
    for row in rows[:20]:
        row["split"] = "val"
    for row in rows[50:]:
        row["restyles"] = []
    index = with_index(designs, tmp_path / "ds", [rows])
    config = CONFIG.model_copy(update={"tasks": {Task.RESTYLE: 1.0}})
    plan = open_plan(index, config, 0, 0, tmp_path / "plans")
    assert sorted(plan.rows) == list(range(20, 50))
    assert plan.summary.ineligible == 10
    assert set(plan.tasks) == {TASKS.index(Task.RESTYLE)}
    none = open_plan(index, CONFIG.model_copy(update={"split": "test"}), 0, 0, tmp_path / "plans")
    assert (len(none), none.summary.samples, none.summary.useful_share) == (0, 0, 0)


def test_progress_ends_at_its_total(index: Index, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    open_plan(index, CONFIG, 0, 0, tmp_path, lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1] == (120, 120)
    open_plan(index, CONFIG, 0, 0, tmp_path, lambda *_: pytest.fail("it is there"))


def test_an_existing_plan_needs_no_index_part(index: Index, designs: Store, tmp_path: Path) -> None:
    made = open_plan(index, CONFIG, 0, 0, tmp_path)
    fresh = Index(Source(str(tmp_path / "nowhere")), index.dataset)
    found = open_plan(fresh, CONFIG, 0, 0, tmp_path)
    assert fresh.counts == [60]
    assert [found[i] for i in range(len(found))] == [made[i] for i in range(len(made))]
    again = pickle.loads(pickle.dumps(found))
    assert again[0] == made[0]


@pytest.mark.parametrize("damage", ["cut", "long", "magic", "header", "empty", "starts", "rows", "tasks"])
def test_a_damaged_file_is_made_anew(
    index: Index, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    plan = open_plan(index, CONFIG, 0, 0, tmp_path)
    path, whole = plan.path, plan.path.read_bytes()
    rows = whole.index(plan.rows.tobytes())
    size = int.from_bytes(whole[8:16], "little")
    first = -(-(48 + size) // 64) * 64
    path.write_bytes(
        {
            "cut": whole[:-1],
            "long": whole + b"\0",
            "magic": b"X" + whole[1:],
            "header": whole[:60] + b"9" + whole[61:],
            "empty": b"",
            "starts": whole[:first] + b"\1" + whole[first + 1 :],
            "rows": whole[:rows] + bytes([whole[rows] ^ 1]) + whole[rows + 1 :],
            "tasks": whole[:-1] + bytes([whole[-1] ^ 1]),
        }[damage]
    )
    open_plan(index, CONFIG, 0, 0, tmp_path)
    assert path.read_bytes() == whole
    assert "damaged" in caplog.text


def test_damaged_numbers_are_refused_where_they_are_used(index: Index, tmp_path: Path) -> None:
    """The file was whole when it was opened."""
    plan = open_plan(index, CONFIG, 0, 0, tmp_path)
    with plan.path.open("r+b") as file:
        file.seek(-60, os.SEEK_END)
        file.write(b"\x7f" * 60)
    with pytest.raises(DamageError, match=str(plan.path)):
        plan[0]


def test_one_of_two_processes_makes_the_plan(index: Index, tmp_path: Path) -> None:
    both = [child(index, tmp_path, 1.0) for _ in range(2)]
    out = [process.communicate(timeout=120)[0].split("\n") for process in both]
    assert sum("built" in lines for lines in out) == 1
    assert all(any(line.startswith("opened") for line in lines) for lines in out)


def test_a_killed_maker_leaves_nothing_in_the_way(index: Index, tmp_path: Path) -> None:
    process = child(index, tmp_path, 600)
    assert process.stdout is not None
    assert process.stdout.readline() == "built\n"
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not list(tmp_path.rglob("plan-*"))
    assert list(tmp_path.rglob(".tmp-*"))
    start = time.monotonic()
    assert len(open_plan(index, CONFIG, 0, 0, tmp_path)) > 0
    assert time.monotonic() - start < 30
    assert not list(tmp_path.rglob(".tmp-*"))


def test_old_plans_go(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "KEPT_PLANS", 2)
    paths = []
    for epoch in range(3):
        paths.append(open_plan(index, CONFIG, 0, epoch, tmp_path).path)
        os.utime(paths[0], (1e9 + 10 + epoch,) * 2) if epoch == 0 else os.utime(paths[-1], (1e9 + epoch,) * 2)
    assert {path for path in paths if path.exists()} == {paths[0], paths[2]}


def test_a_folder_that_cannot_be_written_is_the_users_mistake(index: Index, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match="choose another directory"):
        open_plan(index, CONFIG, 0, 0, tmp_path / "file" / "plans")


def test_hosts_that_share_a_folder_leave_each_others_plans_alone(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_module, "KEPT_PLANS", 1)
    monkeypatch.setattr(platform, "node", lambda: "a/../b")
    theirs = open_plan(index, CONFIG, 0, 0, tmp_path).path
    assert theirs.resolve().parent.parent == tmp_path
    monkeypatch.setattr(platform, "node", lambda: "b")
    mine = [open_plan(index, CONFIG, 0, epoch, tmp_path).path for epoch in range(2)]
    assert [path.exists() for path in (theirs, *mine)] == [True, False, True]


def test_an_error_within_the_lock_stays_what_it_is(index: Index, tmp_path: Path) -> None:
    def progress(*_: int) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    with pytest.raises(BrokenPipeError):
        open_plan(index, CONFIG, 0, 0, tmp_path, progress)
    with pytest.raises(UsageError, match=r"cannot keep plans in .*: Is a directory"), alone(tmp_path, "", "plans"):
        pass
    with pytest.raises(UsageError, match=r"cannot keep maps in .*: no room"), written_whole(tmp_path / "a", "maps"):
        raise OSError(28, "no room")
    assert len(open_plan(index, CONFIG, 0, 0, tmp_path)) > 0


def test_a_lock_ends_with_its_block_though_a_process_was_forked_in_it(tmp_path: Path) -> None:
    """As a fork would, a duplicate of its handle lives on."""
    lock = tmp_path / "lock"
    with alone(tmp_path, lock.name, "plans"):
        (handle,) = (int(link.name) for link in Path("/proc/self/fd").iterdir() if link.resolve() == lock)
        forked = os.dup(handle)
    try:
        with lock.open("rb") as other:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(forked)


def test_a_design_that_is_there_twice_is_named(designs: Store, tmp_path: Path) -> None:
    rows = rows_of(designs)
    rows[41]["key"] = rows[3]["key"]
    index = with_index(designs, tmp_path / "twice", [rows[:30], rows[30:]])
    with pytest.raises(DamageError, match=f"{tmp_path}/twice has the design {rows[3]['key']} 2 times"):
        open_plan(index, CONFIG, 0, 0, tmp_path)
    rows[41]["key"] = rows[3]["key"][:-1] + ("0" if rows[3]["key"][-1] != "0" else "1")
    index = with_index(designs, tmp_path / "alike", [rows[:30], rows[30:]])
    assert open_plan(index, CONFIG, 0, 0, tmp_path).summary.samples == 60


def test_large_shards_are_remembered_for_as_long_as_their_window_lasts(
    index: Index, designs: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "KEPT_ROWS", 10)
    rows = [row | {"shard": "shards/one.tar"} for row in rows_of(designs)]
    one = with_index(designs, tmp_path / "ds", [rows])
    plan = open_plan(one, CONFIG, 0, 0, tmp_path)
    assert (plan.window, open_plan(index, CONFIG, 0, 0, tmp_path).window) == (60, 24)
    contents(plan, one)
    assert len(one._at) == 60
