from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from schemas.geometry import Box
from tests.training.evaluation.stacks import filled, random_stack, stacks
from training.evaluation.edits import align, edit_scores, grouped
from training.evaluation.stack import Placed, Stack, cut

CANVAS = Box(0, 0, 12, 12)
GROUND = filled(CANVAS, (250, 240, 230, 255))
LOW, HIGH = filled(Box(1, 1, 9, 9), (200, 0, 0, 255)), filled(Box(3, 3, 11, 11), (0, 0, 200, 255))


def design(*layers: Placed) -> Stack:
    return Stack(layers, (12, 12), CANVAS)


def walks(n: int, m: int) -> Iterator[list[tuple[int, int]]]:
    """Every walk from the first pair to the last."""
    if (n, m) == (1, 1):
        yield [(0, 0)]
        return
    for i, j in ((n - 1, m - 1), (n - 1, m), (n, m - 1)):
        if i and j:
            yield from ([*walk, (n - 1, m - 1)] for walk in walks(i, j))


matrices = st.tuples(st.integers(1, 4), st.integers(1, 4)).flatmap(lambda n: arrays(float, n, elements=st.floats(0, 1)))


@given(matrices)
def test_the_walk_is_the_cheapest_of_all(costs: np.ndarray) -> None:
    path = align(costs)
    every = list(walks(*costs.shape))
    assert path in every
    total = min(sum(costs[at] for at in walk) for walk in every)
    assert sum(costs[at] for at in path) == pytest.approx(total)


def test_of_equal_walks_the_shortest_is_taken() -> None:
    assert align(np.zeros((3, 3))) == [(0, 0), (1, 1), (2, 2)]


@settings(max_examples=15)
@given(stacks)
def test_a_design_is_at_no_distance_from_itself(stack: Stack) -> None:
    scores = edit_scores(stack, stack)
    assert [score.merges for score in scores] == [0] * 6
    assert {(score.cost, score.rgb_l1, score.alpha_iou) for score in scores} == {(0, 0, 1)}


@settings(max_examples=15)
@given(stacks, st.integers(0, 10_000), st.integers(1, 5))
def test_merges_never_make_it_worse(made: Stack, seed: int, layers: int) -> None:
    scores = edit_scores(made, random_stack(seed, layers))
    costs = [score.cost for score in scores]
    assert len(costs) == 6
    assert costs == sorted(costs, reverse=True)
    for before, after in pairwise(scores):
        assert after == before or (after.merges == before.merges + 1 and after.cost < before.cost)
        assert after.cost == pytest.approx((after.rgb_l1 + 1 - after.alpha_iou) / 2)


def test_the_order_of_layers_that_do_not_meet_plays_no_part() -> None:
    corners = [filled(Box(x, y, x + 4, y + 4), (20 * x, 20 * y, 99, 255)) for x in (0, 6) for y in (0, 6)]
    one, other = design(GROUND, *corners), design(GROUND, *corners[::-1])
    assert edit_scores(one, other)[0].cost == 0
    swapped = edit_scores(design(GROUND, HIGH, LOW), design(GROUND, LOW, HIGH))
    assert swapped[0].cost > 0.1


def test_grouping_starts_at_the_top() -> None:
    """A layer that only the ground lies under joins the top, however low it was in the list."""
    aside = filled(Box(0, 10, 2, 12), (0, 99, 0, 255))
    pictures = [cut(layer, CANVAS) for layer in (GROUND, aside, LOW, HIGH)]
    groups = grouped(pictures)
    assert [int((group[..., 3] > 0).sum()) for group in groups] == [144, 64, 64 + 4]
    assert grouped(groups[:1])[0] is groups[0]
    kept = grouped(groups)
    assert all(np.array_equal(a, b) for a, b in zip(kept, groups, strict=True))


def test_one_merge_forgives_a_layer_that_was_made_in_two() -> None:
    part = filled(Box(2, 2, 9, 9), (200, 0, 0, 255))
    true, made = design(GROUND, LOW, HIGH), design(GROUND, LOW, part, HIGH)
    for pair in ((made, true), (true, made)):
        scores = edit_scores(*pair)
        assert scores[0].cost > 0.01
        assert [score.merges for score in scores] == [0, 1, 1, 1, 1, 1]
        assert scores[1].cost == scores[5].cost == 0


def test_two_layers_are_never_merged() -> None:
    scores = edit_scores(design(GROUND, LOW), design(GROUND, HIGH))
    assert [score.merges for score in scores] == [0] * 6
    assert len(edit_scores(design(GROUND, LOW), design(GROUND, HIGH), max_merges=2)) == 3


def test_a_design_without_a_pixel_is_half_wrong() -> None:
    empty = design(filled(CANVAS, (0, 0, 0, 0)))
    assert edit_scores(empty, empty)[0].alpha_iou == 0
    assert edit_scores(empty, empty)[0].cost == 0.5


def test_scores_by_hand() -> None:
    fainter = filled(CANVAS, (250, 240, 179, 51))
    (score,) = edit_scores(design(fainter), design(GROUND), max_merges=0)
    assert (score.rgb_l1, score.alpha_iou) == (pytest.approx(51 / 255 / 3), pytest.approx(0.2))


@settings(max_examples=10)
@given(stacks, st.integers(0, 10_000))
def test_pictures_are_judged_at_a_bounded_size(made: Stack, seed: int) -> None:
    """Designs with every pixel doubled, brought to half their size, are the designs."""

    def doubled(stack: Stack) -> Stack:
        layers = [
            (Box(*(2 * v for v in box)), p.repeat_interleave(2, 0).repeat_interleave(2, 1)) for box, p in seen(stack)
        ]
        return Stack(layers, (48, 48), tuple(2 * v for v in stack.visible))

    def seen(stack: Stack) -> list[Placed]:
        # Colour under an alpha of zero does not outlive a change of size.
        return [(box, picture * (picture[..., 3:] > 0)) for box, picture in stack.layers]

    true = random_stack(seed, 3)
    small = edit_scores(*(replace(stack, layers=seen(stack)) for stack in (made, true)), max_merges=1)
    large = edit_scores(doubled(made), doubled(true), max_merges=1, side=24)
    for one, other in zip(small, large, strict=True):
        assert math.isclose(one.cost, other.cost, abs_tol=1e-6)
    whole = edit_scores(doubled(made), doubled(true), max_merges=1, side=None)
    assert whole[0].cost == pytest.approx(small[0].cost)


def test_other_canvases_are_refused() -> None:
    with pytest.raises(ValueError, match="canvas"):
        edit_scores(design(GROUND), Stack([GROUND], (13, 12), CANVAS))
