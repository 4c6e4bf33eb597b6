"""From the regions of a model back to the layers of a design."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from model.guidance import Guidance
from model.tasks import Task
from model.variants import SETTINGS, Variant
from schemas.geometry import Box
from tests.training.evaluation import bench
from tests.training.example_batches import TOKEN_PX
from training.evaluation.baselines import deranged
from training.evaluation.layouts import Layout
from training.evaluation.metrics import score_layers
from training.evaluation.runs import Made, Runner
from training.evaluation.stack import clipped
from training.learner import Learner
from training.sampled import Sampler

SAMPLER = Sampler(steps=2, guidance=Guidance(1.0))


def runner(variant: Variant = Variant.MRT, overflow: bool = True, **changes: object) -> Runner:
    bundle = replace(bench.bundle(**SETTINGS[variant]), overflow=overflow)
    return Runner(Learner(bundle).eval(), torch.device("cpu"), **changes)  # type: ignore[arg-type]


def same(one: Made, other: Made) -> bool:
    pairs = zip(one.stack.layers, other.stack.layers, strict=True)
    return all(a == b and torch.equal(c, d) for (a, c), (b, d) in pairs)


def test_the_ceiling_is_what_the_codec_loses(benchmark_url: str) -> None:
    for group in bench.groups(benchmark_url):
        for case, made in zip(group.cases, runner().ceiling(group), strict=True):
            costs = [score.cost for score in score_layers(made.stack, case.truth) if score is not None]
            assert max(costs) == 0 and made.composed is None


def test_every_layer_is_in_its_box(benchmark_url: str) -> None:
    for group in bench.groups(benchmark_url):
        for case, made in zip(group.cases, runner().run(group, SAMPLER), strict=True):
            assert [box for box, _ in made.stack.layers] == [box for box, _ in case.truth.layers]


def test_a_design_is_the_same_whatever_stands_beside_it(benchmark_url: str) -> None:
    together, alone = (bench.groups(benchmark_url, token_budget=budget) for budget in (10_000, 1))
    assert len(together) == 1 and len(alone) == 4
    model = runner()
    made = [one for group in alone for one in model.run(group, SAMPLER)]
    for one, other in zip(model.run(together[0], SAMPLER), made, strict=True):
        for (_, ours), (_, theirs) in zip(one.stack.layers, other.stack.layers, strict=True):
            assert (ours.int() - theirs.int()).abs().max() <= 1


def test_the_control_sees_another_picture(benchmark_url: str) -> None:
    model = runner()
    for group in bench.groups(benchmark_url, token_budget=10_000):
        own = [case.composed for case in group.cases]
        true, given = model.run(group, SAMPLER), model.run(group, SAMPLER, shown=own)
        other = model.run(group, SAMPLER, shown=deranged(own))
        assert all(same(one, two) for one, two in zip(true, given, strict=True))
        assert not any(same(one, two) for one, two in zip(true, other, strict=True))


def test_a_jittered_layout_moves_foregrounds_outward(benchmark_url: str) -> None:
    moved = 0
    for group in bench.groups(benchmark_url):
        for case, made in zip(group.cases, runner().run(group, SAMPLER, Layout.JITTERED), strict=True):
            boxes = [
                (ours, theirs) for (ours, _), (theirs, _) in zip(made.stack.layers, case.truth.layers, strict=True)
            ]
            assert boxes[0][0] == boxes[0][1]
            assert all(ours.contains(theirs) for ours, theirs in boxes)
            moved += sum(ours != theirs for ours, theirs in boxes)
            clipped(made.stack, case.truth)
    assert moved > 0


def test_a_detected_layout_has_layers_of_its_own(benchmark_url: str) -> None:
    for group in bench.groups(benchmark_url):
        for case, made in zip(group.cases, runner().run(group, SAMPLER, Layout.DETECTED), strict=True):
            assert not made.by_number and made.stack.layers[0][0] == case.composed[0]


@pytest.mark.parametrize("task", [Task.ADD_LAYER, Task.RESTYLE, Task.TEXT_TO_LAYERS])
def test_given_layers_stay_exact(benchmark_url: str, task: Task) -> None:
    for group in bench.groups(benchmark_url, task=task):
        for case, made in zip(group.cases, runner().run(group, SAMPLER), strict=True):
            for place, (ours, true) in enumerate(zip(made.stack.layers, case.truth.layers, strict=True)):
                assert ours[0] == true[0]
                assert (place in case.targets) or torch.equal(ours[1], true[1])
            assert (made.composed is not None) is (task is Task.TEXT_TO_LAYERS)


@pytest.mark.parametrize(
    ("variant", "task"),
    [
        (Variant.LAYERED, Task.IMAGE_TO_LAYERS),
        (Variant.ART, Task.TEXT_TO_LAYERS),
        (Variant.MRT, Task.TEXT_TO_LAYERS),
        (Variant.MRT, Task.IMAGE_TO_LAYERS),
    ],
)
def test_models_of_the_picture_alone_leave_what_lies_outside_transparent(
    benchmark_url: str, variant: Variant, task: Task
) -> None:
    model = runner(variant, overflow=False, layered_shift=variant is Variant.LAYERED)
    assert model.variant is variant and not model.overflows
    for group in bench.groups(benchmark_url, task=task):
        ceiling = model.ceiling(group)
        for case, made, best in zip(group.cases, model.run(group, SAMPLER), ceiling, strict=True):
            assert len(made.stack.layers) == len(case.truth.layers)
            x0, y0, x1, y1 = shown = case.truth.shown
            picture_box = Box(x0 - TOKEN_PX, y0 - TOKEN_PX, x1 + TOKEN_PX, y1 + TOKEN_PX)
            for (true_box, true), (box, picture) in zip(case.truth.layers, best.stack.layers, strict=True):
                assert picture_box.contains(box) or picture.eq(0).all()
                part = true_box.intersect(shown)
                inner = Box(part.x0 + 1, part.y0 + 1, part.x1 - 1, part.y1 - 1)  # edges of the picture are cut finer
                if not inner.empty:
                    assert torch.equal(picture[inner.within(box).slices], true[inner.within(true_box).slices])


@pytest.mark.parametrize("task", [Task.ADD_LAYER, Task.RESTYLE])
def test_without_overflow_what_is_given_stays_exact_and_what_is_made_is_in_the_picture(
    benchmark_url: str, task: Task
) -> None:
    model = runner(overflow=False)
    for group in bench.groups(benchmark_url, task=task):
        for case, made in zip(group.cases, model.run(group, SAMPLER), strict=True):
            x0, y0, x1, y1 = case.truth.shown
            picture_box = Box(x0 - TOKEN_PX, y0 - TOKEN_PX, x1 + TOKEN_PX, y1 + TOKEN_PX)
            for place, ((box, ours), (_, true)) in enumerate(zip(made.stack.layers, case.truth.layers, strict=True)):
                given = place not in case.targets
                assert torch.equal(ours, true) if given else picture_box.contains(box) or ours.eq(0).all()


def test_without_overflow_layouts_that_are_not_the_true_one_are_of_the_picture_too(benchmark_url: str) -> None:
    whole, framed = runner(), runner(overflow=False)
    for group in bench.groups(benchmark_url):
        detected = [model.run(group, SAMPLER, Layout.DETECTED) for model in (whole, framed)]
        moved = framed.run(group, SAMPLER, Layout.JITTERED)
        for case, one, other, jittered in zip(group.cases, *detected, moved, strict=True):
            assert [box for box, _ in one.stack.layers] == [box for box, _ in other.stack.layers]
            made = [box for box, picture in jittered.stack.layers if picture.any()]
            assert made and all(case.composed[0].contains(box) for box in made)
