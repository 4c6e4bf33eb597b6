"""Layers come back in the px of the request, the same in any company, and what was given stays as it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from model import presets
from model.bundle import Bundle
from model.placement import Grid
from model.sampling import Progress
from model.text_bytes import ByteText
from model.variants import SETTINGS, Variant
from schemas.compositing import Rgba, composite
from schemas.sample import Sample
from tests.pipelines.dataset_builder import make_sample
from tests.training.example_batches import TOKEN_PX, codec
from tests.training.generation.test_assemble import request_of
from tests.training.stepping import lively_learner
from tests.training.test_pixels import config, decoded, loaded, overflowing, without_background
from training.batch import MicroBatch
from training.errors import UsageError
from training.evaluation.checkpoints import load
from training.examples import ExampleConfig, prepare
from training.generation import maker
from training.generation.assemble import Laid, assemble, lay_out_request
from training.generation.layout import LayoutPlan
from training.generation.maker import Maker, SampleSettings
from training.generation.request import Made, Request
from training.learner import Learner
from training.streaming.config import PAPER_MIX, Task

CPU = torch.device("cpu")
TINY = Path(__file__).parents[3] / "infra/checkpoints/tiny"
TASKS = list(PAPER_MIX)
QUICK = SampleSettings(steps=2, resolution=32, guidance=2.0, token_budget=2_000)


@pytest.fixture(scope="module")
def learner() -> Learner:
    return lively_learner()


@pytest.fixture(scope="module")
def tiny() -> Learner:
    return load(TINY, CPU)


def made_by(learner: Learner, requests: Sequence[Request], settings: SampleSettings = QUICK) -> list[Made]:
    return list(Maker(learner, CPU, settings).make(requests))


def sizes(made: Made) -> list[tuple[int, ...]]:
    return [layer.shape for layer in (*made.layers, made.merged)]


def wanted_sizes(request: Request) -> list[tuple[int, ...]]:
    boxes = [layer.box for layer in request.layout.layers]
    return [(box.height, box.width, 4) for box in (*boxes, request.layout.visible)]


def apart(first: Rgba, second: Rgba) -> int:
    return int(np.abs(first.astype(int) - second).max())


def test_a_trained_model_takes_a_picture_apart(tiny: Learner) -> None:
    request = request_of(make_sample(1, side=120, layers=4), Task.IMAGE_TO_LAYERS)
    [made] = made_by(tiny, [request], SampleSettings(steps=6, resolution=64))
    assert sizes(made) == wanted_sizes(request)
    assert request.picture is not None
    error = np.abs(made.merged[..., :3].astype(int) - request.picture[..., :3]).mean()
    blank = np.abs(128 - request.picture[..., :3].astype(int)).mean()
    assert error < blank / 2
    assert made.layers[0][..., 3].mean() > 200


def test_a_design_is_made_alone_as_in_company(tiny: Learner) -> None:
    requests = [
        request_of(make_sample(number, side=64, layers=3), task)
        for task in (Task.IMAGE_TO_LAYERS, Task.ADD_LAYER)
        for number in (2, 3)
    ]
    settings = SampleSettings(steps=2, resolution=64)
    together = made_by(tiny, requests, settings)
    for request, made in zip(requests, together, strict=True):
        assert made.request is request
        [alone] = made_by(tiny, [request], settings)
        for first, second in zip((*made.layers, made.merged), (*alone.layers, alone.merged), strict=True):
            assert apart(first, second) <= 1


def test_they_come_in_order_in_packs_of_one_task_under_the_budget(
    learner: Learner, monkeypatch: pytest.MonkeyPatch
) -> None:
    packs = []

    def seen(designs: Sequence[Laid]) -> MicroBatch:
        packs.append([one.request for one in designs])
        assert sum(one.tokens for one in designs) <= 400
        return assemble(designs)

    monkeypatch.setattr(maker, "assemble", seen)
    order = [Task.TEXT_TO_LAYERS] * 3 + [Task.RESTYLE] + [Task.TEXT_TO_LAYERS]
    requests = [request_of(make_sample(number), task) for number, task in enumerate(order)]
    made = made_by(learner, requests, QUICK.model_copy(update={"token_budget": 400}))
    assert [one.request for one in made] == requests == [one for pack in packs for one in pack]
    assert all(len({one.task for one in pack}) == 1 for pack in packs)
    assert 3 <= len(packs) < len(requests)


@pytest.mark.parametrize("task", TASKS)
def test_pictures_are_as_large_as_their_boxes_and_given_ones_stay(learner: Learner, task: Task) -> None:
    for sample in (overflowing(), without_background(make_sample(2, side=80, layers=4))):
        request = request_of(sample, task)
        before = {number: picture.copy() for number, picture in request.given.items()}
        [made] = made_by(learner, [request])
        assert sizes(made) == wanted_sizes(request)
        for number, picture in request.given.items():
            assert made.layers[number] is picture and np.array_equal(picture, before[number])
        placed = [(pixels, layer.box) for pixels, layer in zip(made.layers, request.layout.layers, strict=True)]
        assert np.array_equal(made.merged, composite(placed, request.layout.visible))


def test_hidden_layers_are_made_and_not_shown(learner: Learner) -> None:
    request = request_of(make_sample(2, layers=3), Task.TEXT_TO_LAYERS)
    hidden = [layer.model_copy(update={"visible": layer.kind != "text"}) for layer in request.layout.layers]
    request = replace(request, layout=request.layout.model_copy(update={"layers": tuple(hidden)}))
    [made] = made_by(learner, [request])
    placed = [(pixels, layer.box) for pixels, layer in zip(made.layers[:2], hidden[:2], strict=True)]
    assert made.layers[2].any() and np.array_equal(made.merged, composite(placed, request.layout.visible))


def test_each_design_has_the_noise_of_its_own_key_and_seed(learner: Learner) -> None:
    request = request_of(make_sample(2), Task.TEXT_TO_LAYERS)
    variants = [replace(request, seed=1), replace(request, seed=2), replace(request, key="other", seed=1)]
    together = made_by(learner, [request, *variants, request])
    assert apart(together[0].merged, together[-1].merged) <= 1
    merged = [one.merged for one in together[:-1]]
    assert min(apart(one, other) for at, one in enumerate(merged) for other in merged[:at]) > 10


@pytest.mark.parametrize("resolution", [64, 50])
@pytest.mark.parametrize("sample", [overflowing(), without_background(make_sample(2, side=64, layers=4))])
def test_a_model_without_fault_gives_back_the_layers(
    learner: Learner, monkeypatch: pytest.MonkeyPatch, sample: Sample, resolution: int
) -> None:
    settings = config(resolution, TOKEN_PX)
    batch = MicroBatch.of(decoded([loaded(sample, Task.TEXT_TO_LAYERS, settings)], settings), 0, 0)
    true = prepare(batch, codec(), ExampleConfig(), seed=0, device=CPU, evaluation=True).tokens

    def perfect(*_: object) -> Tensor:
        return true

    monkeypatch.setattr(maker, "sample_tokens", perfect)
    request = request_of(sample, Task.TEXT_TO_LAYERS)
    [made] = made_by(learner, [request], SampleSettings(resolution=resolution))
    for number, found in enumerate(made.layers):
        stored = sample.layer(number)
        if resolution == 64:
            assert np.array_equal(found[found[..., 3] > 0], stored[found[..., 3] > 0])
            assert np.array_equal(found[..., 3], stored[..., 3])
        else:
            assert np.abs(found[..., 3].astype(int) - stored[..., 3]).mean() < 8
    background = made.layers[0][..., 3]
    assert background.min() == 255


@pytest.mark.parametrize("resolution", [30, 61, 200])
def test_opaque_layers_stay_opaque_up_to_their_rims(
    learner: Learner, monkeypatch: pytest.MonkeyPatch, resolution: int
) -> None:
    boxes = [[number, 2 * number % 7, 97 - 3 * number, 61 - number] for number in range(20)]
    layers = [{"box": box} for box in boxes]
    layout = LayoutPlan.model_validate({"canvas": {"width": 97, "height": 61}, "layers": layers})
    colours = [np.array([9 * number, 200 - 5 * number, 77, 255], np.uint8) for number in range(20)]
    pictures = {
        number: np.broadcast_to(colours[number], (layer.box.height, layer.box.width, 4)).copy()
        for number, layer in enumerate(layout.layers)
    }
    last = pictures.pop(19)
    shown = Request("k", Task.ADD_LAYER, layout, given=pictures, chosen=(19,))
    grid = Grid(resolution, TOKEN_PX)
    batch = assemble([lay_out_request(shown, grid, 200_000)])
    true = prepare(batch, codec(), ExampleConfig(), seed=0, device=CPU, evaluation=True).tokens

    def perfect(*_: object) -> Tensor:
        return true

    monkeypatch.setattr(maker, "sample_tokens", perfect)
    settings = SampleSettings(resolution=resolution, token_budget=200_000)
    [made] = made_by(learner, [Request("k", Task.TEXT_TO_LAYERS, layout)], settings)
    for number, picture in pictures.items():
        assert apart(made.layers[number], picture) <= 1
    assert made.layers[19].shape == last.shape and not made.layers[19].any()


def test_steps_can_be_watched_and_a_watcher_can_end_them(learner: Learner) -> None:
    seen: list[Progress] = []

    def watch(progress: Progress) -> None:
        seen.append(progress)
        if len(seen) == 3:
            raise KeyboardInterrupt

    requests = [request_of(make_sample(2), task) for task in (Task.TEXT_TO_LAYERS, Task.RESTYLE)]
    making = Maker(learner, CPU, QUICK).make(requests, watch)
    assert next(making).request is requests[0]
    with pytest.raises(KeyboardInterrupt):
        next(making)
    assert [one.step for one in seen] == [1, 2, 1]


def variant(name: Variant, *, overflow: bool = True) -> Learner:
    torch.manual_seed(0)
    transformer = presets.transformer("tiny", channel_std=codec().channel_std, num_layers=1, **SETTINGS[name])
    return Learner(Bundle(transformer, codec(), ByteText(width=64), "tiny", overflow=overflow))


@pytest.mark.parametrize("name", [Variant.ART, Variant.LAYERED, Variant.MRT])
def test_models_of_the_picture_alone_leave_what_lies_outside_empty(name: Variant) -> None:
    tree = {
        "canvas": {"width": 60, "height": 40},
        "visible": [10, 0, 50, 40],
        "layers": [
            {"box": [10, 0, 50, 40], "kind": "background"},
            {"box": [0, 0, 8, 9]},
            {"box": [40, 10, 60, 30]},
        ],
    }
    request = Request("k", Task.TEXT_TO_LAYERS, LayoutPlan.model_validate(tree))
    [made] = made_by(variant(name, overflow=False), [request])
    assert sizes(made) == wanted_sizes(request)
    background, outside, across = made.layers
    assert background[..., 3].any() and not outside.any()
    assert across[:, :9, 3].any() and not across[:, 12:].any()


@pytest.mark.parametrize("name", [Variant.ART, Variant.LAYERED, Variant.MRT])
def test_a_background_that_is_not_seen_is_empty_and_shifts_nothing(name: Variant) -> None:
    tree = {
        "canvas": {"width": 60, "height": 40},
        "visible": [10, 0, 50, 40],
        "layers": [{"box": [0, 0, 8, 9], "kind": "background"}, {"box": [0, 0, 9, 9]}, {"box": [20, 10, 40, 30]}],
    }
    request = Request("k", Task.TEXT_TO_LAYERS, LayoutPlan.model_validate(tree))
    [made] = made_by(variant(name, overflow=False), [request])
    assert sizes(made) == wanted_sizes(request)
    assert [bool(layer.any()) for layer in made.layers] == [False, False, True]


def test_a_task_that_a_model_does_not_know_is_refused_before_anything_is_made() -> None:
    requests = [request_of(make_sample(2), task) for task in (Task.TEXT_TO_LAYERS, Task.IMAGE_TO_LAYERS)]
    with pytest.raises(UsageError, match="variant art makes no layers by image-to-layers: ask for text-to-layers"):
        next(Maker(variant(Variant.ART), CPU, QUICK).make(requests))
    rgb = replace(requests[0], task=Task.TEXT_TO_RGB)
    with pytest.raises(UsageError, match="makes no layers by text-to-rgb"):
        next(Maker(variant(Variant.MRT), CPU, QUICK).make([rgb]))
