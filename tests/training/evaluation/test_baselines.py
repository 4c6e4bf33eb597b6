"""Methods without a model: what they get right and what they cannot."""

from __future__ import annotations

import pytest
import torch

from model.tasks import Task
from schemas.geometry import Box
from tests.training.evaluation import bench
from tests.training.evaluation.stacks import filled
from training.evaluation.baselines import colour_key, crop, deranged
from training.evaluation.metrics import score_layers, score_merged
from training.evaluation.sets import Case
from training.evaluation.stack import Stack, clipped, composite

VISIBLE = Box(4, 4, 28, 28)
GREEN, RED = (10, 120, 40, 255), (200, 30, 30, 255)


def case_of(*layers: tuple[Box, tuple[int, int, int, int]]) -> Case:
    """Image-to-layers of filled boxes on a green ground."""
    truth = Stack([filled(VISIBLE, GREEN), *(filled(*layer) for layer in layers)], (32, 32), VISIBLE)
    given = VISIBLE, composite(truth, 255)[VISIBLE.slices]
    return Case("0" * 32, Task.IMAGE_TO_LAYERS, "", truth, tuple(range(len(truth.layers))), given)


def test_a_crop_is_perfect_where_nothing_overlaps() -> None:
    case = case_of((Box(8, 8, 16, 12), RED))
    scores = score_layers(crop(case), case.truth)
    assert scores[1] is not None and scores[1].cost == 0
    assert scores[0] is not None and scores[0].alpha_iou == 1 and scores[0].rgb_l1 > 0  # the shape is in its background


def test_a_crop_recomposes_perfectly(benchmark_url: str) -> None:
    for case in bench.cases_of(bench.groups(benchmark_url)):
        made = clipped(crop(case), case.truth)
        assert score_merged(made, case.composed).psnr > 60
        assert all(picture[..., 3].eq(255).all() for _, picture in made.layers)


def test_what_nobody_sees_is_black_in_a_crop() -> None:
    case = case_of((Box(24, 8, 32, 12), RED))
    box, picture = crop(case).layers[1]
    assert box == Box(24, 8, 32, 12)
    assert picture[:, :4].eq(torch.tensor(RED, dtype=torch.uint8)).all()
    assert picture[:, 4:, :3].eq(0).all() and picture[..., 3].eq(255).all()


def test_a_colour_key_finds_the_shape_in_its_box() -> None:
    """Two bars that make an L: the corner of their box shows the ground."""
    case = case_of((Box(8, 8, 10, 20), RED))
    l_shape = torch.zeros(12, 12, 4, dtype=torch.uint8)
    l_shape[:, :2] = l_shape[10:] = torch.tensor(RED, dtype=torch.uint8)
    truth = Stack([case.truth.layers[0], (Box(8, 8, 20, 20), l_shape)], (32, 32), VISIBLE)
    given = VISIBLE, composite(truth, 255)[VISIBLE.slices]
    case = Case("0" * 32, Task.IMAGE_TO_LAYERS, "", truth, (0, 1), given)
    keyed, cropped = (score_layers(method(case), truth)[1] for method in (colour_key, crop))
    assert keyed is not None and cropped is not None
    assert keyed.cost == 0 < cropped.cost
    assert colour_key(case).layers[0][1][..., 3].eq(255).all()


def test_a_colour_key_of_a_layer_that_is_not_seen_needs_no_ground() -> None:
    case = case_of((Box(29, 29, 32, 32), RED))
    _, picture = colour_key(case).layers[1]
    assert picture[..., :3].eq(0).all() and picture[..., 3].eq(255).all()  # black differs from white


def test_a_transparent_layer_stays_one() -> None:
    case = case_of((Box(8, 8, 16, 16), (9, 9, 9, 0)))
    for method in (crop, colour_key):
        made = method(case)
        assert made.layers[1][0] == Box(8, 8, 16, 16) and made.layers[1][1].eq(0).all()


@pytest.mark.parametrize("count", [2, 3, 5])
def test_nobody_keeps_his_own_picture(count: int) -> None:
    own = [filled(Box(0, 0, 1, 1), (number, 0, 0, 255)) for number in range(count)]
    others = deranged(own)
    assert all(one is not other for one, other in zip(own, others, strict=True))
    assert {int(picture[0, 0, 0]) for _, picture in others} == set(range(count))
