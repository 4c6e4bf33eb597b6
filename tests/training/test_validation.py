"""Validation: the same designs, noise and figures each time, however many ranks share them."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from model.tasks import Task
from tests.pipelines.dataset_builder import Entry, make_sample, publish
from tests.training.example_batches import TOKEN_PX
from tests.training.small_learner import small_learner
from training.batch import MicroBatch
from training.errors import ReadError
from training.examples import Example, ExampleConfig, prepare
from training.learner import Learner
from training.noise import NoiseConfig, draw_noise, fixed_noise
from training.validation import FixedDesigns, Validated, Validation, ValidationConfig

Settings = dict[str, Any]
CONFIG = ValidationConfig(designs=6, sigmas=(0.2, 0.8))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 designs to learn from, 9 to validate with, and 2 of one layer, which have nothing to restyle or to add."""
    folder = tmp_path_factory.mktemp("designs")
    entries = [Entry(make_sample(number, side=48, layers=3), unit=number // 6) for number in range(12)]
    entries += [
        Entry(make_sample(20 + n, side=48, layers=2 + n % 3), split="validation", unit=n // 4) for n in range(9)
    ]
    entries += [Entry(make_sample(40 + number, side=48, layers=1), split="bare") for number in range(2)]
    publish(folder, entries)
    return folder


@pytest.fixture
def settings(dataset: Path) -> Settings:
    """Micro-batches of two designs or so."""
    return {"dataset_url": str(dataset), "resolution": 24, "token_px": TOKEN_PX, "token_budget": 220, "seed": 5}


@pytest.fixture
def learner() -> Learner:
    return small_learner()


def prepared(learner: Learner, batch: MicroBatch) -> Example:
    return prepare(batch, learner.codec, ExampleConfig(), seed=0, device="cpu", evaluation=True)


def designs(settings: Settings, learner: Learner, rank: int = 0, size: int = 1, split: str = "validation") -> Any:
    return FixedDesigns(settings, partial(prepared, learner), split=split, seed=0, rank=rank, size=size)


def test_every_task_has_the_first_designs_each_time(settings: Settings, learner: Learner) -> None:
    found = designs(settings, learner)
    assert found.tasks == [Task.TEXT_TO_LAYERS, Task.IMAGE_TO_LAYERS, Task.ADD_LAYER, Task.RESTYLE]
    for task in found.tasks:
        first, again = found.examples(task, 6), designs({**settings, "seed": 9}, learner).examples(task, 6)
        keys = [key for example in first for key in example.keys]
        assert len(set(keys)) == len(keys) and 6 <= len(keys) < 9
        assert all(set(example.tasks) == {task} for example in first)
        assert [example.keys for example in again] == [example.keys for example in first]
        assert all(torch.equal(a.tokens, b.tokens) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("size", [2, 3, 7])
def test_ranks_share_the_micro_batches(settings: Settings, learner: Learner, size: int) -> None:
    alone = designs(settings, learner).examples(Task.RESTYLE, 6)
    shares = [designs(settings, learner, rank, size).examples(Task.RESTYLE, 6) for rank in range(size)]
    assert len({len(share) for share in shares}) == 1
    rounds = [example.keys for parts in zip(*shares, strict=True) for example in parts]
    assert [keys for keys in rounds if keys] == [example.keys for example in alone]


@pytest.mark.parametrize("size", [2, 3])
def test_the_figures_are_those_of_a_world_of_one(settings: Settings, learner: Learner, size: int) -> None:
    alone = Validation(designs(settings, learner), CONFIG)(learner)
    sums: list[Tensor] = []

    def noted(share: Tensor) -> Tensor:
        sums.append(share)
        return torch.stack(sums).sum(0)

    for rank in range(size):
        together = Validation(designs(settings, learner, rank, size), CONFIG, total=noted)(learner)
    assert set(alone.losses) == set(together.losses) == set(Task) - {Task.TEXT_TO_RGB, Task.TEXT_TO_RGBA}
    for task, losses in alone.losses.items():
        assert set(losses) == {0.2, 0.8}
        assert together.losses[task] == pytest.approx(losses, rel=1e-6)


def test_the_loss_is_that_of_all_noised_tokens(settings: Settings, learner: Learner) -> None:
    """Against one forward pass of all designs together."""
    found = designs({**settings, "tasks": {"image-to-layers": 1.0}}, learner)
    [example] = designs({**settings, "token_budget": 10_000}, learner).examples(Task.IMAGE_TO_LAYERS, 9)
    config = ValidationConfig(designs=9, sigmas=(0.4,), seed=3)
    with torch.no_grad():
        wanted = learner(example, fixed_noise(example, 0.4, 3)).sum() / example.targets
    validated = Validation(found, config)(learner)
    assert validated.losses == {Task.IMAGE_TO_LAYERS: {0.4: pytest.approx(float(wanted), rel=1e-5)}}


@pytest.mark.parametrize("cache_mb", [0, 512])
def test_a_second_time_gives_the_same_and_reads_only_what_was_not_kept(
    settings: Settings, learner: Learner, cache_mb: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []
    read = FixedDesigns.examples
    monkeypatch.setattr(
        FixedDesigns, "examples", lambda self, task, count: reads.append(task) or read(self, task, count)
    )
    found = designs({**settings, "tasks": "restyle"}, learner)
    validation = Validation(found, CONFIG.model_copy(update={"cache_mb": cache_mb}))
    assert validation(learner) == validation(learner)
    assert len(reads) == (1 if cache_mb else 2)


def test_ranks_ask_together_whether_or_not_they_had_room(settings: Settings, learner: Learner) -> None:
    """A rank that asks alone meets the others in another collective."""
    ranks = [designs({**settings, "tasks": "restyle"}, learner, rank, 2) for rank in range(2)]
    sizes = [sum(example.tokens.nbytes for example in each.examples(Task.RESTYLE, 6)) for each in ranks]
    assert sizes[0] != sizes[1]
    config = CONFIG.model_copy(update={"cache_mb": sum(sizes) / 2 / 2**20})  # room for one of them
    asked = []
    for each in ranks:
        calls: list[str] = []

        def together(work: Any, calls: list[str] = calls) -> list[Example]:
            calls.append("together")
            made: list[Example] = work()
            return made

        def total(sums: Tensor, calls: list[str] = calls) -> Tensor:
            calls.append("total")
            return sums

        validation = Validation(each, config, total=total, together=together)
        assert validation(learner) == validation(learner)
        asked.append(calls)
    assert asked[0] == asked[1]


def test_the_learner_is_left_as_it_was(settings: Settings, learner: Learner) -> None:
    learner.train()
    Validation(designs({**settings, "tasks": "restyle"}, learner), CONFIG)(learner)
    assert learner.training and all(parameter.grad is None for parameter in learner.parameters())


def test_it_falls_when_its_designs_are_learned(settings: Settings, learner: Learner) -> None:
    found = designs({**settings, "tasks": "image-to-layers"}, learner)
    validation = Validation(found, CONFIG)
    before = validation(learner).means[Task.IMAGE_TO_LAYERS]
    examples = found.examples(Task.IMAGE_TO_LAYERS, CONFIG.designs)
    optimiser = torch.optim.AdamW(learner.parameters(), lr=2e-3)
    for step in range(12):
        for example in examples:
            optimiser.zero_grad()
            (learner(example, draw_noise(example, NoiseConfig(), step)).sum() / example.targets).backward()
            optimiser.step()
    assert validation(learner).means[Task.IMAGE_TO_LAYERS] < 0.8 * before


def test_a_task_without_a_sample_is_named_once_and_left_out(
    settings: Settings, learner: Learner, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "training"):
        validation = Validation(designs(settings, learner, split="bare"), CONFIG)
        first, second = validation(learner), validation(learner)
    assert set(first.losses) == set(second.losses) == {Task.TEXT_TO_LAYERS, Task.IMAGE_TO_LAYERS}
    assert [record.getMessage() for record in caplog.records] == [
        "the split 'bare' has no sample for add-layer, restyle, which is left out"
    ]


def test_a_split_that_is_not_there_validates_nothing(settings: Settings, learner: Learner) -> None:
    found = designs(settings, learner, split="nowhere")
    assert Validation(found, CONFIG)(learner) == Validated({})


def test_a_rank_that_cannot_read_fails_before_any_pass(
    settings: Settings, learner: Learner, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def together(work: Any) -> list[Example]:
        asked.append("together")
        try:
            work()
        except ReadError:
            asked.append("failed")
        raise ReadError("rank 1: no")

    def refuse(*_: Any) -> list[Example]:
        raise ReadError("no")

    monkeypatch.setattr(FixedDesigns, "examples", refuse)
    monkeypatch.setattr(Learner, "forward", lambda *_: pytest.fail("a pass"))
    with pytest.raises(ReadError, match="rank 1"):
        Validation(designs(settings, learner), CONFIG, together=together)(learner)
    assert asked == ["together", "failed"]


def test_scalars_have_names_by_task_and_sigma() -> None:
    validated = Validated({Task.RESTYLE: {0.1: 1.0, 0.5: 2.0}, Task.ADD_LAYER: {}})
    assert validated.means == {Task.RESTYLE: 1.5}
    assert validated.scalars() == {
        "validation/restyle": 1.5,
        "validation/restyle/0.1": 1.0,
        "validation/restyle/0.5": 2.0,
    }


def test_plans_of_validation_lie_apart(settings: Settings, learner: Learner, tmp_path: Path) -> None:
    designs({**settings, "plan_dir": str(tmp_path / "plans")}, learner)
    assert [path.name for path in (tmp_path / "plans").iterdir()] == ["validation"]
