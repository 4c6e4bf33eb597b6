"""Guidance: its arithmetic, and what the second pass of each task leaves out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from model.guidance import GUIDANCE, Denoiser, Guidance
from model.regions import Regions
from model.tasks import LAYOUTS, RGB_COND, RGBA_COND, Task, lay_out
from model.text import Text
from model.transformer import RegionTransformer
from tests.model.tiny_models import CHANNELS, TEXT, draw, ours, run

CANVAS, VISIBLE = (4, 4), (0, 0, 4, 3)
BOXES = [(0, 0, 4, 4), (1, 1, 3, 4)]
SIGMA = 0.6


def regions_of(task: Task) -> Regions:
    return Regions.lay_out([lay_out(task, BOXES, CANVAS, VISIBLE, chosen) for chosen in ({2}, {1, 2})],
                           [CANVAS] * 2, [VISIBLE] * 2)  # fmt: skip


def text_of(*lengths: int, seed: int = 5) -> Text:
    return Text(draw(sum(lengths), TEXT, seed=seed), lengths)


GIVEN, NULL = text_of(6, 3), text_of(2, 2, seed=6)


def denoiser(model: RegionTransformer, task: Task, guidance: Guidance, **options: Any) -> tuple[Denoiser, Tensor]:
    regions = regions_of(task)
    return Denoiser(model, task, regions, GIVEN, guidance, **options), draw(regions.tokens, CHANNELS)


def velocity(model: RegionTransformer, tokens: Tensor, text: Text, regions: Regions) -> Tensor:
    return run(model, tokens, text.values, [SIGMA] * 2, regions, text.lengths)


@contextmanager
def counted(model: RegionTransformer) -> Iterator[list[int]]:
    """The number of image tokens of each pass."""
    passes: list[int] = []
    hook = model.img_in.register_forward_pre_hook(lambda _, inputs: passes.append(len(inputs[0])))
    yield passes
    hook.remove()


# Arithmetic


def test_the_scale_goes_from_without_to_with_and_beyond() -> None:
    given, without = draw(5, 4).double(), draw(5, 4, seed=1).double()
    torch.testing.assert_close(Guidance(1.0).combine(given, without), given)
    torch.testing.assert_close(Guidance(0.0).combine(given, without), without)
    for scale in (0.5, 4.0):
        torch.testing.assert_close(Guidance(scale).combine(given, without), scale * given + (1 - scale) * without)
    torch.testing.assert_close(Guidance(7.0).combine(given, given), given)


def test_normalised_velocities_keep_their_length_and_turn() -> None:
    given, without = draw(5, 4), draw(5, 4, seed=1)
    plain, kept = (Guidance(4.0, normalise).combine(given, without) for normalise in (False, True))
    torch.testing.assert_close(kept.norm(dim=1), given.norm(dim=1))
    torch.testing.assert_close(torch.cosine_similarity(kept, plain, dim=1), torch.ones(5))
    still = Guidance(4.0, normalise=True).combine(torch.zeros(2, 4), torch.zeros(2, 4))
    assert not still.any()  # no length, and no division by it


# Passes


@pytest.mark.parametrize("task", [task for task in Task if LAYOUTS[task].layers])
@torch.no_grad()
def test_a_scale_of_one_is_one_pass(task: Task) -> None:
    model = ours(zero_cond_t=True)
    denoise, tokens = denoiser(model, task, Guidance(1.0))
    with counted(model) as passes:
        got = denoise(tokens, SIGMA)
    assert passes == [len(tokens)]
    assert torch.equal(got, velocity(model, tokens, GIVEN, regions_of(task)))


@pytest.mark.parametrize("task", [Task.TEXT_TO_LAYERS, Task.IMAGE_TO_LAYERS, Task.ADD_LAYER])
@pytest.mark.parametrize("normalise", [False, True])
@torch.no_grad()
def test_text_tasks_leave_the_text_out(task: Task, normalise: bool) -> None:
    model, guidance = ours(zero_cond_t=True), Guidance(3.0, normalise)
    denoise, tokens = denoiser(model, task, guidance, null=NULL)
    regions = regions_of(task)
    given, without = (velocity(model, tokens, text, regions) for text in (GIVEN, NULL))
    assert not torch.allclose(given, without, atol=1e-2)
    with counted(model) as passes:
        got = denoise(tokens, SIGMA)
    assert passes == [len(tokens)] * 2
    torch.testing.assert_close(got, guidance.combine(given, without), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_restyle_leaves_its_references_out_and_nothing_else() -> None:
    model, guidance = ours(zero_cond_t=True), Guidance(2.0)
    denoise, tokens = denoiser(model, Task.RESTYLE, guidance)
    whole, bare = regions_of(Task.RESTYLE), regions_of(Task.ADD_LAYER)  # the same but for the references
    kept_T = ~whole.of_tokens(whole.condition)
    given, without = velocity(model, tokens, GIVEN, whole), velocity(model, tokens[kept_T], GIVEN, bare)
    with counted(model) as passes:
        got = denoise(tokens, SIGMA)
    assert passes == [len(tokens), int(kept_T.sum())]
    assert not torch.allclose(given[kept_T], without, atol=1e-2)
    torch.testing.assert_close(got[kept_T], guidance.combine(given[kept_T], without), atol=1e-5, rtol=1e-5)
    assert torch.isfinite(got).all()


@torch.no_grad()
def test_both_passes_are_of_the_kind_of_the_task() -> None:
    model, made = ours(use_additional_t_cond=True), []
    for task, kind in ((Task.TEXT_TO_RGB, RGB_COND), (Task.TEXT_TO_RGBA, RGBA_COND)):
        denoise, tokens = denoiser(model, task, Guidance(3.0), null=NULL)
        made.append(denoise(tokens, SIGMA))
        each = [run(model, tokens, t.values, [SIGMA] * 2, regions_of(task), t.lengths, [kind] * 2)
                for t in (GIVEN, NULL)]  # fmt: skip
        torch.testing.assert_close(made[-1], Guidance(3.0).combine(*each), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(made[0], made[1], atol=1e-2)


@torch.no_grad()
def test_restyle_without_its_references_is_of_the_kind_of_the_task() -> None:
    model, guidance = ours(use_additional_t_cond=True), Guidance(2.0)
    denoise, tokens = denoiser(model, Task.RESTYLE, guidance)
    whole, bare = regions_of(Task.RESTYLE), regions_of(Task.ADD_LAYER)
    kept_T = ~whole.of_tokens(whole.condition)
    each = [run(model, x, GIVEN.values, [SIGMA] * 2, regions, GIVEN.lengths, [RGBA_COND] * 2)
            for x, regions in ((tokens, whole), (tokens[kept_T], bare))]  # fmt: skip
    wanted = guidance.combine(each[0][kept_T], each[1])
    torch.testing.assert_close(denoise(tokens, SIGMA)[kept_T], wanted, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_guidance_on_the_text_asks_for_the_text_of_an_empty_prompt() -> None:
    denoise, tokens = denoiser(ours(), Task.ADD_LAYER, Guidance(4.0))
    with pytest.raises(ValueError, match="give null"):
        denoise(tokens, SIGMA)


def test_every_task_has_its_guidance() -> None:
    assert set(GUIDANCE) == set(Task)
