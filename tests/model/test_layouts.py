"""Layouts that are drawn lie on their canvas, and those of records are what the stream delivers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings

from model import layouts
from model.errors import LayoutError
from model.layouts import full_canvas
from model.placement import Grid
from model.tasks import Region, Task
from schemas.design import Design
from tests.training.design_strategies import configs, designs, layered_tasks
from training.streaming import layout as stream
from training.streaming.config import PlanConfig
from training.streaming.draws import draw_subset

VISIBLE = (50, 33, 850, 600)
GRID = Grid(512, 16)


def record(
    *boxes: Any, width: int = 900, height: int = 700, visible: Any = VISIBLE, kinds: tuple[str, ...] = ("background",)
) -> Any:
    """What a layout needs of a design's record."""
    kinds += ("image",) * (len(boxes) - len(kinds))
    return {
        "design_id": "abc",
        "canvas": {"width": width, "height": height},
        "visible": list(visible),
        "layers": [{"kind": kind, "box": box} for kind, box in zip(kinds, boxes, strict=False)],
    }


@pytest.mark.parametrize("side", [1, 2, 7, 64])
def test_drawn_boxes_lie_on_their_canvas(side: int) -> None:
    for seed in range(50):
        layout = layouts.draw(9, side, seed)
        assert layout == layouts.draw(9, side, seed) and len(layout.boxes) == 10
        assert layout.boxes[0] == layout.visible == (0, 0, side, side)
        assert all(0 <= x0 < x1 <= side and 0 <= y0 < y1 <= side for x0, y0, x1, y1 in layout.boxes)


@settings(max_examples=60)
@given(designs(), configs)
def test_the_regions_of_a_record_are_those_of_the_stream(design: Design, config: PlanConfig) -> None:
    layout = layouts.of_record(design.model_dump(mode="json"), config.grid)
    for task in (*layered_tasks(design), Task.TEXT_TO_RGB):
        subset = draw_subset(design, task, 0, 0)
        placement, made = stream.regions(design, task, -1, subset, config)
        first = 1 if stream.has_background(design) else 2
        found = layout.regions(task, [first + index for index in subset])
        assert found == [Region(r.layer, tuple(r.box), r.clean, r.condition) for r in made]
        assert layout.canvas == tuple(placement.canvas[0]) and layout.visible == tuple(placement.visible[0])


def test_a_record_without_a_background_has_one_in_its_visible_box() -> None:
    boxes = [[0, 0, 900, 700], [51, 34, 52, 35]]
    with_one = layouts.of_record(record(*boxes), GRID)
    without = layouts.of_record(record(*boxes, kinds=("shape",)), GRID)
    assert without.boxes == (without.visible, *with_one.boxes)


def test_a_canvas_of_a_record_has_the_same_limit_as_that_of_the_stream() -> None:
    layout = layouts.of_record(record([0, 0, 9, 9], width=900_000, height=700), GRID)
    width, height = layout.canvas
    assert 0.9 * 4096 < width * height <= 4096
    width, height = layouts.of_record(record([0, 0, 9, 9]), Grid(512, 16, 500)).canvas
    assert 450 < width * height <= 500


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ([], "not the record"),
        ({"canvas": {}}, "not the record"),
        ({**record(), "layers": [{"box": [0, 0, 9, 9]}]}, "not the record"),
        (record([0, 0, 9, 9.5]), "not the record"),
        (record([0, 0, 9]), "not the record"),
        (record([0, 0, 9, 9], visible=()), "not the record"),
        (record("0099"), "not the record"),
        (record(), "design abc has no layers"),
        (record([0, 0, 0, 9]), r"design abc: box \[0, 0, 0, 9\] is empty"),
        (record([0, 0, 901, 9]), "design abc: a box reaches to 901 px on a canvas of 900 px"),
        (record([0, 0, 9, 2**70]), f"reaches to {2**70} px on a canvas of 700"),
        (record([0, -(2**63), 9, 2**63]), "design abc: "),
        (record([0, 0, 9, 9], visible=(0, 0, 9, 701)), "reaches to 701 px"),
        (record([0, 0, 9, 9], width=2_000_000), "a canvas of 2000000 x 700 px"),
        (record([0, 0, 9, 9], height=2**70), f"a canvas of 900 x {2**70} px"),
    ],
)
def test_a_record_that_is_none_is_refused(bad: Any, why: str) -> None:
    with pytest.raises(LayoutError, match=why) as caught:
        layouts.of_record(bad, GRID)
    assert caught.value.key == (None if "not the record" in why else "abc")


def test_full_canvas_layers_are_numbered_without_gaps_and_as_large_as_the_picture() -> None:
    assert [region.layer for region in full_canvas(3, (5, 3))] == [0, 1, 2, 3, -1]
    found = layouts.of_record(record([0, 0, 900, 700], [51, 34, 52, 35], [0, 600, 49, 601]), GRID).full_canvas()
    assert [(region.layer, region.clean) for region in found] == [(0, False), (1, False), (2, False), (-1, True)]
    assert {region.box for region in found} == {(0, 0, 39, 27)}
