"""Schedules against diffusers', and steps along velocities whose end is known."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.qwenimage.pipeline_qwenimage import calculate_shift
from torch import Tensor

from model.flow import noised
from model.sampling import FEW_STEP_SHIFT, Progress, layered_shift, sample, schedule, shift_for, shifted
from tests.model.tiny_models import draw

# Schedules


def test_the_schedule_of_a_student() -> None:
    wanted = [1, 21 / 22, 9 / 10, 5 / 6, 3 / 4, 9 / 14, 1 / 2, 3 / 10, 0]
    torch.testing.assert_close(schedule(8, FEW_STEP_SHIFT), torch.tensor(wanted, dtype=torch.float64))


@pytest.mark.parametrize("shift", [1.0, 3.0, 0.5])
@pytest.mark.parametrize("steps", [1, 2, 50])
def test_a_schedule_falls_from_noise_to_data(steps: int, shift: float) -> None:
    sigmas = schedule(steps, shift).tolist()
    assert len(sigmas) == steps + 1 and sigmas[0] == 1 and sigmas[-1] == 0
    assert all(high > low for high, low in pairwise(sigmas))


@pytest.mark.parametrize("shift", [0.5, 1.0, 3.0])
def test_shifts_as_diffusers_shifts(shift: float) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(sigmas=schedule(7)[:-1].numpy())
    torch.testing.assert_close(schedule(7, shift).float(), scheduler.sigmas, atol=1e-6, rtol=0)
    assert shifted(torch.tensor(0.5), 1.0) == 0.5


QWEN_IMAGE = {"base_shift": 0.5, "max_shift": 0.9, "base_image_seq_len": 256, "max_image_seq_len": 8192}
"""Of its scheduler_config.json, as ``shift_terminal`` is."""
QWEN_TERMINAL = 0.02


@pytest.mark.parametrize("terminal", [None, QWEN_TERMINAL])
@pytest.mark.parametrize("tokens", [16, 256, 1024, 4096, 9500])
def test_the_schedule_of_qwen_image(tokens: int, terminal: float | None) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True, time_shift_type="exponential", shift_terminal=terminal, **QWEN_IMAGE
    )
    mu = calculate_shift(tokens, 256, 8192, 0.5, 0.9)
    scheduler.set_timesteps(sigmas=np.linspace(1, 1 / 9, 9), mu=mu)
    got = schedule(9, shift_for(tokens), terminal)
    torch.testing.assert_close(got.float(), scheduler.sigmas, atol=1e-6, rtol=0)


@pytest.mark.parametrize("tokens", [256, 4096, 9500])
def test_the_shift_of_other_checkpoints(tokens: int) -> None:
    """FLUX's numbers, which diffusers falls back to."""
    assert shift_for(tokens, most=(4096, 1.15)) == pytest.approx(np.exp(calculate_shift(tokens)))


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("steps", [2, 8, 50])
def test_stretched_schedules_keep_their_ends_and_their_proportions(steps: int, shift: float) -> None:
    plain, sigmas = schedule(steps, shift), schedule(steps, shift, 0.02)
    assert sigmas[0] == 1 and sigmas[-1] == 0 and float(sigmas[-2]) == pytest.approx(0.02)
    torch.testing.assert_close(sigmas[:-2].diff() * plain[:-1].diff()[-1], plain[:-2].diff() * sigmas[:-1].diff()[-1])


def test_a_single_step_has_nothing_to_stretch() -> None:
    assert schedule(1, 3.0, 0.02).tolist() == [1, 0]


@pytest.mark.parametrize("tokens", [64, 256, 1600])
def test_the_shift_of_qwen_image_layered(tokens: int) -> None:
    mu = (tokens / (256 * 256 / 16 / 16)) ** 0.5  # as its pipeline computes it
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, time_shift_type="exponential")
    scheduler.set_timesteps(sigmas=np.linspace(1, 1 / 5, 5), mu=mu)
    torch.testing.assert_close(schedule(5, layered_shift(tokens)).float(), scheduler.sigmas, atol=1e-6, rtol=0)


# Steps

DATA, NOISE = draw(6, 3), draw(6, 3, seed=1)
TARGET = torch.tensor([True, True, False, True, False, True])
START = torch.where(TARGET[:, None], NOISE, DATA)


def exact(tokens: Tensor, sigma: float) -> Tensor:
    return NOISE - DATA


def towards(tokens: Tensor, sigma: float) -> Tensor:
    """The velocity to the data from wherever the tokens are."""
    return (tokens - DATA) / sigma


