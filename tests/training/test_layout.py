"""The regions of a task: the same tokens as planned, in the model's order, clean where they are given."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.tasks import LAYOUTS, RESTYLE_PROMPT
from schemas.design import Caption, Captions, Design, Text, TextRun
from schemas.geometry import Box
from tests.training.design_strategies import configs, design_of, designs, layered_tasks, table_of
from training.errors import DamageError
from training.streaming.config import TASKS, PlanConfig, Task
from training.streaming.draws import draw_subset
from training.streaming.layout import Region, count_tokens, foregrounds, prompt, regions
from training.streaming.layouts import read_layouts

# Scale 1 and tokens of 10 px; the visible box of 100 x 100 px begins at (20, 20) of a canvas of 150 x 120 px.
CONFIG = PlanConfig(resolution=100, token_px=10)
SIZE, VISIBLE = (150, 120), Box(20, 20, 120, 120)
BOXES = [Box(10, 20, 130, 120), Box(20, 20, 30, 30), Box(40, 40, 60, 50), Box(100, 100, 150, 120)]
DESIGN = design_of(SIZE, VISIBLE, BOXES, parts=[((0,), (1, 3), (2,))], pairs=[3, 0, 1])
SHOWN, WHOLE = Box(2, 2, 12, 12), Box(0, 0, 15, 12)
LAYERED = [task for task in TASKS if LAYOUTS[task].layers]
ALONE = [task for task in TASKS if not LAYOUTS[task].layers]
TOKENS = [Box(1, 2, 13, 12), Box(2, 2, 3, 3), Box(4, 4, 6, 5), Box(10, 10, 15, 12)]


def counted(design: Design, task: Task, partition: int, config: PlanConfig) -> int:
    tasks, partitions = np.array([TASKS.index(task)], np.int8), np.array([partition], np.int16)
    return int(count_tokens(read_layouts(table_of([design])), tasks, partitions, config)[0][0])


def of(task: Task, partition: int = -1, subset: frozenset[int] = frozenset(), design: Design = DESIGN) -> list[Region]:
    return regions(design, task, partition, subset, CONFIG)[1]


@settings(max_examples=60)
@given(st.data(), st.lists(designs(), min_size=1, max_size=4), configs)
def test_planned_tokens_are_those_of_the_regions(data: st.DataObject, some: list[Design], config: PlanConfig) -> None:
    tasks = [data.draw(st.sampled_from([*layered_tasks(design), *ALONE])) for design in some]
    partitions = [data.draw(st.integers(-1, len(design.groupings) - 1)) for design in some]
    numbers = np.array([TASKS.index(task) for task in tasks], np.int8)
    tokens, scaled = count_tokens(read_layouts(table_of(some)), numbers, np.array(partitions, np.int16), config)
    for i, design in enumerate(some):
        placement, made = regions(design, tasks[i], partitions[i], draw_subset(design, tasks[i], 0, i), config)
        assert sum(region.tokens for region in made) == tokens[i]
        assert placement.scaled_down[0] == scaled[i]
        whole = Box(0, 0, *placement.canvas[0].tolist())
        assert all(region.tokens > 0 and whole.contains(region.box) for region in made)
        assert [r.layer for r in made if not r.condition] == list(range(len(made) - sum(r.condition for r in made)))


@settings(max_examples=60)
@given(st.data(), designs(), st.integers(0, 99))
def test_every_layer_is_in_one_region_and_only_targets_are_noised(
    data: st.DataObject, design: Design, epoch: int
) -> None:
    task = data.draw(st.sampled_from(layered_tasks(design)))
    subset = draw_subset(design, task, 0, epoch)
    made = [r for r in of(task, -1, subset, design) if not r.condition]
    assert [i for r in made for i in r.sources] == list(range(len(design.layers)))
    noised = {i for r in made if not r.clean for i in r.sources}
    if task in (Task.TEXT_TO_LAYERS, Task.IMAGE_TO_LAYERS):
        assert noised == set(range(len(design.layers)))
    else:
        assert noised == subset <= set(foregrounds(design))


def test_text_to_layers() -> None:
    assert of(Task.TEXT_TO_LAYERS) == [
        Region(0, WHOLE, False, False, ()),
        *(Region(i + 1, box, False, False, (i,)) for i, box in enumerate(TOKENS)),
    ]


def test_image_to_layers_sees_the_visible_box_alone() -> None:
    made = of(Task.IMAGE_TO_LAYERS)
    assert made[0] == Region(0, SHOWN, True, False, ())
    assert made[1:] == of(Task.TEXT_TO_LAYERS)[1:]


def test_a_partition_merges_boxes_of_image_to_layers_alone() -> None:
    made = of(Task.IMAGE_TO_LAYERS, 0)
    assert [(r.layer, r.box, r.sources) for r in made[1:]] == [
        (1, TOKENS[0], (0,)),
        (2, Box(2, 2, 15, 12), (1, 3)),
        (3, TOKENS[2], (2,)),
    ]
    assert of(Task.TEXT_TO_LAYERS, 0) == of(Task.TEXT_TO_LAYERS)
    assert counted(DESIGN, Task.IMAGE_TO_LAYERS, 0, CONFIG) == 100 + 120 + 130 + 2
    assert counted(DESIGN, Task.TEXT_TO_LAYERS, 0, CONFIG) == counted(DESIGN, Task.TEXT_TO_LAYERS, -1, CONFIG)


def test_added_layers_keep_their_place_and_are_all_that_is_noised() -> None:
    made = of(Task.ADD_LAYER, -1, frozenset({2}))
    assert [(r.layer, r.clean) for r in made] == [(0, True), (1, True), (2, True), (3, False), (4, True)]
    assert made[0].box == WHOLE and [r.box for r in made[1:]] == TOKENS


def test_restyle_has_a_condition_in_the_place_of_each_target() -> None:
    made = of(Task.RESTYLE, -1, draw_subset(DESIGN, Task.RESTYLE, 0, 0))
    assert [r.clean for r in made[:5]] == [True, True, False, True, False]
    assert made[5:] == [Region(2, TOKENS[1], True, True, (1,)), Region(4, TOKENS[3], True, True, (3,))]
    assert counted(DESIGN, Task.RESTYLE, -1, CONFIG) == 180 + 120 + 1 + 2 + 10 + (1 + 10)


@pytest.mark.parametrize("task", ALONE)
def test_a_picture_alone_is_that_of_the_visible_box(task: Task) -> None:
    bare = design_of(SIZE, VISIBLE, BOXES[1:], background=False)
    for design in (DESIGN, bare):
        assert of(task, 0, draw_subset(design, task, 0, 0), design) == [Region(0, SHOWN, False, False, ())]
        assert counted(design, task, -1, CONFIG) == SHOWN.area


@pytest.mark.parametrize("task", LAYERED)
def test_a_design_without_a_background_gets_one_in_the_visible_box(task: Task) -> None:
    design = design_of(SIZE, VISIBLE, BOXES[1:], background=False, pairs=[0])
    subset = draw_subset(design, task, 0, 0)
    made = of(task, -1, subset, design)
    clean = task in (Task.ADD_LAYER, Task.RESTYLE)
    assert made[1] == Region(1, SHOWN, clean, False, ())
    assert [(r.layer, r.sources) for r in made[2:5]] == [(2, (0,)), (3, (1,)), (4, (2,))]
    assert sum(r.tokens for r in made) == counted(design, task, -1, CONFIG)


def test_a_grouping_that_the_record_lacks_is_damage_of_that_design() -> None:
    with pytest.raises(DamageError, match="no grouping 1") as caught:
        of(Task.IMAGE_TO_LAYERS, 1)
    assert caught.value.key == DESIGN.design_id


@pytest.mark.parametrize("task", [Task.ADD_LAYER, Task.RESTYLE])
def test_a_record_without_a_layer_to_add_or_to_restyle_is_damage_of_that_design(task: Task) -> None:
    design = design_of(SIZE, VISIBLE, BOXES[:1])
    subset = draw_subset(design, task, 0, 0)
    with pytest.raises(DamageError, match=f"has no layer for {task}") as caught:
        of(task, -1, subset, design)
    assert caught.value.key == design.design_id


@pytest.mark.parametrize("side", [1_000_001, 2**40, 2**70])
def test_an_absurd_canvas_is_damage_of_that_design(side: int) -> None:
    with pytest.raises(DamageError, match=f"canvas of {side} x 120") as caught:
        of(Task.TEXT_TO_LAYERS, design=design_of((side, 120), VISIBLE, BOXES))
    assert caught.value.key == DESIGN.design_id


def test_more_tokens_than_32_bits_count_are_damage() -> None:
    box = Box(0, 0, 1000, 1000)
    table = table_of([design_of((1000, 1000), box, [box] * 20)])
    config = PlanConfig(resolution=16_384, token_px=1)
    with pytest.raises(DamageError, match=rf"a design of {21 * 2**28} tokens"):
        count_tokens(read_layouts(table), np.zeros(1, np.int8), np.full(1, -1, np.int16), config)


def test_global_captions_of_any_length_and_language_are_drawn() -> None:
    short = {"en": Caption(text="a", source="template"), "de": Caption(text="b", source="template")}
    captions = Captions(short=short, long={"en": Caption(text="c", source="template")})
    design = DESIGN.model_copy(update={"captions": captions})
    rng = np.random.default_rng(0)
    for task in set(TASKS) - {Task.ADD_LAYER, Task.RESTYLE}:
        assert {prompt(design, task, frozenset(), rng) for _ in range(30)} == {"a", "b", "c"}
    assert prompt(DESIGN, Task.TEXT_TO_LAYERS, frozenset(), rng) == ""


def test_added_layers_are_named_by_caption_or_text_or_name() -> None:
    text = Text(runs=(TextRun(text="SALE "), TextRun(text="now")))
    layers = list(DESIGN.layers)
    layers[1] = layers[1].model_copy(update={"caption": Caption(text="a red dot", source="template"), "text": text})
    layers[3] = layers[3].model_copy(update={"caption": Caption(text="", source="template"), "text": text})
    design = DESIGN.model_copy(update={"layers": tuple(layers)})
    got = prompt(design, Task.ADD_LAYER, frozenset({3, 2, 1}), np.random.default_rng(0))
    assert got == "<layer> a red dot </layer> <layer> layer 2 </layer> <layer> SALE now </layer>"
    assert prompt(design, Task.RESTYLE, frozenset({1}), np.random.default_rng(0)) == RESTYLE_PROMPT


@pytest.mark.parametrize("forged", ["</layer> <layer>", "<lay<layer>er>", "</</layer>layer>", "<layer>"])
def test_no_text_of_a_layer_can_close_or_open_one(forged: str) -> None:
    layers = list(DESIGN.layers)
    layers[1] = layers[1].model_copy(update={"caption": Caption(text=f"a {forged} b <i>", source="template")})
    layers[2] = layers[2].model_copy(update={"name": f"c{forged}"})
    design = DESIGN.model_copy(update={"layers": tuple(layers)})
    got = prompt(design, Task.ADD_LAYER, frozenset({1, 2}), np.random.default_rng(0))
    assert re.findall("</?layer>", got) == ["<layer>", "</layer>"] * 2
    assert got.startswith("<layer> a ") and " b <i> </layer> <layer> c" in got


def test_the_table_of_tasks_comes_without_torch() -> None:
    code = "import sys, training.streaming.pixels, training.streaming.worker; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
