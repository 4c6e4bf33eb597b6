"""Training learns what it is shown, and the benchmark that says so judges as an evaluation does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("diffusers")

import torch

from infra.bench import overfit
from infra.bench.overfit import DESIGNS, SAMPLED, STEPS, TASKS, judged, validated
from infra.bench.train_data import published, tiny
from model.tasks import Task
from pipelines.storage import Store
from tests.pipelines.dataset_builder import Entry, make_sample, publish
from tests.training.small_learner import small_learner
from training.config import TrainConfig
from training.evaluation.runs import Made, Runner
from training.evaluation.sets import Group

CPU = torch.device("cpu")
SMALL = {
    "data.resolution": 16,
    "data.token_budget": 400,
    "model.settings": {"num_layers": 1},
    "model.codec.designs": 16,
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """As many designs as are learned by heart, and four that are held out."""
    entries = [
        Entry(make_sample(number, side=48, layers=5), split="train" if number < DESIGNS else "validation")
        for number in range(DESIGNS + 4)
    ]
    return publish(tmp_path_factory.mktemp("designs"), entries)


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def config(one_thread: None, dataset: Store, tmp_path: Path) -> TrainConfig:
    return tiny(str(dataset.root), tmp_path / "run", SMALL)


def blank(group: Group) -> list[Made]:
    return [
        Made(replace(case.truth, layers=[(box, torch.zeros_like(picture)) for box, picture in case.truth.layers]))
        for case in group.cases
    ]


@pytest.mark.parametrize("task", TASKS)
def test_the_truth_is_faultless_and_nothing_is_worth_nothing(config: TrainConfig, task: Task) -> None:
    learner = small_learner()
    faultless = judged(config, task, learner.codec.token_px, Runner(learner, CPU).ceiling)
    assert faultless.alpha_iou > 0.99 and faultless.cost < 0.01
    nothing = judged(config, task, learner.codec.token_px, blank)
    assert nothing.alpha_iou == 0 and nothing.cost > 0.5


def test_every_learned_design_is_judged(config: TrainConfig) -> None:
    seen: list[str] = []

    def method(group: Group) -> list[Made]:
        seen.extend(case.key for case in group.cases)
        return blank(group)

    judged(config, Task.IMAGE_TO_LAYERS, 4, method)
    assert len(seen) == len(set(seen)) == DESIGNS


def test_a_task_is_validated_that_is_not_in_the_mix(config: TrainConfig) -> None:
    assert [task for task, weight in config.data.tasks.items() if weight] == [Task.IMAGE_TO_LAYERS]
    found = validated(config, small_learner(), TASKS, 4)
    assert set(found) == set(TASKS) and all(loss > 0 for loss in found.values())


def test_a_run_is_trained_and_sampled(one_thread: None, dataset: Store, tmp_path: Path) -> None:
    tasks = [Task.IMAGE_TO_LAYERS, Task.RESTYLE]
    fits = overfit.overfit(Path(dataset.root), tmp_path / "run", tasks, 2, SMALL)
    assert [(fit.task, fit.steps) for fit in fits] == [(task, steps) for task in tasks for steps in SAMPLED]
    assert all(0 <= fit.score.alpha_iou < 0.75 and not fit.reached for fit in fits)


@pytest.mark.slow
def test_a_table_has_each_task_with_and_without(one_thread: None, dataset: Store, tmp_path: Path) -> None:
    _, _, rows = overfit.held_out(Path(dataset.root), tmp_path, 1, 4, SMALL)
    assert [row[0] for row in rows] == list(TASKS)
    for _, with_it, without_it, difference, falls in rows:
        assert float(with_it) - float(without_it) == pytest.approx(float(difference), abs=1e-4)
        assert falls == ("yes" if difference.startswith("-") else "NO")


@pytest.mark.slow
def test_sixteen_designs_are_learned_by_heart(tmp_path: Path) -> None:
    """Image-to-layers alone; the bars are of both ways to sample."""
    few = published(tmp_path / "few", DESIGNS, overfit.SEED, {"train": 1.0})
    for fit in overfit.overfit(few, tmp_path / "alone", [Task.IMAGE_TO_LAYERS], STEPS, {}):
        assert fit.reached, fit
