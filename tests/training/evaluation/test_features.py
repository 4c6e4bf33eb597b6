from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, nn

from schemas.geometry import Box
from tests.training.evaluation.stacks import filled, random_stack, stacks
from training.errors import UsageError
from training.evaluation.features import NAMES, PictureFeatures, design_features, extractor
from training.evaluation.stack import Stack

SHOWN = Box(2, 2, 10, 10)


def named(*designs: Stack) -> list[dict[str, float]]:
    return [dict(zip(NAMES, row, strict=True)) for row in design_features(designs).tolist()]


def test_there_are_sixteen_and_they_say_what_they_are() -> None:
    assert len(NAMES) == 16
    whole = filled(SHOWN, (255, 0, 0, 255))
    half = filled(Box(2, 2, 6, 10), (0, 0, 255, 255))
    hidden = filled(Box(0, 0, 2, 10), (9, 9, 9, 255))
    (found,) = named(Stack([whole, half, hidden], (12, 12), SHOWN))
    assert (found["red"], found["green"], found["blue"]) == (0.5, 0, 0.5)
    assert (found["red_spread"], found["green_spread"]) == (0.5, 0)
    assert found["coverage"] == 1
    assert found["edges"] == pytest.approx(8 * abs(0.2126 - 0.0722) / (2 * 7 * 8))
    assert found["layers"] == pytest.approx(np.log10(4))
    areas = [1, 0.5, 20 / 64]
    assert (found["area"], found["area_spread"]) == (pytest.approx(np.mean(areas)), pytest.approx(np.std(areas)))
    centres = np.array([[0.5, 0.5], [0.25, 0.5], [-1 / 8, 3 / 8]])
    assert [found["centre_x"], found["centre_y"]] == pytest.approx(centres.mean(0).tolist())
    assert found["centre_spread"] == pytest.approx(np.sqrt(centres.var(0).sum()))
    assert found["overflow"] == pytest.approx(20 / (64 + 32 + 20))
    assert found["texture"] == pytest.approx(0)


@settings(max_examples=10)
@given(stacks)
def test_they_do_not_change_with_the_canvas(stack: Stack) -> None:
    x0, y0, x1, y1 = stack.visible
    moved = [(box.shift(5, 9), picture) for box, picture in stack.layers]
    wider = Stack(moved, (60, 70), (x0 + 5, y0 + 9, x1 + 5, y1 + 9))
    one, other = design_features([stack, wider])
    assert np.isfinite(one).all()
    assert other.tolist() == pytest.approx(one.tolist())


def test_a_design_of_nothing_has_features() -> None:
    (found,) = named(Stack([filled(SHOWN, (0, 0, 0, 0))], (12, 12), SHOWN))
    assert (found["red"], found["coverage"], found["layers"], found["area"]) == (1, 0, 0, 0)


class Means(nn.Module):
    """A network whose features are the mean colour and the size of what it was given."""

    def forward(self, pictures: Tensor) -> Tensor:
        size = torch.full((len(pictures), 1), float(pictures.shape[-1]))
        return torch.cat([pictures.mean(dim=(2, 3)), size], dim=1)


class Scale(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, features: Tensor) -> Tensor:
        return features * self.factor


def network() -> nn.Module:
    return Means()


def test_pictures_go_through_a_network_one_size_for_all() -> None:
    designs = [random_stack(seed, 3, side=12 + seed) for seed in range(5)]
    found = PictureFeatures(Means(), side=32, batch=2)(designs)
    assert found.dtype == np.float64
    assert found.shape == (5, 4)
    assert (found[:, 3] == 32).all()
    assert found[:, :3] == pytest.approx(design_features(designs)[:, :3], abs=0.05)


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_features_that_are_not_finite_are_told(factor: float) -> None:
    with pytest.raises(UsageError, match="or values that are not finite"):
        PictureFeatures(nn.Sequential(Means(), Scale(factor)), side=16)([random_stack(0, 2)])


def test_features_of_another_shape_are_told() -> None:
    with pytest.raises(UsageError, match=r"of 1 pictures the network made \[1, 3, 16, 16\]"):
        PictureFeatures(nn.Identity(), side=16)([random_stack(0, 2)])


def test_an_extractor_is_named() -> None:
    design = random_stack(1, 2)
    assert extractor("design")([design]).shape == (1, 16)
    assert extractor(f"{__name__}:network")([design]).tolist()[0][3] == 299


@pytest.mark.parametrize("name", ["inception", "no_such_module:network", "torch:no_such", "math:pi", ""])
def test_what_is_no_extractor_is_one_line_with_the_remedy(name: str) -> None:
    with pytest.raises(UsageError, match="give design or"):
        extractor(name)
