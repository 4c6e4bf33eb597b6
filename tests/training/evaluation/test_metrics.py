from __future__ import annotations

import math
from dataclasses import astuple, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import structural_similarity

from schemas.geometry import Box
from tests.training.evaluation.stacks import filled, random_stack, solid, stacks
from training.evaluation.metrics import (
    PSNR_CAP,
    LayerScore,
    MergedScore,
    mean,
    score_layers,
    score_merged,
    score_overflow,
    ssim_map,
    window_of,
)
from training.evaluation.stack import Placed, Stack, composite, cut

PERFECT = (0.0, 0.0, 1.0, PSNR_CAP, 1.0, PSNR_CAP, 1.0)
FRAME = Box(0, 0, 24, 24)


def with_layers(stack: Stack, layers: list[Placed]) -> Stack:
    return replace(stack, layers=layers)


def recoloured(stack: Stack, seed: int) -> Stack:
    """The same layers with other pixels, in the same boxes."""
    rng = np.random.default_rng(seed)
    made = [(box, torch.from_numpy(rng.integers(0, 256, p.shape, dtype=np.uint8))) for box, p in stack.layers]
    return with_layers(stack, made)


@settings(max_examples=15)
@given(stacks)
def test_a_perfect_design_scores_perfectly(stack: Stack) -> None:
    for score in (*score_layers(stack, stack), *score_overflow(stack, stack)):
        assert score is None or astuple(score) == pytest.approx(PERFECT)
    assert score_merged(stack, (stack.frame, composite(stack, 255))) == MergedScore(PSNR_CAP, pytest.approx(1))


@settings(max_examples=15)
@given(stacks, st.integers(0, 99))
def test_pixels_beyond_the_true_ones_neither_help_nor_harm(true: Stack, seed: int) -> None:
    made = recoloured(true, seed)
    padded = []
    for layer in made.layers:
        picture = solid(24, 24, (1, 2, 3, 200))
        picture[layer[0].slices] = layer[1]
        padded.append((FRAME, picture))
    wide = with_layers(made, padded)
    assert score_layers(wide, true) == score_layers(made, true)
    assert score_overflow(wide, true) == score_overflow(made, true)


@settings(max_examples=15)
@given(stacks, st.integers(0, 99))
def test_scores_are_those_of_whole_canvases(true: Stack, seed: int) -> None:
    """Only the surroundings of a layer are looked at; the plain definition on the canvas says the same."""
    made = recoloured(true, seed)
    outside = np.ones((24, 24), bool)
    outside[true.shown.slices] = False
    for found, where in ((score_layers(made, true), np.ones((24, 24), bool)), (score_overflow(made, true), outside)):
        for ours, theirs, score in zip(made.layers, true.layers, found, strict=True):
            a, b = (cut(layer, FRAME) / 255 for layer in (ours, theirs))
            there = (b[..., 3] > 0) & where
            if not there.any():
                assert score is None
                continue
            rgb_l1 = np.abs(a[there][:, :3] - b[there][:, :3]).mean()
            iou = np.minimum(a, b)[where][:, 3].sum() / np.maximum(a, b)[where][:, 3].sum()
            white_a, white_b = (p[..., :3] * p[..., 3:] + 1 - p[..., 3:] for p in (a, b))
            squares, similar = np.square(white_a - white_b).mean(-1), ssim_map(white_a, white_b)
            psnr = [-10 * math.log10(squares[mask].mean()) for mask in (there, where)]
            ssim = [similar[mask].mean() for mask in (there, where)]
            values = ((rgb_l1 + 1 - iou) / 2, rgb_l1, iou, psnr[0], ssim[0], psnr[1], ssim[1])
            assert astuple(score) == pytest.approx(values)


def test_a_uniform_error_has_closed_forms() -> None:
    true = Stack([filled(Box(0, 0, 10, 10), (100, 100, 100, 255))], (10, 20), (0, 0, 10, 20))
    brighter = with_layers(true, [filled(Box(0, 0, 10, 10), (151, 151, 151, 255))])
    (score,) = score_layers(brighter, true)
    assert score.rgb_l1 == pytest.approx(0.2)
    assert score.cost == pytest.approx(0.1)
    assert score.psnr_masked == pytest.approx(-20 * math.log10(0.2))
    assert score.psnr_full == pytest.approx(-20 * math.log10(0.2) + 10 * math.log10(2))
    fainter = with_layers(true, [filled(Box(0, 0, 10, 10), (100, 100, 100, 51))])
    (score,) = score_layers(fainter, true)
    assert score.alpha_iou == pytest.approx(0.2)
    assert score.cost == pytest.approx(0.4)


@settings(max_examples=10)
@given(stacks, st.integers(0, 99), st.integers(0, 6), st.integers(0, 6))
def test_moving_everything_on_a_larger_canvas_changes_no_masked_value(true: Stack, seed: int, dx: int, dy: int) -> None:
    # The border is far enough for no window to be mirrored at it.
    def moved(stack: Stack, x: int, y: int) -> Stack:
        x0, y0, x1, y1 = stack.visible
        layers = [(box.shift(x, y), picture) for box, picture in stack.layers]
        return Stack(layers, (50, 50), (x0 + x, y0 + y, x1 + x, y1 + y))

    made = recoloured(true, seed)
    here, there = (score_layers(moved(made, x, y), moved(true, x, y)) for x, y in ((8, 8), (8 + dx, 8 + dy)))
    assert [astuple(score) for score in here if score] == [pytest.approx(astuple(score)) for score in there if score]


