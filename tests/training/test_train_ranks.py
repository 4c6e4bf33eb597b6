"""Runs of two processes: what one began two go on with, and the other way round, to the same losses."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from model.bundle import Bundle
from pipelines.storage import Store
from tests.training.processes import environment, start_ranks
from tests.training.stepping import ALONE, Stepped, stepped
from tests.training.tiny_runs import config, corrupted, losses, saved, settings, written
from training.train import train

BEGUN, NEXT = 4, 20


@pytest.fixture(scope="module")
def folder(designs: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two ranks made of some runs, one of which had been begun by one process."""
    folder = tmp_path_factory.mktemp("ranks")
    assert train(config(designs, folder / "by one first", run__steps=BEGUN))
    shutil.copytree(folder / "by one first", folder / "begun by one")
    model = {"weights": str(folder / "by one first" / "model"), "lora": {"rank": 2}}
    lora: dict[str, Any] = {"model": model, "run__dtype": "bfloat16", "run__checkpointing": True}
    runs = {
        "begun by one": {"run__steps": BEGUN + NEXT},
        "begun by two": {"run__steps": BEGUN},
        "odd": {"run__micro_batches": 3},
        "adapted": {"run__steps": 2, **lora},
        "damaged": {"run__steps": 4, "data__dataset": str(folder / "corrupt"), "data__on_error": "skip"},
    }
    corrupted(designs, folder / "corrupt")
    for name, changes in runs.items():
        written(folder / f"{name}.yaml", settings(designs, folder / name, **changes))
    processes = start_ranks(2, ["-m", "tests.training.two_rank_runs", str(folder)])
    logs = [process.communicate(timeout=250)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(logs)
    return folder


@pytest.fixture(scope="module")
def said(folder: Path) -> list[dict[str, tuple[int, str]]]:
    """By rank and run: the exit code and what was said."""
    return [json.loads((folder / f"{rank}.json").read_text(encoding="utf-8")) for rank in (0, 1)]


@pytest.fixture(scope="module")
def steps(folder: Path) -> list[dict[str, Stepped]]:
    found = [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    return [{name: Stepped(*step) for name, step in each.items()} for each in found]


@pytest.fixture(scope="module")
def undisturbed(folder: Path, designs: Store) -> dict[int, float]:
    assert train(config(designs, folder / "undisturbed", run__steps=BEGUN + NEXT))
    return losses(folder / "undisturbed")


def test_two_go_on_with_what_one_began(
    folder: Path, said: list[dict[str, tuple[int, str]]], undisturbed: dict[int, float]
) -> None:
    assert [each["begun by one"][0] for each in said] == [0, 0], said
    assert losses(folder / "begun by one") == pytest.approx(undisturbed, abs=1e-5)
    assert max(saved(folder / "begun by one")) == BEGUN + NEXT


def test_one_goes_on_with_what_two_began(
    folder: Path, designs: Store, said: list[dict[str, tuple[int, str]]], undisturbed: dict[int, float]
) -> None:
    assert [each["begun by two"][0] for each in said] == [0, 0], said
    assert list(losses(folder / "begun by two")) == list(range(1, BEGUN + 1))
    assert train(config(designs, folder / "begun by two", run__steps=BEGUN + NEXT))
    assert losses(folder / "begun by two") == pytest.approx(undisturbed, abs=1e-5)


def test_micro_batches_that_cannot_be_shared_evenly_are_refused(said: list[dict[str, tuple[int, str]]]) -> None:
    line = "run.micro_batches is 3, which 2 processes cannot share evenly: set it to a multiple of 2"
    assert [tuple(each["odd"]) for each in said] == [(2, f"acetate: {line}\n")] * 2


def test_an_adapted_model_in_bfloat16_is_written_whole(folder: Path, said: list[dict[str, tuple[int, str]]]) -> None:
    assert [each["adapted"][0] for each in said] == [0, 0], said
    weights = Bundle.load(folder / "adapted" / "model").transformer.state_dict()
    assert not any("lora" in name for name in weights)
    assert all(value.dtype is torch.float32 for value in weights.values())
    assert all(bool(value.isfinite().all()) for value in weights.values())


def test_what_was_skipped_is_said_by_each_rank_and_counted_over_all(
    folder: Path, said: list[dict[str, tuple[int, str]]]
) -> None:
    assert [each["damaged"][0] for each in said] == [0, 0], said
    counts = [re.search(r"epoch 0: (\d+) samples were skipped, the first: ", each["damaged"][1]) for each in said]
    assert counts[1] is not None and said[1]["damaged"][1].startswith("rank 1: warning: ")
    of_all = sum(int(count[1]) for count in counts if count is not None)
    log = (folder / "damaged" / "log.txt").read_text(encoding="utf-8")
    assert f"{of_all} samples were skipped in all, on 2 ranks" in log


def test_what_all_ranks_find_is_said_once(said: list[dict[str, tuple[int, str]]]) -> None:
    assert [each["begun by two"][1].count("the split 'validation' has no sample for") for each in said] == [1, 0]


@pytest.fixture(scope="module")
def bereft(designs: Store, tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[Path, int, str]]:
    """By the rank that was killed: folder, exit code and stderr of the one that was left."""
    folder, pairs, found = tmp_path_factory.mktemp("bereft"), {}, {}
    for victim in (0, 1):
        given = settings(designs, folder / str(victim), run__steps=100_000, checkpoint__every=3)
        path = written(folder / f"{victim}.yaml", given)
        pairs[victim] = start_ranks(2, ["-m", "training.train", str(path)])
    for victim, ranks in pairs.items():
        out = folder / str(victim)
        while not (saved(out) and len(losses(out)) > max(saved(out))):
            assert all(rank.poll() is None for rank in ranks)
            time.sleep(0.05)
        ranks[victim].kill()
        log = ranks[1 - victim].communicate(timeout=100)[1]
        ranks[victim].communicate()
        found[victim] = (out, ranks[1 - victim].returncode, log)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_rank_that_was_killed_is_one_line_on_the_other(
    victim: int, designs: Store, bereft: dict[int, tuple[Path, int, str]]
) -> None:
    out, code, log = bereft[victim]
    assert code == 1 and "Traceback" not in log, log
    line = f"acetate: rank {1 - victim}: another rank is gone or does not answer ("
    assert log.splitlines()[-1].startswith(line) and "give the command again" in log
    step = max(saved(out))
    assert train(config(designs, out, run__steps=step + 2))
    assert max(losses(out)) == step + 2


@pytest.mark.parametrize("name", ["whole", "short"])
def test_a_step_is_the_same_for_two_ranks(name: str, steps: list[dict[str, Stepped]]) -> None:
    """``short``: the last rank has an empty micro-batch in the last round."""
    alone = stepped(name, ALONE)
    for rank in steps:
        report = rank[name].report
        assert {key: report[key] for key in ("targets", "tokens", "designs")} == {
            key: alone.report[key] for key in ("targets", "tokens", "designs")
        }
        assert report["loss"] == pytest.approx(alone.report["loss"], rel=1e-6)
        assert report["norm"] == pytest.approx(alone.report["norm"], rel=1e-5)
        assert report["losses"] == pytest.approx(alone.report["losses"], rel=1e-6)
        assert set(rank[name].weights) == set(alone.weights)
        for key, value in alone.weights.items():
            torch.testing.assert_close(rank[name].weights[key], value, rtol=0, atol=2e-6)


def test_a_loss_that_is_not_finite_on_one_rank_ends_all(steps: list[dict[str, Stepped]]) -> None:
    first, second = (rank["broken"] for rank in steps)
    assert second.error.startswith("NonFiniteError: the loss is not finite for design")
    assert first.error.startswith("RemoteError: rank 1: the loss is not finite for design")
    before = stepped("broken", ALONE).weights
    assert all(torch.equal(first.weights[name], before[name]) for name in before)


@pytest.mark.slow
def test_the_launcher_goes_on_with_what_one_began(folder: Path, designs: Store, undisturbed: dict[int, float]) -> None:
    out = folder / "launched"
    shutil.copytree(folder / "by one first", out)
    path = written(folder / "launched.conf", settings(designs, out, run__steps=BEGUN + NEXT))
    done = subprocess.run(
        [sys.executable, "-m", "training.launch", str(path), "--workers", "2"],
        env=environment(), capture_output=True, text=True, timeout=250, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert losses(out) == pytest.approx(undisturbed, abs=1e-5)
