"""Regions as tensors: where each token stands, what is made of parts of them, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.errors import LayoutError
from model.regions import Regions
from model.rope import MAX_POSITION
from model.tasks import Box, Region, Task, lay_out

CANVAS, VISIBLE = (9, 7), (2, 1, 7, 5)
BOXES = [(0, 0, 9, 7), (3, 2, 5, 4), (7, 1, 9, 5)]


def of_task(task: Task = Task.TEXT_TO_LAYERS, **options: Any) -> Regions:
    return Regions.lay_out([lay_out(task, BOXES, CANVAS, VISIBLE, {2})], [CANVAS], [VISIBLE], **options)


def of_box(box: Box, canvas: tuple[int, int] = CANVAS, layer: int = 0) -> Regions:
    return Regions.lay_out([[Region(layer, box)]], [canvas], [(0, 0, *canvas)], keys=("poster",))


boxes = st.tuples(st.integers(0, 8), st.integers(0, 8), st.integers(1, 6), st.integers(1, 6)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)
some_regions = st.lists(st.builds(Region, st.integers(-1, 60), boxes, st.booleans()), min_size=1, max_size=4)
layouts = st.lists(some_regions, min_size=1, max_size=3)


@settings(max_examples=40)
@given(layouts, st.data())
def test_every_token_is_one_place_of_one_box(designs: list[list[Region]], data: st.DataObject) -> None:
    visible = [data.draw(boxes) for _ in designs]
    regions = Regions.lay_out(designs, [(14, 14)] * len(designs), visible)
    wanted = []
    for some, (left, top, right, bottom) in zip(designs, visible, strict=True):
        centre = left + (right - left) - (right - left) // 2, top + (bottom - top) - (bottom - top) // 2
        for region in some:
            x0, y0, x1, y1 = region.box
            wanted += [[region.layer, y - centre[1], x - centre[0]] for y in range(y0, y1) for x in range(x0, x1)]
    assert regions.positions_T3.tolist() == wanted
    flat = [region for some in designs for region in some]
    assert regions.counts == [region.tokens for region in flat]
    assert regions.target_T.tolist() == [not region.clean for region in flat for _ in range(region.tokens)]
    assert regions.lengths == [sum(region.tokens for region in some) for some in designs]
    assert regions.tokens == len(wanted) and len(regions) == len(flat)


@pytest.mark.parametrize(("centred_on", "centre"), [("visible", [5, 3]), ("canvas", [5, 4])])
def test_the_grid_is_centred_as_qwen_image_centres_it(centred_on: str, centre: list[int]) -> None:
    regions = of_task(centred_on=centred_on)
    assert regions.centre.tolist() == [centre]
    # 5 positions are -3 ... 1, and 4 are -2 ... 1.
    odd = of_box((0, 0, 5, 4), (5, 4)).positions_T3
    assert sorted(set(odd[:, 2].tolist())) == [-3, -2, -1, 0, 1] and sorted(set(odd[:, 1].tolist())) == [-2, -1, 0, 1]


def test_the_text_begins_past_the_grid_and_past_the_layers() -> None:
    assert of_task().extent.tolist() == [4]  # x runs to 8 - 5 = 3, layers to 3
    many = Regions.lay_out([[Region(layer, (0, 0, 1, 1)) for layer in range(30)]], [CANVAS], [VISIBLE])
    assert many.extent.tolist() == [30]
    for regions in (many, of_task()):
        assert int(regions.positions_T3.max()) < int(regions.extent)


def test_a_condition_stands_where_its_layer_stands() -> None:
    regions = of_task(Task.RESTYLE)
    layer, condition = regions.positions_T3.split(regions.counts)[2], regions.positions_T3.split(regions.counts)[4]
    assert torch.equal(layer, condition)
    assert regions.condition.tolist() == [False] * 4 + [True]
    assert regions.target_T.split(regions.counts)[2].all() and not regions.target_T.split(regions.counts)[4].any()


def test_some_of_the_regions_stay_where_they_are() -> None:
    whole = of_task(Task.RESTYLE)
    kept = torch.tensor([True, False, True, False, True])
    part = whole.select(kept)
    wanted = [p for p, keep in zip(whole.positions_T3.split(whole.counts), kept.tolist(), strict=True) if keep]
    assert torch.equal(part.positions_T3, torch.cat(wanted)) and torch.equal(part.extent, whole.extent)
    with pytest.raises(LayoutError, match="design number 0 has no region"):
        whole.select(torch.zeros(5, dtype=torch.bool))


def test_small_integers_and_another_device() -> None:
    regions = of_task()
    narrow = Regions.of(
        boxes=regions.boxes.int(), layer=regions.layer.int(), design=regions.design.int(), clean=regions.clean,
        condition=regions.condition, canvas=torch.tensor([CANVAS]).int(), visible=torch.tensor([VISIBLE]).int(),
    )  # fmt: skip
    assert torch.equal(narrow.positions_T3, regions.positions_T3)
    moved = regions.to("meta")
    assert moved.boxes.is_meta and moved.centre.is_meta and moved.keys == regions.keys


# What is refused


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((-1, 0, 3, 3), "reaches over its canvas; enlarge the canvas"),
        ((0, 0, 10, 3), "reaches over its canvas; enlarge the canvas"),
        ((0, 6, 3, 8), "reaches over its canvas; enlarge the canvas"),
        ((3, 3, 3, 5), "is empty; leave the layer out"),
        ((5, 3, 3, 5), "is empty; leave the layer out"),
    ],
)
def test_a_box_that_is_no_part_of_its_canvas(box: Box, message: str) -> None:
    with pytest.raises(LayoutError) as caught:
        of_box(box)
    assert caught.value.key == "poster"
    assert str(caught.value).startswith(f"design poster: box {list(box)} of layer 0 {message}")
    assert "\n" not in str(caught.value)


def test_a_design_without_regions() -> None:
    with pytest.raises(LayoutError, match="design b has no region; give it at least one layer") as caught:
        Regions.lay_out([[Region(0, (0, 0, 1, 1))], []], [CANVAS] * 2, [VISIBLE] * 2, keys=("a", "b"))
    assert caught.value.key == "b"


def test_regions_of_a_design_apart_from_each_other() -> None:
    no = torch.zeros(3, dtype=torch.bool)
    with pytest.raises(LayoutError, match=r"design a: .* comes after one of a later design; sort") as caught:
        Regions.of(
            boxes=torch.tensor([[0, 0, 1, 1]] * 3), layer=torch.arange(3), design=torch.tensor([0, 1, 0]), clean=no,
            condition=no, canvas=torch.tensor([CANVAS] * 2), visible=torch.tensor([VISIBLE] * 2), keys=("a", "b"),
        )  # fmt: skip
    assert caught.value.key == "a"


def test_positions_that_no_table_has() -> None:
    side = 2 * MAX_POSITION
    for box in ((0, 0, 1, 1), (side - 1, 0, side, 1)):
        assert of_box(box, (side, 1)).positions_T3[0, 2] in (-MAX_POSITION, MAX_POSITION - 1)
    for box in ((0, 0, 1, 1), (side + 1, 0, side + 2, 1)):
        with pytest.raises(LayoutError, match=r"design poster: .* tokens from the centre; scale the design down"):
            of_box(box, (side + 2, 1))
    with pytest.raises(LayoutError, match=r"design poster: .* layer number over 4096; merge layers"):
        of_box((0, 0, 1, 1), layer=MAX_POSITION)