def test_layers_are_told_apart_by_their_numbers() -> None:
    true = random_stack(3, 4)
    made = with_layers(true, [true.layers[i] for i in (0, 2, 1, 3)])
    scores = score_layers(made, true)
    assert [score.cost for score in (scores[0], scores[3])] == [0, 0]
    assert min(scores[1].cost, scores[2].cost) > 0.1
    order = [3, 1, 0, 2]
    permuted = score_layers(*(with_layers(stack, [stack.layers[i] for i in order]) for stack in (made, true)))
    assert permuted == [scores[i] for i in order]


def test_overflow_looks_outside_of_the_visible_box_alone() -> None:
    inside, reaching = filled(Box(4, 4, 8, 8), (9, 9, 9, 255)), filled(Box(0, 4, 8, 8), (200, 0, 0, 255))
    true = Stack([inside, reaching], (12, 12), (4, 4, 12, 12))
    wrong = reaching[1].clone()
    wrong[:, :4] = 0
    made = with_layers(true, [filled(inside[0], (255, 0, 255, 255)), (reaching[0], wrong)])
    assert score_overflow(made, true)[0] is None
    missing = score_overflow(made, true)[1]
    assert (missing.alpha_iou, missing.rgb_l1) == (0, pytest.approx(200 / 255 / 3))
    assert score_layers(made, true)[1].alpha_iou == pytest.approx(0.5)
    right = with_layers(made, [made.layers[0], (reaching[0], torch.cat([reaching[1][:, :4], wrong[:, 4:] // 2], 1))])
    assert astuple(score_overflow(right, true)[1])[:4] == PERFECT[:4]


def test_merged_pictures_are_judged_inside_the_visible_box() -> None:
    stack = random_stack(5, 4)
    other = recoloured(stack, 1)
    reference = stack.frame, composite(stack, 255)
    hidden = reference[1].clone()
    hidden[:4] = 77
    assert score_merged(stack, (stack.frame, hidden)) == score_merged(stack, reference)
    found = score_merged(other, reference)
    a, b = (composite(one, 255)[stack.shown.slices].numpy()[..., :3] / 255 for one in (stack, other))
    assert found.psnr == pytest.approx(-10 * math.log10(np.square(a - b).mean()))
    assert found.ssim == pytest.approx(ssim_map(a, b).mean())
    with pytest.raises(ValueError, match="not all of the visible box"):
        score_merged(stack, (Box(5, 5, 9, 9), solid(4, 4, (0, 0, 0, 255))))


def test_a_crop_of_the_reference_wins_the_merged_picture_but_no_layer() -> None:
    """Why no gate stands on the merged picture alone."""
    true = random_stack(8, 5)
    shown = composite(true, 255)
    crops = with_layers(true, [(box, torch.from_numpy(cut((true.frame, shown), box))) for box, _ in true.layers])
    assert score_merged(crops, (true.frame, shown)).psnr == PSNR_CAP
    assert mean(score_layers(crops, true)).cost > 0.1


def test_a_layer_without_pixels_is_not_judged() -> None:
    layers = [filled(Box(0, 0, 4, 4), (1, 2, 3, 255)), filled(Box(0, 0, 2, 2), (1, 2, 3, 0))]
    layers.append(filled(Box(4, 4, 6, 6), (1, 2, 3, 255)))
    true = Stack(layers, (4, 4), (0, 0, 4, 4))
    scores = score_layers(true, true)
    assert [score is None for score in scores] == [False, True, True]
    assert mean(scores) == scores[0]
    assert mean([None]) is None


def test_means_are_of_each_value() -> None:
    assert mean([MergedScore(10, 0.5), None, MergedScore(20, 1.0)]) == MergedScore(15, 0.75)
    assert isinstance(mean(score_layers(random_stack(1, 3), random_stack(1, 3))), LayerScore)


@pytest.mark.parametrize(("side", "window"), [(1, 1), (2, 1), (3, 3), (6, 5), (7, 7), (100, 7)])
def test_the_window_shrinks_with_the_picture(side: int, window: int) -> None:
    assert window_of(side, 50) == window_of(50, side) == window
    rng = np.random.default_rng(side)
    one, other = rng.random((2, side, 9, 3))
    assert ssim_map(one, one) == pytest.approx(1)
    assert np.abs(ssim_map(one, other)).max() <= 1 + 1e-9


def test_ssim_is_the_known_one() -> None:
    one, other = np.random.default_rng(0).random((2, 20, 30, 3))
    known = structural_similarity(one, other, data_range=1.0, channel_axis=2, use_sample_covariance=False)
    assert ssim_map(one, other)[3:-3, 3:-3].mean() == pytest.approx(known)


def test_designs_that_do_not_pair_are_refused() -> None:
    true = random_stack(1, 3)
    with pytest.raises(ValueError, match="2 layers"):
        score_layers(with_layers(true, list(true.layers[:2])), true)
    with pytest.raises(ValueError, match="canvas"):
        score_layers(Stack(true.layers, (30, 30), true.visible), true)
