from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from training.evaluation.frechet import frechet_distance, frechet_interval


def normal(seed: int, n: int, mean: list[float], std: list[float]) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, len(mean))) * std + mean


def exact(seed: int, mean: list[float], std: list[float]) -> np.ndarray:
    """A set whose mean and (diagonal) covariance are just these."""
    drawn = normal(seed, 50, [0.0] * len(mean), [1.0] * len(mean))
    drawn -= drawn.mean(axis=0)
    drawn = drawn @ np.linalg.inv(np.linalg.cholesky(np.atleast_2d(np.cov(drawn, rowvar=False)))).T
    return drawn * std + mean


seeds = st.integers(0, 10_000)


@given(seeds, st.integers(2, 40), st.integers(1, 20))
def test_equal_sets_are_at_no_distance(seed: int, n: int, width: int) -> None:
    one = np.random.default_rng(seed).random((n, width)) * 100
    assert frechet_distance(one, one[::-1]) == pytest.approx(0, abs=1e-8)


@given(seeds)
def test_normal_distributions_have_a_closed_form(seed: int) -> None:
    one, other = exact(seed, [1, 2, 3], [1, 2, 0.5]), exact(seed + 1, [1, 0, 3.5], [3, 2, 1])
    assert frechet_distance(one, other) == pytest.approx((4 + 0.25) + (4 + 0 + 0.25))
    assert frechet_distance(exact(seed, [0], [2]), exact(seed, [3], [5])) == pytest.approx(9 + 9)


@given(seeds, st.integers(1, 6))
def test_it_is_the_published_formula(seed: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = (rng.standard_normal((40, width)) @ rng.standard_normal((width, width)) for _ in range(2))
    a, b = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (one, other))
    between = np.square(one.mean(0) - other.mean(0)).sum()
    known = between + np.trace(a + b - 2 * np.real(sqrtm(a @ b)))
    assert frechet_distance(one, other) == pytest.approx(known, rel=1e-4, abs=1e-5)


@given(seeds)
def test_it_is_symmetric_and_knows_no_directions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = rng.random((30, 4)), rng.random((20, 4)) * 2
    turn, _ = np.linalg.qr(rng.standard_normal((4, 4)))
    value = frechet_distance(one, other)
    assert frechet_distance(other, one) == pytest.approx(value)
    assert frechet_distance(one @ turn + 7, other @ turn + 7) == pytest.approx(value)


@given(seeds)
def test_features_that_never_vary_add_their_difference_alone(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = rng.random((5, 3)), rng.random((4, 3))
    wide = [np.hstack([part, np.full((len(part), 30), level)]) for part, level in ((one, 1.0), (other, 1.5))]
    assert frechet_distance(*wide) == pytest.approx(frechet_distance(one, other) + 30 * 0.25)


def test_the_interval_takes_off_what_few_samples_add() -> None:
    """The distance of the populations is 1; that of small samples is larger, and the interval still holds 1."""
    std = [1.0] * 8
    hits, values = 0, []
    for seed in range(20):
        one, other = normal(seed, 60, [0.0] * 8, std), normal(seed + 999, 60, [1.0] + [0.0] * 7, std)
        found = frechet_interval(one, other, draws=60, seed=seed)
        hits += found.low <= 1 <= found.high
        values.append(found.value)
    assert np.mean(values) > 1.1
    assert hits >= 16


def test_the_interval_holds_the_distance_of_sets_of_the_same_designs() -> None:
    """What is made of a design is like it; drawn apart, the two sets would be far further from each other."""
    hits = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        true = rng.normal(size=(100, 8))
        made = true + [0.1] + 0.1 * rng.normal(size=true.shape)
        found = frechet_interval(made, true, draws=60, seed=seed)
        hits += found.low <= 8 * (0.1**2 + (1.01**0.5 - 1) ** 2) <= found.high
    assert hits >= 16


def test_an_interval_is_of_sets_of_the_same_designs() -> None:
    with pytest.raises(ValueError, match="5 designs are not 4 designs"):
        frechet_interval(np.zeros((5, 3)), np.zeros((4, 3)))


def test_of_one_population_the_interval_begins_at_nothing() -> None:
    found = frechet_interval(normal(1, 50, [0.0] * 4, [1.0] * 4), normal(2, 50, [0.0] * 4, [1.0] * 4), draws=50)
    assert found.value > 0
    assert found.low == 0


@settings(max_examples=5)
@given(seeds)
def test_more_samples_narrow_the_interval_and_a_seed_repeats_it(seed: int) -> None:
    def found(n: int) -> tuple[float, float, float]:
        one, other = normal(seed, n, [0.0] * 3, [1.0] * 3), normal(seed + 1, n, [2.0] * 3, [1.0] * 3)
        out = frechet_interval(one, other, draws=60)
        assert out == frechet_interval(one, other, draws=60)
        return out.low, out.value, out.high

    few, many = found(30), found(1500)
    assert many[2] - many[0] < few[2] - few[0]


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        (np.zeros((1, 3)), np.zeros((4, 3)), "two designs"),
        (np.zeros((4, 3)), np.zeros(4), "two designs"),
        (np.zeros((4, 3)), np.full((4, 3), np.nan), "finite"),
        (np.zeros((4, 3)), np.zeros((4, 2)), "3 features"),
    ],
)
def test_what_has_no_distance_is_refused(one: np.ndarray, other: np.ndarray, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        frechet_distance(one, other)
