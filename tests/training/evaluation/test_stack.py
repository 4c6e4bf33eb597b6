from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings

from schemas.geometry import Box
from tests.training.evaluation.stacks import filled, random_stack, solid, stacks
from training.evaluation.stack import Stack, clipped, composite, cut, exact_box

RED, BLUE = (255, 0, 0, 255), (0, 0, 255, 128)


def test_layers_lie_over_each_other_and_over_the_ground() -> None:
    stack = Stack([filled(Box(0, 0, 2, 1), RED), filled(Box(1, 0, 3, 1), BLUE)], (4, 1), (0, 0, 4, 1))
    assert composite(stack)[0].tolist() == [[255, 0, 0, 255], [127, 0, 128, 255], [0, 0, 255, 128], [0, 0, 0, 0]]
    over_white = composite(stack, 255)[0].tolist()
    assert over_white == [[255, 0, 0, 255], [127, 0, 128, 255], [127, 127, 255, 255], [255, 255, 255, 255]]


def test_a_layer_may_reach_out_of_the_canvas() -> None:
    stack = Stack([filled(Box(-1, -1, 2, 1), RED)], (3, 2), (0, 0, 3, 2))
    assert composite(stack)[..., 3].tolist() == [[255, 255, 0], [0, 0, 0]]


def test_the_visible_pixels_are_those_whose_centres_are_visible() -> None:
    layer = filled(Box(0, 0, 8, 8), RED)
    assert Stack([layer], (8, 8), (1.5, 1.6, 6.4, 6.6)).shown == Box(1, 2, 6, 7)
    assert Stack([layer], (8, 8), (-3, 0, 20, 8)).shown == Box(0, 0, 8, 8)


@settings(max_examples=20)
@given(stacks)
def test_a_cut_beyond_the_layer_only_adds_transparent_pixels(stack: Stack) -> None:
    box, picture = stack.layers[-1]
    assert exact_box((box, picture)) == box
    wide = Box(box.x0 - 3, box.y0 - 2, box.x1 + 1, box.y1 + 4)
    padded = torch.from_numpy(cut((box, picture), wide))
    assert exact_box((wide, padded)) == box
    assert torch.equal(torch.from_numpy(cut((wide, padded), box)), picture)


def test_the_exact_box_of_nothing_is_empty() -> None:
    assert exact_box(filled(Box(2, 3, 5, 6), (9, 9, 9, 0))).empty


def test_clipping_takes_what_lies_outside_of_the_true_pixels() -> None:
    true = random_stack(1, 3)
    wide = [filled(Box(0, 0, 24, 24), RED) for _ in true.layers]
    made = clipped(Stack(wide, true.canvas, true.visible), true)
    assert [box for box, _ in made.layers] == [exact_box(layer) for layer in true.layers]
    again = clipped(made, true)
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(made.layers, again.layers, strict=True))


@pytest.mark.parametrize(
    ("layers", "visible", "said"),
    [
        ([], (0, 0, 4, 4), "no layers"),
        ([(Box(0, 0, 2, 2), solid(2, 3, RED))], (0, 0, 4, 4), "layer 0"),
        ([(Box(0, 0, 2, 2), solid(2, 2, RED).float())], (0, 0, 4, 4), "uint8"),
        ([(Box(0, 0, 2, 2), solid(2, 2, RED))], (4, 0, 9, 4), "visible"),
    ],
)
def test_what_is_no_design_is_refused(layers: list, visible: tuple, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Stack(layers, (4, 4), visible)
