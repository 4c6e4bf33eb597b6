"""What two processes make of a pass together is what one makes of it, and each does half of the work."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from model.ulysses import sequence_parallel
from tests.model.test_transformer import DESIGNS, batch, velocities
from tests.model.tiny_models import ours
from tests.training.processes import start_ranks


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two ranks found."""
    folder = tmp_path_factory.mktemp("ranks")
    processes = start_ranks(2, ["-m", "tests.model.ulysses_ranks", str(folder)])
    logs = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(logs)
    return [json.loads((folder / f"{rank}.json").read_text(encoding="utf-8")) for rank in (0, 1)]


def test_the_velocity_is_that_of_one_process(said: list[dict[str, Any]]) -> None:
    for rank in said:
        assert len(rank["differences"]) == 6
        assert {name: value for name, value in rank["differences"].items() if not value < 1e-5} == {}


def test_the_mean_of_the_gradients_is_that_of_one_process(said: list[dict[str, Any]]) -> None:
    for found in (each for rank in said for each in rank["gradients"]):
        assert found["names"] and found["parameters"] > 50
        assert found["difference"] < 1e-5 * found["largest"]


def test_each_process_has_its_slice_of_the_tokens_and_its_heads_of_all(said: list[dict[str, Any]]) -> None:
    tokens, words = batch(DESIGNS).tokens, sum(each.text for each in DESIGNS)
    assert tokens % 2 == 1, "slices are unequal"
    assert [rank["work"]["image"] for rank in said] == [tokens // 2 + 1, tokens // 2]
    assert [rank["work"]["text"] for rank in said] == [words // 2, words // 2]
    assert [rank["work"]["attention"] for rank in said] == [[tokens, 2, 32]] * 2


def test_a_pass_without_a_design_is_none_for_all(said: list[dict[str, Any]]) -> None:
    assert [rank["empty"] for rank in said] == [[0, 16]] * 2


def test_the_transformer_is_left_as_it_was_even_by_an_error(said: list[dict[str, Any]]) -> None:
    assert [rank["left"] for rank in said] == [True] * 2


def test_heads_that_cannot_be_shared_are_refused_with_what_can(said: list[dict[str, Any]]) -> None:
    wanted = "3 attention heads cannot be shared by 2 processes; start one of 1, 3"
    assert [rank["refusal"] for rank in said] == [wanted] * 2


def test_a_single_process_computes_alone() -> None:
    model = ours()
    alone = torch.cat(velocities(model, DESIGNS))
    with sequence_parallel(model):
        assert torch.equal(torch.cat(velocities(model, DESIGNS)), alone)
