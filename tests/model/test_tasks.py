"""What each task is given and what it makes: the table of MRT, section 3, row by row."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import LayoutError
from model.tasks import COMPOSED, LAYOUTS, Box, Region, Task, lay_out

CANVAS, VISIBLE = (9, 7), (2, 1, 7, 5)
WHOLE = (0, 0, 9, 7)
BOXES: list[Box] = [(0, 0, 9, 7), (3, 2, 5, 4), (7, 1, 9, 5)]  # background, then two foregrounds
GIVEN, MADE = True, False


def of(task: Task, *chosen: int) -> list[Region]:
    return lay_out(task, BOXES, CANVAS, VISIBLE, chosen)


def test_text_to_layers_makes_everything() -> None:
    assert of(Task.TEXT_TO_LAYERS) == [
        Region(0, WHOLE), Region(1, BOXES[0]), Region(2, BOXES[1]), Region(3, BOXES[2]),
    ]  # fmt: skip


def test_image_to_layers_is_given_what_a_viewer_sees() -> None:
    assert of(Task.IMAGE_TO_LAYERS) == [
        Region(0, VISIBLE, GIVEN), Region(1, BOXES[0]), Region(2, BOXES[1]), Region(3, BOXES[2]),
    ]  # fmt: skip


def test_add_makes_the_chosen_layers_alone() -> None:
    assert of(Task.ADD_LAYER, 3) == [
        Region(0, WHOLE, GIVEN), Region(1, BOXES[0], GIVEN), Region(2, BOXES[1], GIVEN), Region(3, BOXES[2], MADE),
    ]  # fmt: skip


def test_restyle_is_given_the_chosen_layers_in_another_style_at_their_places() -> None:
    assert of(Task.RESTYLE, 1, 3) == [
        Region(0, WHOLE, GIVEN), Region(1, BOXES[0], MADE), Region(2, BOXES[1], GIVEN), Region(3, BOXES[2], MADE),
        Region(1, BOXES[0], GIVEN, condition=True), Region(3, BOXES[2], GIVEN, condition=True),
    ]  # fmt: skip


@pytest.mark.parametrize("task", [Task.TEXT_TO_RGB, Task.TEXT_TO_RGBA])
def test_a_picture_has_one_region(task: Task) -> None:
    assert of(task) == [Region(0, VISIBLE)]


def test_the_two_kinds_of_picture_differ_in_their_kind() -> None:
    kinds = {task: layout.kind for task, layout in LAYOUTS.items()}
    assert kinds.pop(Task.TEXT_TO_RGB) == 1
    assert set(kinds) == set(Task) - {Task.TEXT_TO_RGB} and set(kinds.values()) == {0}


@given(st.sampled_from(Task), st.sets(st.integers(1, 3), min_size=1))
def test_whatever_is_asked_the_order_is_the_models(task: Task, chosen: set[int]) -> None:
    regions = of(task, *chosen)
    own = [region for region in regions if not region.condition]
    assert regions[: len(own)] == own  # conditions come last
    assert [region.layer for region in own] == list(range(len(own)))
    assert own[0].layer == COMPOSED and all(region.clean for region in regions if region.condition)
    if task in (Task.ADD_LAYER, Task.RESTYLE):
        assert {region.layer for region in regions if not region.clean} == chosen


def test_a_design_without_layers_is_refused() -> None:
    with pytest.raises(LayoutError, match="at least one layer"):
        lay_out(Task.TEXT_TO_LAYERS, [], (4, 4), (0, 0, 4, 4))
    assert len(lay_out(Task.TEXT_TO_RGB, [], (4, 4), (0, 0, 4, 4))) == 1


@pytest.mark.parametrize("task", [Task.ADD_LAYER, Task.RESTYLE])
def test_a_task_about_chosen_layers_wants_layers_that_are_there(task: Task) -> None:
    with pytest.raises(LayoutError, match=f"{task}: no layer is chosen; choose one or more, layers are 1 to 3"):
        of(task)
    for foreign in (0, 4, -1):
        with pytest.raises(LayoutError, match=f"{task}: there is no layer {foreign}; layers are 1 to 3"):
            of(task, 2, foreign)


@pytest.mark.parametrize("task", [task for task in Task if not LAYOUTS[task].others_clean])
def test_other_tasks_heed_no_choice(task: Task) -> None:
    assert of(task, 2, 9) == of(task)


def test_tokens_of_a_region() -> None:
    assert [region.tokens for region in of(Task.TEXT_TO_LAYERS)] == [63, 63, 4, 8]
