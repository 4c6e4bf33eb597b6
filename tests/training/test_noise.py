"""Noise and its amounts: distributions, and draws that belong to a design alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from model.sampling import shift_for
from model.tasks import Task
from tests.training.example_batches import codec, micro_batch
from training.examples import Example, ExampleConfig, prepare
from training.noise import NoiseConfig, draw_noise, fixed_noise, noise_of

TASKS = list(Task)
MANY = 200


def example(numbers: list[int], epoch: int = 0) -> Example:
    batch = micro_batch([(number, TASKS[number % len(TASKS)]) for number in numbers], epoch=epoch)
    return prepare(batch, codec(), ExampleConfig(), seed=0, device="cpu")


@pytest.fixture(scope="module")
def many() -> Example:
    batch = micro_batch([(number, Task.TEXT_TO_RGBA) for number in range(MANY)])
    return prepare(batch, codec(), ExampleConfig(), seed=0, device="cpu")


def distance(drawn: torch.Tensor, quantile_of: torch.Tensor) -> float:
    """Kolmogorov's, between draws and a distribution function at them."""
    steps = torch.arange(1, len(drawn) + 1) / len(drawn)
    return float((quantile_of[drawn.argsort()] - steps).abs().max())


def test_a_design_has_its_noise_whatever_stands_beside_it() -> None:
    numbers, config = [3, 0, 5, 1], NoiseConfig(timesteps="shifted", by_tokens=True)
    together = example(numbers)
    drawn, fixed = draw_noise(together, config, seed=4), noise_of(together, 4, "sample")
    start = 0
    for place, number in enumerate(numbers):
        alone = example([number])
        stop = start + alone.regions.tokens
        own = draw_noise(alone, config, seed=4)
        assert torch.equal(own.sigma_D[0], drawn.sigma_D[place])
        assert torch.equal(own.noise_TC, drawn.noise_TC[start:stop])
        assert torch.equal(noise_of(alone, 4, "sample"), fixed[start:stop])
        start = stop
    assert start == len(drawn.noise_TC)


def test_noise_is_another_for_each_design_epoch_seed_and_purpose() -> None:
    first = example([0, 6])
    one = draw_noise(first, NoiseConfig(), 0)
    half = len(one.noise_TC) // 2
    others = [
        one.noise_TC[half:],
        draw_noise(example([0], epoch=1), NoiseConfig(), 0).noise_TC,
        draw_noise(example([0]), NoiseConfig(), 1).noise_TC,
        noise_of(example([0]), 0, "sample"),
        noise_of(example([0]), 0, "another"),
    ]
    for other in others:
        assert abs(float(torch.corrcoef(torch.stack([one.noise_TC[:half].flatten(), other.flatten()]))[0, 1])) < 0.05
    assert torch.equal(noise_of(example([0], epoch=1), 0, "sample"), noise_of(example([0]), 0, "sample"))


def test_noise_is_standard_normal(many: Example) -> None:
    noise = draw_noise(many, NoiseConfig(), 0)
    assert noise.noise_TC.shape == many.tokens.shape
    assert noise.noise_TC.dtype == noise.sigma_D.dtype == torch.float32
    assert abs(float(noise.noise_TC.mean())) < 0.005
    assert abs(float(noise.noise_TC.std()) - 1) < 0.005


def test_sigmas_are_of_the_distribution_that_is_asked_for(many: Example) -> None:
    critical = 1.63 / math.sqrt(MANY)  # of 1 % of all seeds
    uniform = draw_noise(many, NoiseConfig(), 0).sigma_D
    assert distance(uniform, uniform) < critical
    shifted = draw_noise(many, NoiseConfig(timesteps="shifted", shift=3), 0).sigma_D
    assert torch.allclose(shifted, 3 * uniform / (1 + 2 * uniform))
    normal = draw_noise(many, NoiseConfig(timesteps="logit-normal", mean=0.5, std=2), 0).sigma_D
    assert distance(normal, torch.special.ndtr((normal.logit() - 0.5) / 2)) < critical


def test_a_shift_by_tokens_is_that_of_the_design() -> None:
    drawn = example([0, 5])
    uniform = draw_noise(drawn, NoiseConfig(), 0).sigma_D
    by_tokens = draw_noise(drawn, NoiseConfig(timesteps="shifted", by_tokens=True), 0).sigma_D
    shifts = [by * (1 - u) / (u * (1 - by)) for u, by in zip(uniform.tolist(), by_tokens.tolist(), strict=True)]
    assert np.allclose(shifts, [shift_for(tokens) for tokens in drawn.regions.lengths], rtol=1e-4)
    assert drawn.regions.lengths[0] != drawn.regions.lengths[1]


def test_a_fixed_noise_is_the_same_in_all_epochs() -> None:
    first, second = (fixed_noise(example([0, 1, 2], epoch), 0.25, 7) for epoch in (0, 3))
    assert first.sigma_D.tolist() == [0.25] * 3
    assert torch.equal(fixed_noise(example([0]), 0.25, 7).noise_TC, first.noise_TC[: example([0]).regions.tokens])
    assert torch.equal(first.sigma_D, second.sigma_D)
    assert not torch.equal(fixed_noise(example([0, 1, 2]), 0.5, 7).noise_TC, first.noise_TC)


def test_no_design_has_no_noise() -> None:
    noise = draw_noise(example([]), NoiseConfig(), 0)
    assert noise.sigma_D.shape == (0,)
    assert noise.noise_TC.shape == (0, 64)


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"by_tokens": True}, "set it to 'shifted'"), ({"std": 0.0}, "std"), ({"shift": -1.0}, "shift")],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, object], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        NoiseConfig.model_validate(settings)
