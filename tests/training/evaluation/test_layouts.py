"""Layouts that are found in a flat picture."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from model.tasks import BACKGROUND, COMPOSED
from schemas.geometry import Box
from tests.training.evaluation import bench
from tests.training.evaluation.stacks import solid
from tests.training.example_batches import TOKEN_PX, codec
from training.evaluation.layouts import LEAST_SHARE, MOST, detected, found_boxes
from training.examples import ExampleConfig, prepare


def picture(*boxes: Box, side: int = 64) -> Tensor:
    out = solid(side, side, (250, 250, 245, 255))
    for number, box in enumerate(boxes):
        out[box.slices] = torch.tensor((number, 90, 40, 255), dtype=torch.uint8)
    return out


def test_separate_shapes_are_found_the_largest_first() -> None:
    small, large = Box(4, 6, 12, 16), Box(30, 20, 60, 50)
    assert found_boxes(picture(small, large)) == [large, small]


def test_what_touches_is_one_even_at_a_corner() -> None:
    assert found_boxes(picture(Box(4, 4, 10, 10), Box(10, 10, 20, 18))) == [Box(4, 4, 20, 18)]


def test_a_plain_picture_has_only_its_background() -> None:
    assert found_boxes(picture()) == []


def test_specks_and_more_than_a_model_takes_are_left_out() -> None:
    side = 64
    assert LEAST_SHARE * side * side > 4
    assert found_boxes(picture(Box(8, 8, 10, 10))) == []
    grid = [Box(3 + 9 * x, 3 + 9 * y, 8 + 9 * x, 8 + 9 * y) for x in range(8) for y in range(8)]
    assert len(found_boxes(picture(*grid, side=80))) == MOST


@pytest.mark.parametrize("overflow", [True, False])
def test_the_regions_are_the_background_and_what_was_found(benchmark_url: str, overflow: bool) -> None:
    for group in bench.groups(benchmark_url):
        config = ExampleConfig(overflow=overflow)
        example = prepare(group.batch, codec(), config, seed=0, device="cpu", evaluation=True)
        found = detected(example, group, TOKEN_PX, overflow)
        regions = found.regions
        assert found.keys == example.keys and len(found.tokens) == regions.tokens
        for number, case in enumerate(group.cases):
            own = [row for row, design in enumerate(regions.design.tolist()) if design == number]
            layers = [int(regions.layer[row]) for row in own]
            assert layers == [COMPOSED, BACKGROUND, *range(2, len(own))]
            assert regions.clean[own].tolist() == [True] + [False] * (len(own) - 1)
            boxes = [Box(*(side * TOKEN_PX for side in regions.boxes[row].tolist())) for row in own]
            composed = case.composed[0]
            assert boxes[0] == boxes[1] == (composed if overflow else composed.within(composed))
            assert all(boxes[0].contains(box) for box in boxes[2:])
        given = regions.of_tokens(regions.clean)
        assert torch.equal(found.tokens[given], example.tokens[example.regions.of_tokens(example.regions.clean)])
        assert found.tokens[~given].eq(0).all()
