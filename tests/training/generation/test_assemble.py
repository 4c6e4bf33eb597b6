"""A request is the micro-batch that the stream delivers for the same design, but for what is to be made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from model.placement import Grid
from model.tasks import COMPOSED, LAYOUTS
from schemas import images
from schemas.compositing import Rgba
from schemas.sample import Sample, restyle_stem
from tests.pipelines.dataset_builder import Entry, make_sample, publish
from tests.training.test_pixels import overflowing, without_background
from training.batch import MicroBatch
from training.errors import UsageError
from training.generation.assemble import assemble, lay_out_request
from training.generation.layout import LayoutPlan
from training.generation.request import Request
from training.stream import DesignStream
from training.streaming.config import PAPER_MIX, Task
from training.streaming.draws import draw_subset

SEED = 5
SAMPLES = [overflowing(), make_sample(1, side=57, layers=3), without_background(make_sample(2, side=80, layers=4))]
BY_KEY = {sample.design.design_id: sample for sample in SAMPLES}
BUDGET = 100_000
DRAWN = ("boxes", "layer", "design", "clean", "condition", "starts", "canvas", "visible", "scale")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("designs")
    publish(folder, [Entry(sample) for sample in SAMPLES])
    return folder


def pixels_of(sample: Sample, stem: str) -> Rgba:
    return images.decode(sample.members[f"{stem}.webp"])


def request_of(sample: Sample, task: Task) -> Request:
    design = sample.design
    picture, given, references = None, {}, {}
    chosen = draw_subset(design, task, SEED, 0)
    if LAYOUTS[task].others_clean:
        given = {layer.index: sample.layer(layer.index) for layer in design.layers if layer.index not in chosen}
    if LAYOUTS[task].conditions:
        references = {index: pixels_of(sample, restyle_stem(index)) for index in chosen}
    if task is Task.IMAGE_TO_LAYERS:
        picture = sample.composite()[design.visible.slices]
    layout = LayoutPlan.of_design(design)
    return Request(
        design.design_id,
        task,
        layout,
        design.captions.short["en"].text,
        picture=picture,
        given=given,
        chosen=tuple(sorted(chosen)),
        references=references,
    )


def assembled(requests: list[Request], grid: Grid) -> MicroBatch:
    return assemble([lay_out_request(request, grid, BUDGET) for request in requests])


@pytest.mark.parametrize("resolution", [64, 50])
@pytest.mark.parametrize("task", list(PAPER_MIX))
def test_a_request_is_what_the_stream_delivers(dataset: Path, task: Task, resolution: int) -> None:
    stream = DesignStream(
        dataset, seed=SEED, resolution=resolution, tasks=task, token_px=8, grouping=0, token_budget=BUDGET
    )
    [batch] = list(stream)
    assert set(batch.keys) == set(BY_KEY)
    found = assembled([request_of(BY_KEY[key], task) for key in batch.keys], Grid(resolution, 8))
    assert (found.keys, found.tasks, found.prompts) == (batch.keys, batch.tasks, batch.prompts)
    for name in DRAWN:
        assert found[name].dtype == batch[name].dtype and torch.equal(found[name], batch[name]), name
    given = batch["clean"].repeat_interleave(batch["starts"].diff() * 64)
    if task is Task.IMAGE_TO_LAYERS:  # the stream knows of the whole canvas if it is opaque, and rounds by that
        assert (found["pixels"][given].int() - batch["pixels"][given].int()).abs().max() <= 1
    else:
        assert torch.equal(found["pixels"][given], batch["pixels"][given])
    assert not found["pixels"][~given].any()
    assert bool(given.any()) == (task is not Task.TEXT_TO_LAYERS)


def test_a_design_without_a_background_has_a_transparent_one() -> None:
    bare = request_of(SAMPLES[2], Task.ADD_LAYER)
    laid = lay_out_request(bare, Grid(64, 8), BUDGET)
    composed, background, first = laid.regions[:3]
    assert (composed.layer, background.layer, first.layer) == (COMPOSED, 1, 2)
    assert background.box == tuple(laid.placement.visible[0].tolist()) and background.clean
    batch = assemble([laid])
    starts = batch["starts"] * 64
    assert not batch["pixels"][starts[1] : starts[2]].any()
    assert {region.layer for region in laid.regions if not region.clean} == {number + 2 for number in bare.chosen}


def test_layers_to_add_are_told_apart_by_tags() -> None:
    layers = [{"box": [0, 0, 9, 9], "caption": "a </layer> b"}, {"box": [0, 0, 9, 9]}, {"box": [0, 0, 9, 9]}]
    tree = {"canvas": {"width": 9, "height": 9}, "layers": layers}
    layout = LayoutPlan.model_validate(tree)
    request = Request("k", Task.ADD_LAYER, layout, "a tree", given={2: np.zeros((9, 9, 4), np.uint8)}, chosen=(1, 0))
    assert assembled([request], Grid(16, 8)).prompts == ("<layer> a   b </layer> <layer> a tree </layer>",)


def test_a_request_over_the_budget_is_refused_before_anything_is_drawn() -> None:
    tree = {"canvas": {"width": 16_000, "height": 16}, "layers": [{"box": [0, 0, 16_000, 16]}]}
    request = Request("wide", Task.TEXT_TO_LAYERS, LayoutPlan.model_validate({**tree, "visible": [0, 0, 16, 16]}))
    with pytest.raises(UsageError, match="wide: its regions have 8,196,096 tokens, over the budget of 5,000: raise"):
        lay_out_request(request, Grid(16_384, 256, 2**30), 5_000)
