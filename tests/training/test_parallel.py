"""Ranks agree, share and sum, and their gradients are those of one process that has it all."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor

from tests.training.processes import start_ranks
from tests.training.two_ranks import Tiny, gradients
from training.errors import TrainingError, UsageError
from training.parallel import World, _unpacked, agree, join, peers, shard, share_folder, together, total


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two ranks found."""
    folder = tmp_path_factory.mktemp("ranks")
    processes = start_ranks(2, ["-m", "tests.training.two_ranks", str(folder)])
    logs = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(logs)
    return [json.loads((folder / f"{rank}.json").read_text(encoding="utf-8")) for rank in (0, 1)]


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    with join("cpu") as world:
        yield world


def test_gradients_of_two_ranks_one_of_them_without_work_are_those_of_one(said: list[dict[str, Any]]) -> None:
    for rank in said:
        found = rank["gradients"]
        assert found["names"] and found["parameters"] > 50
        assert found["difference"] < 1e-6 * found["largest"]
        assert found["largest"] > 0


def test_a_sharded_model_samples_as_a_whole_one_and_stays_sharded(said: list[dict[str, Any]]) -> None:
    for rank in said:
        assert rank["gradients"]["sampled as by one"]
        assert rank["gradients"]["sharded"]


def test_bfloat16_computes_over_float32_weights(said: list[dict[str, Any]]) -> None:
    wanted = {"weights": "torch.float32", "gradients": "torch.float32", "computation": "torch.bfloat16"}
    assert [rank["bfloat16"] for rank in said] == [wanted] * 2


@pytest.mark.parametrize("name", ["new", "adapted"])
def test_the_first_rank_alone_has_the_weights_and_each_gets_its_share(name: str, said: list[dict[str, Any]]) -> None:
    begun = [rank["begun"][name] for rank in said]
    assert [each["empty before"] for each in begun] == [False, True]
    assert all(each["same"] and each["trained"] for each in begun)
    assert [each["types"] for each in begun] == [["torch.float32"]] * 2
    assert all(0.4 < each["share"] < 0.6 for each in begun)


def test_totals_are_over_all_ranks(said: list[dict[str, Any]]) -> None:
    assert [rank["total"] for rank in said] == [[3.0, 1.0]] * 2


def test_an_error_on_one_rank_is_raised_on_all(said: list[dict[str, Any]]) -> None:
    assert [rank["none"] for rank in said] == ["nothing"] * 2
    assert said[0]["second"] == "RemoteError: rank 1: OSError: the disk of 1 is gone"
    assert said[1]["second"] == "OSError: the disk of 1 is gone"
    assert said[0]["usage"] == "RemoteUsageError: rank 1: steps is 0"
    assert [rank["both"] for rank in said] == [f"OSError: the disk of {number} is gone" for number in (0, 1)]


LEFT = """
import os, signal, sys, torch
from training.errors import RemoteError
from training.parallel import agree, join, total
try:
    with join("cpu", 60) as world:
        total(torch.zeros(1), world)
        if world.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        agree(None, world)
except RemoteError as error:
    sys.exit(str(error))
"""


def test_a_rank_that_was_killed_is_one_line_on_the_others() -> None:
    left, killed = start_ranks(2, ["-c", LEFT])
    log = left.communicate(timeout=100)[1]
    killed.communicate()
    assert left.returncode == 1
    assert re.fullmatch(
        r"rank 0: another rank is gone or does not answer \([^\n]+\), which its own output may explain; "
        r"give the command again to go on from the last checkpoint\n",
        log,
    ), log


def test_errors_that_are_no_connection_stay_as_they_are() -> None:
    with pytest.raises(RuntimeError, match=r"^shapes differ$"), peers(0):
        raise RuntimeError("shapes differ")


def test_a_reader_that_ends_early_on_one_rank_stops_the_other(said: list[dict[str, Any]]) -> None:
    assert [rank["together"] for rank in said] == [0, 10]
    assert said[0]["reader"].startswith("RemoteError: rank 1: StopIteration")
    assert said[1]["reader"].startswith("StopIteration")


def test_a_folder_of_rank_0_is_had_by_all(said: list[dict[str, Any]]) -> None:
    assert [rank["own folder"] for rank in said] == [True, False]
    assert [rank["files"] for rank in said] == [{"deep/basis.bin": 256, "empty": 0}] * 2
    assert "is neither file nor folder" in said[0]["link"]
    assert said[1]["link"].startswith("RemoteError: rank 0: ") and said[1]["link"].endswith("with other ranks")


@pytest.mark.parametrize("name", ["../a", "/a", "a/../../b", "a\\b", "c:a"])
def test_a_shared_name_stays_in_its_folder(name: str) -> None:
    with pytest.raises(TrainingError, match="no name in a folder"):
        _unpacked(json.dumps([[name, 1]]).encode(), b"x")


def test_a_world_of_one_has_a_group_that_ends_with_it(alone: World, tmp_path: Path) -> None:
    assert alone == World(0, 1, 0, torch.device("cpu"))
    assert dist.is_initialized()
    values = torch.tensor([1.0, 2.0])
    summed = total(values, alone)
    assert torch.equal(summed, values) and summed is not values
    assert share_folder(tmp_path, alone) == tmp_path
    assert together(lambda: 3, alone) == 3
    agree(None, alone)
    with pytest.raises(OSError, match="gone"):
        agree(OSError("gone"), alone)


def test_a_group_that_is_there_is_used_and_left(alone: World) -> None:
    with join("cpu") as again:
        assert again == alone
    assert dist.is_initialized()


def test_one_process_in_float32_is_not_sharded(alone: World) -> None:
    model = Tiny()
    shard(model, alone, checkpointing=True)
    assert not any(isinstance(value, DTensor) for value in model.parameters())
    assert model.transformer.is_gradient_checkpointing


def test_one_process_in_bfloat16_keeps_float32_weights(alone: World) -> None:
    torch.set_num_threads(1)
    model, whole = Tiny(), Tiny()
    shard(model, alone, dtype=torch.bfloat16)
    found, expected = gradients(model, [[0]]), gradients(whole, [[0]])
    assert {value.dtype for value in model.parameters()} == {torch.float32}
    for name, grad in ((name, grad) for name, grad in expected.items() if grad.any()):
        assert torch.nn.functional.cosine_similarity(found[name].flatten(), grad.flatten(), 0) > 0.99, name


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"WORLD_SIZE": "2"}, "must all be numbers"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, "must all be numbers"),
        ({"RANK": "2", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}, "no rank 2 .* in a world of 2"),
        ({"RANK": "one", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}, "must all be numbers"),
    ],
)
def test_half_an_environment_is_refused(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], problem: str
) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=problem), join("cpu"):
        pass


def test_a_world_that_nobody_leads_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(TrainingError, match="rank 1 could not join the 2 ranks"), join("cpu"):
        pass


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match=r"run\.device=cpu"), join("cuda"):
        pass
