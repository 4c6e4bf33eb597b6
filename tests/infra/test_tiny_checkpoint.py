"""The small checkpoint that is kept here has learned all four tasks."""

from __future__ import annotations

from functools import partial

import pytest

pytest.importorskip("diffusers")

import torch

from infra.bench.overfit import judged, sampled
from infra.bench.train_data import EXAMPLES, published, tiny
from model.tasks import Task
from training.config import TrainConfig
from training.evaluation import baselines
from training.evaluation.checkpoints import load
from training.evaluation.runs import Made
from training.evaluation.sets import Group
from training.learner import Learner

FOLDER = EXAMPLES.parent / "checkpoints" / "tiny"
MEGABYTES = 8
UNSEEN_SEED = 29


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    """Sixteen designs of another seed than those that it was trained on."""
    folder = tmp_path_factory.mktemp("unseen")
    return tiny(published(folder, 16, UNSEEN_SEED, {"train": 1.0}), folder / "run", {})


@pytest.fixture(scope="module")
def learner() -> Learner:
    return load(FOLDER, torch.device("cpu"))


def crop(group: Group) -> list[Made]:
    return [Made(baselines.crop(case)) for case in group.cases]


def test_it_is_small_and_says_where_it_is_from() -> None:
    assert sum(path.stat().st_size for path in FOLDER.rglob("*")) <= MEGABYTES * 10**6
    assert "acetate train infra/examples/train-mixed-tiny.yaml" in (FOLDER / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("task", [Task.IMAGE_TO_LAYERS, Task.ADD_LAYER, Task.RESTYLE])
def test_it_makes_layers_of_unseen_designs_better_than_a_crop(
    config: TrainConfig, learner: Learner, task: Task
) -> None:
    score = partial(judged, config, task, learner.codec.token_px)
    assert score(partial(sampled, learner, 1)).cost < score(crop).cost


def test_layers_made_of_text_have_the_shapes_of_their_boxes(config: TrainConfig, learner: Learner) -> None:
    """Colours are not said by the text alone; a layer that is missing has an IoU of 0."""
    found = judged(config, Task.TEXT_TO_LAYERS, learner.codec.token_px, partial(sampled, learner, 8))
    assert found.alpha_iou > 0.4
