"""The path between data and noise, and the preconditioning against what is known of Gaussian data."""

from __future__ import annotations

import pytest
import torch

from model.flow import Preconditioning, noised, to_clean, velocity
from tests.model.tiny_models import draw

STD = torch.tensor([0.05, 0.5, 1.0, 3.0], dtype=torch.float64)
SIGMAS = [0.02, 0.3, 0.5, 0.9, 1.0]


def test_the_ends_of_the_path_are_exact() -> None:
    clean, noise = draw(5, 3), draw(5, 3, seed=1)
    assert torch.equal(noised(clean, noise, torch.zeros(5)), clean)
    assert torch.equal(noised(clean, noise, torch.ones(5)), noise)
    assert torch.equal(noised(clean.bfloat16(), noise.bfloat16(), torch.zeros(5)), clean.bfloat16())


def test_each_token_has_its_own_sigma_and_its_velocity_leads_back() -> None:
    clean, noise = draw(4, 3).double(), draw(4, 3, seed=1).double()
    sigma = torch.tensor([0.0, 0.25, 0.75, 1.0], dtype=torch.float64)
    x = noised(clean, noise, sigma)
    torch.testing.assert_close(x, (1 - sigma)[:, None] * clean + sigma[:, None] * noise)
    torch.testing.assert_close(to_clean(x, velocity(clean, noise), sigma), clean)
    # The velocity is what the path changes by: the sign of Qwen-Image's weights.
    step = noised(clean, noise, sigma + 1e-3) - x
    torch.testing.assert_close(step / 1e-3, velocity(clean, noise))


@pytest.mark.parametrize("sigma", SIGMAS)
def test_without_a_network_the_velocity_is_the_best_linear_guess(sigma: float) -> None:
    """Of Gaussian data the mean of the velocity at x is Cov(v, x) / Var(x) * x: Wiener's, in float64."""
    sigmas = torch.full((1,), sigma, dtype=torch.float64)
    skip, out, spread = Preconditioning.at(sigmas, STD)
    variance = ((1 - sigma) * STD) ** 2 + sigma**2
    covariance = sigma - (1 - sigma) * STD**2  # of noise - data with (1 - sigma) * data + sigma * noise
    torch.testing.assert_close(skip[0], covariance / variance, rtol=1e-12, atol=0)
    torch.testing.assert_close(spread[0] ** 2, variance, rtol=1e-12, atol=0)
    left = (STD**2 + 1) - covariance**2 / variance  # variance of the velocity that x does not tell
    torch.testing.assert_close(out[0] ** 2, left, rtol=1e-9, atol=1e-15)
    # The data that it points to is the posterior mean.
    x = torch.tensor([[1.0, -2.0, 0.5, 3.0]], dtype=torch.float64)
    torch.testing.assert_close(to_clean(x, skip * x, sigmas)[0], (1 - sigma) * STD**2 / variance * x[0])


@pytest.mark.parametrize("sigma", SIGMAS)
def test_the_network_sees_and_predicts_unit_variance(sigma: float) -> None:
    count = 20_000
    generator = torch.Generator().manual_seed(0)
    data = torch.randn(count, 4, generator=generator, dtype=torch.float64) * STD
    noise = torch.randn(count, 4, generator=generator, dtype=torch.float64)
    sigmas = torch.full((count,), sigma, dtype=torch.float64)
    x = noised(data, noise, sigmas)
    skip, out, spread = Preconditioning.at(sigmas, STD)
    seen, target = x / spread, (velocity(data, noise) - skip * x) / out
    for values in (seen, target):
        torch.testing.assert_close(values.std(dim=0), torch.ones(4, dtype=torch.float64), atol=0.025, rtol=0)
    assert (seen * target).mean(dim=0).abs().max() < 0.03  # nothing linear is left to predict


def test_clean_tokens_have_unit_variance_too() -> None:
    skip, out, spread = Preconditioning.at(torch.zeros(1), STD.float())
    torch.testing.assert_close(spread[0], STD.float())
    assert torch.isfinite(skip).all() and torch.isfinite(out).all()