@pytest.mark.parametrize("steps", [1, 3, 8])
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_the_exact_velocity_leads_to_the_data_in_any_number_of_steps(steps: int, shift: float) -> None:
    for velocity in (exact, towards):
        end = sample(velocity, START, TARGET, schedule(steps, shift))
        torch.testing.assert_close(end, DATA, atol=1e-5, rtol=1e-5)


def test_more_steps_come_closer_to_a_path_that_bends() -> None:
    """Gaussian data of deviation s: the flow takes noise to s times the noise."""
    std = 0.3

    def velocity(tokens: Tensor, sigma: float) -> Tensor:
        return tokens * (sigma - (1 - sigma) * std**2) / ((1 - sigma) ** 2 * std**2 + sigma**2)

    noise = draw(1000, 1)
    errors = [
        float((sample(velocity, noise, torch.ones(1000, dtype=torch.bool), schedule(steps)) - std * noise).abs().max())
        for steps in (4, 16, 64, 256)
    ]
    assert all(fine < coarse / 2 for coarse, fine in pairwise(errors)) and errors[-1] < 0.02


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("renoises", [False, True])
def test_clean_tokens_come_back_bit_by_bit(dtype: torch.dtype, renoises: bool) -> None:
    start = START.to(dtype)
    seen: list[Progress] = []
    asked: list[Tensor] = []

    def velocity(tokens: Tensor, sigma: float) -> Tensor:
        asked.append(tokens)
        return draw(6, 3, seed=len(asked)).to(tokens.dtype) * 100

    renoise = (lambda: draw(6, 3, seed=9)) if renoises else None
    end = sample(velocity, start, TARGET, schedule(4, 3.0), renoise=renoise, watch=seen.append)
    assert end.dtype is dtype and torch.equal(end[~TARGET], start[~TARGET])
    assert not (end[TARGET] == start[TARGET]).any()
    for tokens in (*asked, *(one.tokens for one in seen), *(one.clean for one in seen)):
        assert torch.equal(tokens[~TARGET].to(dtype), start[~TARGET])
    assert all(tokens.dtype is dtype for tokens in asked)


def test_small_steps_in_half_precision_are_not_lost() -> None:
    """Tokens are kept in float32 between steps: 512 steps that are each below the rounding of the tokens."""
    start = torch.full((4, 2), 8.0, dtype=torch.bfloat16)
    end = sample(lambda x, sigma: torch.full_like(x, 1.0), start, torch.ones(4, dtype=torch.bool), schedule(512))
    assert (end == 7.0).all()


def test_with_fresh_noise_each_step_begins_on_the_path_from_its_estimate() -> None:
    sigmas = schedule(4, 3.0).tolist()
    fresh = [draw(6, 3, seed=10 + i) for i in range(3)]
    given = iter(fresh)
    asked: list[Tensor] = []

    def velocity(tokens: Tensor, sigma: float) -> Tensor:
        asked.append(tokens)
        return towards(tokens, sigma)

    end = sample(velocity, START, TARGET, sigmas, renoise=lambda: next(given))
    for noise, tokens, sigma in zip(fresh, asked[1:], sigmas[1:-1], strict=True):
        wanted = noised(DATA, noise, torch.full((6,), sigma))
        torch.testing.assert_close(tokens[TARGET], wanted[TARGET], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(end, DATA, atol=1e-5, rtol=1e-5)
    assert next(given, None) is None  # none for the last step


def test_one_step_is_the_same_with_fresh_noise_and_without() -> None:
    plain, other = (sample(exact, START, TARGET, [1.0, 0.0], renoise=r) for r in (None, lambda: NOISE))
    assert torch.equal(plain, other)


def test_who_watches_is_told_of_each_step() -> None:
    seen: list[Progress] = []
    end = sample(exact, START, TARGET, schedule(3), watch=seen.append)
    assert [(one.step, one.steps) for one in seen] == [(1, 3), (2, 3), (3, 3)]
    assert [one.sigma for one in seen] == pytest.approx([1, 2 / 3, 1 / 3])
    assert torch.equal(seen[-1].tokens, end)
    for one in seen:
        torch.testing.assert_close(one.clean, DATA, atol=1e-5, rtol=1e-5)


def test_who_watches_can_end_it() -> None:
    calls: list[float] = []

    def velocity(tokens: Tensor, sigma: float) -> Tensor:
        calls.append(sigma)
        return exact(tokens, sigma)

    def stop(progress: Progress) -> None:
        if progress.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample(velocity, START, TARGET, schedule(5), watch=stop)
    assert len(calls) == 2


def test_no_graph_is_kept() -> None:
    weight = torch.ones(3, requires_grad=True)
    assert not sample(lambda x, sigma: x * weight, START, TARGET, schedule(2)).requires_grad
