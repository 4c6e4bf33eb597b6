"""Measures of a set."""

from __future__ import annotations

import numpy as np
import pytest

from training.evaluation.scores import LEAST_DESIGNS, distance


@pytest.mark.parametrize(
    ("designs", "names"),
    [
        (1, set()),
        (LEAST_DESIGNS * 4 - 1, {"frechet"}),
        (LEAST_DESIGNS * 4, {"frechet", "frechet_low", "frechet_high"}),
    ],
)
def test_a_distance_has_an_interval_where_designs_are_enough(designs: int, names: set[str]) -> None:
    rng = np.random.default_rng(0)
    made, true = rng.normal(size=(2, designs, 4))
    assert set(distance(made, true)) == names
    assert set(distance(made, true, alike=False)) == names & {"frechet"}
