"""The loss of a design is the mean square error of its velocity, whatever designs and tasks stand beside it."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

from model.tasks import Task
from tests.training.example_batches import codec, micro_batch
from tests.training.stepping import lively_learner
from training.examples import Example, ExampleConfig, prepare
from training.learner import Learner
from training.noise import Noise, NoiseConfig, draw_noise

MIXED = list(enumerate(Task))


@pytest.fixture(scope="module")
def learner() -> Learner:
    return lively_learner()


def example_of(designs: list[tuple[int, Task]]) -> Example:
    return prepare(micro_batch(designs), codec(), ExampleConfig(), seed=0, device="cpu")


def noise_of(example: Example) -> Noise:
    return draw_noise(example, NoiseConfig(), seed=0)


def errors(learner: Learner, designs: list[tuple[int, Task]]) -> Tensor:
    example = example_of(designs)
    out: Tensor = learner(example, noise_of(example))
    return out


@pytest.mark.parametrize("task", list(Task))
def test_it_is_the_square_error_of_the_velocity_over_noised_tokens(learner: Learner, task: Task) -> None:
    """Rectified flow: x_s = (1 - s) x + s e, whose velocity is e - x; given tokens are as they are and not counted."""
    example = example_of([(3, task)])
    noise = noise_of(example)
    sigma, target_T = float(noise.sigma_D), example.regions.target_T
    mixed = torch.where(target_T[:, None], (1 - sigma) * example.tokens + sigma * noise.noise_TC, example.tokens)
    said = learner.text.encode(example.prompts)
    packing = learner.transformer.pack(example.regions, said.lengths)
    predicted = learner.transformer(mixed, said.values, noise.sigma_D, example.regions, packing)
    wanted = ((predicted - (noise.noise_TC - example.tokens)) ** 2).mean(1)[target_T].sum()
    found = learner(example, noise)
    assert found.shape == (1,) and found.dtype is torch.float32
    torch.testing.assert_close(found[0], wanted, rtol=1e-5, atol=0)


def test_designs_of_several_tasks_do_not_see_each_other(learner: Learner) -> None:
    together = errors(learner, MIXED)
    alone = torch.cat([errors(learner, [each]) for each in MIXED])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=0)


def test_noise_on_given_tokens_has_no_say(learner: Learner) -> None:
    example = example_of(MIXED)
    noise = noise_of(example)
    other = noise.noise_TC.clone()
    other[~example.regions.target_T] = 7.0
    assert not bool(example.regions.target_T.all())
    assert torch.equal(learner(example, noise), learner(example, Noise(noise.sigma_D, other)))


def test_an_error_that_is_not_finite_is_of_its_design_alone(learner: Learner) -> None:
    example = example_of(MIXED)
    noise = noise_of(example)
    of_one_T = example.regions.of_tokens(example.regions.design) == 1
    noise.noise_TC[of_one_T & example.regions.target_T] = torch.nan
    assert learner(example, noise).isfinite().tolist() == [number != 1 for number, _ in MIXED]


def test_no_design_gives_a_gradient_of_0_for_every_parameter(learner: Learner) -> None:
    example = example_of([])
    found = learner(example, noise_of(example))
    assert found.shape == (0,)
    learner.zero_grad()
    found.sum().backward()
    assert all(value.grad is None or not bool(value.grad.any()) for value in learner.parameters())
    assert learner.transformer.proj_out.weight.grad is not None
    learner.zero_grad()


def test_every_part_learns_but_what_the_last_block_makes_of_text(learner: Learner) -> None:
    errors(learner, MIXED).sum().backward()  # type: ignore[no-untyped-call]
    still = {name for name, value in learner.trained() if value.grad is None or not bool(value.grad.any())}
    of_text = re.compile(r"transformer\.transformer_blocks\.0\.(attn\.(add_q|norm_added_q|to_add_out)|txt_mlp)")
    assert all(of_text.match(name) for name in still), still
    assert any(name.startswith("trained_text.") for name, _ in learner.trained())
    learner.zero_grad()


def test_the_bundle_has_its_weights(learner: Learner) -> None:
    assert learner.bundle.transformer is learner.transformer
    assert learner.bundle.codec is learner.codec
    assert learner.bundle.text is learner.trained_text is learner.text
