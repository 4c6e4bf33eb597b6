"""Two processes and one: what either saved the other loads, bit for bit; and both fail where one does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.training.checkpoint_ranks import empty, equal, expected
from training.checkpoint import CheckpointConfig, Checkpoints
from training.errors import UsageError


class Ran(NamedTuple):
    """The folder of two processes that ran, and what each saw."""

    folder: Path
    seen: list[dict[str, Any]]


def one(url: Path) -> Checkpoints:
    return Checkpoints(str(url), CheckpointConfig(), rank=0, world_size=1)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Ran:
    folder = tmp_path_factory.mktemp("ranks")
    checkpoints = one(folder / "one")
    checkpoints.save(5, expected(), {"position": 40, "name": "ünïcode"})
    checkpoints.close()
    command = [sys.executable, "-W", "error", "-m", "tests.training.checkpoint_ranks", str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [*command, str(rank)], cwd=repository, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for rank in range(2)
    ]
    try:
        said = [process.communicate(timeout=120) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], said
    return Ran(folder, [json.loads((folder / f"seen-{rank}.json").read_text()) for rank in range(2)])


def test_what_one_process_saved_two_load(ran: Ran) -> None:
    assert [seen["equal"] for seen in ran.seen] == [True, True]
    assert [seen["facts"] for seen in ran.seen] == [{"position": 40, "name": "ünïcode"}] * 2


def test_what_two_processes_saved_one_loads(ran: Ran) -> None:
    checkpoints = one(ran.folder / "two")
    saved = checkpoints.latest()
    assert saved is not None
    assert [seen["latest"] for seen in ran.seen] == [list(saved)] * 2
    assert saved.step == 2
    tensors = empty()
    assert checkpoints.load(saved, tensors) == {"rank": 0}
    assert equal(tensors)


def test_each_of_two_ranks_writes_one_file_and_nothing_twice(ran: Ran) -> None:
    [folder] = (ran.folder / "two" / "checkpoints").iterdir()
    assert sorted(path.name for path in folder.iterdir()) == [
        "rank-00000.safetensors", "rank-00001.safetensors", "state.json",
    ]  # fmt: skip
    files = json.loads((folder / "state.json").read_text())["files"]
    saved = sum(value.numel() * value.itemsize for value in expected().values())
    assert sum(file["size"] - file["header"] for file in files) == saved


def test_both_are_told_that_a_checkpoint_is_of_another_model(ran: Ran) -> None:
    for seen in ran.seen:
        assert "is of another model: it has no more;" in seen["wrong"]


def test_ranks_that_share_no_folder_save_nothing(ran: Ran) -> None:
    assert ran.seen[0]["apart"] == ran.seen[1]["apart"]
    assert "rank-00001.safetensors was written and is not there; give run.out a folder that all" in ran.seen[0]["apart"]
    assert one(ran.folder / "own-0").latest() is None


def test_the_failure_of_one_rank_is_that_of_both(ran: Ran) -> None:
    assert ran.seen[0]["blocked"] == ran.seen[1]["blocked"]
    assert ran.seen[0]["blocked"].startswith(f"cannot write {ran.folder}/blocked/checkpoints/step-00000001-")
    assert one(ran.folder / "fine").latest() is None


def test_a_checkpoint_without_the_file_of_a_rank_is_damaged(ran: Ran, tmp_path: Path) -> None:
    shutil.copytree(ran.folder / "two", tmp_path, dirs_exist_ok=True)
    [path] = tmp_path.glob("*/*/state.json")
    state = json.loads(path.read_text())
    path.write_text(json.dumps({**state, "files": state["files"][1:]}))
    checkpoints, tensors = one(tmp_path), empty()
    saved = checkpoints.latest()
    assert saved is not None
    with pytest.raises(UsageError, match="is damaged"):
        checkpoints.load(saved, tensors)
    assert not any(value.any() for value in tensors.values())
