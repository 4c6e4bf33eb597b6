"""Samples of a design are the same in any company, and what was given comes back as it is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from model.guidance import GUIDANCE, Guidance
from model.sampling import Progress
from model.tasks import Task
from tests.training.example_batches import codec, key, micro_batch, picture
from tests.training.stepping import lively_learner
from training.errors import UsageError
from training.examples import Example, ExampleConfig, prepare
from training.learner import Learner
from training.sampled import Sampler, decoded, sample_tokens

SAMPLER = Sampler(steps=2)


@pytest.fixture(scope="module")
def learner() -> Learner:
    return lively_learner()


def example_of(task: Task, *numbers: int) -> Example:
    batch = micro_batch([(number, task) for number in numbers])
    return prepare(batch, codec(), ExampleConfig(), seed=0, device="cpu", evaluation=True)


def of_design(example: Example, tokens: Tensor, number: int) -> Tensor:
    return tokens[example.regions.of_tokens(example.regions.design) == number]


@pytest.mark.parametrize("task", list(Task))
def test_a_design_is_sampled_alone_as_in_company(learner: Learner, task: Task) -> None:
    pair, single = example_of(task, 4, 9), example_of(task, 9)
    found = of_design(pair, sample_tokens(learner, pair, SAMPLER), 1)
    torch.testing.assert_close(found, sample_tokens(learner, single, SAMPLER), rtol=0, atol=2e-4)


@pytest.mark.parametrize("task", list(Task))
def test_what_is_given_comes_back(learner: Learner, task: Task) -> None:
    example = example_of(task, 2)
    tokens = sample_tokens(learner, example, SAMPLER)
    target_T = example.regions.target_T
    assert torch.equal(tokens[~target_T], example.tokens[~target_T])
    assert not bool((tokens[target_T] == example.tokens[target_T]).all(1).any())


def test_a_given_layer_is_decoded_to_its_own_pixels(learner: Learner) -> None:
    example = example_of(Task.ADD_LAYER, 2)
    [pictures] = decoded(learner, example, sample_tokens(learner, example, SAMPLER))
    regions = example.regions
    places = zip(regions.layer.tolist(), regions.boxes.tolist(), regions.clean.tolist(), strict=True)
    given = [(at, layer, box) for at, (layer, box, clean) in enumerate(places) if clean and layer > 0]
    assert given
    for at, layer, (x0, y0, x1, y1) in given:
        assert torch.equal(pictures[at], picture(f"{key(2)} {layer} False", (x0, y0, x1, y1)))


def test_pictures_are_those_of_each_design_without_references(learner: Learner) -> None:
    example = example_of(Task.RESTYLE, 1, 2)
    found = decoded(learner, example, example.tokens)
    regions = example.regions
    assert bool(regions.condition.any())
    for number, pictures in enumerate(found):
        own = (regions.design == number) & ~regions.condition
        sizes = [((y1 - y0) * 4, (x1 - x0) * 4, 4) for x0, y0, x1, y1 in regions.boxes[own].tolist()]
        assert [tuple(shown.shape) for shown in pictures] == sizes
        assert all(shown.dtype is torch.uint8 for shown in pictures)


@pytest.mark.parametrize("task", list(Task))
def test_guidance_is_the_tasks_own_unless_it_is_given(learner: Learner, task: Task) -> None:
    example = example_of(task, 3)
    own = sample_tokens(learner, example, SAMPLER)
    same = sample_tokens(learner, example, Sampler(steps=2, guidance=GUIDANCE[task]))
    other = sample_tokens(learner, example, Sampler(steps=2, guidance=Guidance(GUIDANCE[task].scale + 1.5)))
    assert torch.equal(own, same)
    assert not torch.equal(own, other)


def test_another_seed_is_another_sample(learner: Learner) -> None:
    example = example_of(Task.IMAGE_TO_LAYERS, 3)
    first = sample_tokens(learner, example, SAMPLER)
    assert torch.equal(first, sample_tokens(learner, example, SAMPLER))
    assert not torch.equal(first, sample_tokens(learner, example, Sampler(steps=2, seed=1)))


def test_it_can_be_watched_and_leaves_no_gradient(learner: Learner) -> None:
    seen: list[Progress] = []
    tokens = sample_tokens(learner, example_of(Task.TEXT_TO_LAYERS, 3), Sampler(steps=3), seen.append)
    assert len(seen) == 3 and not tokens.requires_grad


def test_one_task_at_a_time(learner: Learner) -> None:
    batch = micro_batch([(0, Task.RESTYLE), (1, Task.TEXT_TO_LAYERS)])
    example = prepare(batch, codec(), ExampleConfig(), seed=0, device="cpu")
    with pytest.raises(UsageError, match="one task is sampled at a time, not 2; give the designs of each apart"):
        sample_tokens(learner, example, SAMPLER)
