"""Packing: every sample once, the budget held, micro-batches full, ranks even."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.streaming.config import PlanConfig
from training.streaming.order import permutation, windows
from training.streaming.packing import arrange, fill, pack_window

BUDGET = 32_768


def distribution(count: int, resolution: int) -> np.ndarray:
    """Tokens of synthetic designs: a composed image, a background, about 11 layers of lognormal shares."""
    rng = np.random.default_rng(3)
    side = resolution // 16
    layers = np.clip(rng.lognormal(np.log(11) - 0.28, 0.75, count).round().astype(int), 1, 50)
    share = np.clip(rng.lognormal(np.log(0.045), 1, layers.sum()), 1e-4, 1)
    edge = np.sqrt(share) * side
    corner = rng.uniform(0, side - edge)
    tokens = (np.ceil(corner + edge) - np.floor(corner)) ** 2
    return 2 * side**2 + np.add.reduceat(tokens, np.cumsum(layers) - layers).astype(np.int64)


def packed(tokens: np.ndarray, config: PlanConfig) -> tuple[np.ndarray, np.ndarray]:
    """All windows of ``tokens`` one after another: tokens in the order of micro-batches, and where each starts."""
    out, starts, last = [], [0], 0
    for number, at in enumerate(range(0, len(tokens), config.window)):
        window = tokens[at : at + config.window]
        keys = np.random.default_rng(number).integers(0, 2**63, len(window)).astype(np.uint64)
        samples, sizes, last = pack_window(window, keys, config, number, last)
        assert sorted(samples) == list(range(len(window)))
        out.append(window[samples])
        starts += (starts[-1] + np.cumsum(sizes)).tolist()
    return np.concatenate(out), np.array(starts)


@pytest.mark.parametrize("resolution", [512, 1024])
def test_micro_batches_are_full_and_ranks_even(resolution: int) -> None:
    tokens, starts = packed(np.minimum(distribution(16_384, resolution), BUDGET), PlanConfig())
    sums = np.add.reduceat(tokens, starts[:-1])
    assert sums.max() <= BUDGET
    assert sums.sum() / (len(sums) * BUDGET) >= 0.97
    for first in (0, 3):
        cost = np.add.reduceat(tokens.astype(float) ** 2, starts[:-1])[first:]
        rounds = cost[: len(cost) // 8 * 8].reshape(-1, 8)
        assert rounds.max(axis=1).sum() / rounds.mean(axis=1).sum() <= 1.1


@settings(deadline=None)
@given(st.lists(st.integers(1, 3000), min_size=1, max_size=200), st.integers(1, 4000))
def test_bins_hold_every_sample_once_within_the_budget(tokens: list[int], budget: int) -> None:
    order = sorted(range(len(tokens)), key=lambda i: tokens[i])
    bins = fill([tokens[i] for i in order], list(order), budget)
    assert sorted(i for bin_ in bins for i in bin_) == list(range(len(tokens)))
    assert all(len(bin_) == 1 or sum(tokens[i] for i in bin_) <= budget for bin_ in bins)
    fits = [sum(tokens[i] for i in bin_) for bin_ in bins if sum(tokens[i] for i in bin_) <= budget]
    assert len(fits) < 2 or sum(sorted(fits)[:2]) > budget  # no two could be one


def test_a_sample_over_the_budget_is_alone() -> None:
    tokens = np.array([10, 500, 20, 100, 101])
    samples, sizes, _ = pack_window(tokens, np.arange(5, dtype=np.uint64), PlanConfig(token_budget=100), 0, 0)
    batches = [tuple(sorted(piece.tolist())) for piece in np.split(samples, np.cumsum(sizes)[:-1])]
    assert sorted(batches) == [(0, 2), (1,), (3,), (4,)]


def test_large_windows_are_packed_in_pieces() -> None:
    tokens = np.full(10_000, 7)
    samples, sizes, _ = pack_window(tokens, np.arange(10_000, dtype=np.uint64), PlanConfig(token_budget=70), 0, 0)
    assert sorted(samples) == list(range(10_000))
    assert sizes.max() == 10
    assert len(sizes) <= 1003


def test_runs_are_sorted_and_join_where_the_cost_is_near() -> None:
    cost = np.random.default_rng(0).permutation(640).astype(np.uint64)
    order = arrange(cost, 64, 5, 639)
    runs = cost[order].astype(int).reshape(10, 64)
    assert sorted(order) == list(range(640))
    assert all(abs(np.diff(run)).max() == 1 for run in runs)
    joints = zip(np.r_[639, runs[:-1, -1]], runs, strict=True)
    assert all(abs(run[0] - last) <= abs(run[-1] - last) for last, run in joints)
    assert [run.min() for run in runs] != sorted(run.min() for run in runs)


def test_windows_are_whole_shards_of_enough_samples() -> None:
    paths = [f"shards/{i}.tar" for i in range(40)]
    shards = np.random.default_rng(0).integers(0, 40, 1000).astype(np.int32)
    found = windows(paths, shards, 100, 0, 0)
    assert sorted(np.concatenate(found)) == list(range(1000))
    assert all(len(window) >= 100 for window in found[:-1])
    assert len(found[-1]) >= 50
    of_windows = [set(shards[window]) for window in found]
    assert sum(map(len, of_windows)) == 40
    assert len(windows(paths, shards, 5000, 0, 0)) == 1
    assert windows(paths, shards[:0], 100, 0, 0) == []


def test_shards_are_permuted_by_path_anew_each_epoch() -> None:
    paths = [f"shards/{i}.tar" for i in range(40)]
    order = [paths[i] for i in permutation(paths, 0, 0)]
    assert order == [paths[::-1][i] for i in permutation(paths[::-1], 0, 0)]
    assert order not in ([paths[i] for i in permutation(paths, 0, 1)], [paths[i] for i in permutation(paths, 1, 0)])
