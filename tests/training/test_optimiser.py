"""Updates are those of AdamW's formulas, on one rank or on several, resumed or not."""

from __future__ import annotations

import math
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from model.text_bytes import ByteText
from model.transformer import RegionTransformer
from tests.conftest import ROOT
from tests.model.tiny_models import TINY
from tests.training.shards import BATCH, CONFIG, STEPS, backward, network, run, sharded, world_of_one
from training.optimiser import Optimiser, OptimiserConfig


def test_warm_up_is_a_line_to_the_highest_rate() -> None:
    config = OptimiserConfig(lr=0.5, warmup=4)
    assert [config.lr_at(step, 100) for step in range(6)] == [0.125, 0.25, 0.375, 0.5, 0.5, 0.5]
    assert OptimiserConfig(lr=0.5).lr_at(0, 100) == 0.5


def test_a_cosine_ends_at_its_floor_in_the_last_step_and_is_even_about_its_middle() -> None:
    config = OptimiserConfig(lr=2.0, warmup=10, schedule="cosine", floor=0.1)
    rates = [config.lr_at(step, 111) for step in range(10, 111)]
    assert rates[0] == 2.0 and rates[-1] == pytest.approx(0.2) == config.lr_at(500, 111)
    assert all(late < early for early, late in pairwise(rates))
    assert all(a + b == pytest.approx(2.2) for a, b in zip(rates, reversed(rates), strict=True))


@pytest.mark.parametrize(("warmup", "steps"), [(0, 1), (5, 5), (9, 5)])
def test_a_schedule_longer_than_the_run_is_no_error(warmup: int, steps: int) -> None:
    config = OptimiserConfig(lr=1.0, warmup=warmup, schedule="cosine")
    assert all(0 < config.lr_at(step, steps) <= 1 for step in range(steps + 1))


@pytest.mark.parametrize(
    "wrong", [{"lr": 0}, {"betas": (0.9, 1.0)}, {"clip": 0}, {"warmup": -1}, {"floor": 2}, {"lr": math.nan}]
)
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        OptimiserConfig.model_validate(wrong)


def test_an_update_is_the_formula_of_adamw() -> None:
    config = OptimiserConfig(lr=1e-2, weight_decay=0.3, clip=0.05, warmup=3)
    module = network(torch.float64)
    optimiser = Optimiser(module, config, STEPS)
    expected = {name: value.detach().clone() for name, value in module.named_parameters()}
    first = {name: torch.zeros_like(value) for name, value in expected.items()}
    second = {name: torch.zeros_like(value) for name, value in expected.items()}
    for step in range(STEPS):
        backward(module, step)
        grads = {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}
        norm = math.sqrt(sum(float(grad.square().sum()) for grad in grads.values()))
        assert optimiser.norm() == pytest.approx(norm, rel=1e-12) and norm > 0.05
        optimiser.update(step)
        assert all(value.grad is None for value in module.parameters())
        rate = config.lr_at(step, STEPS)
        for name, value in expected.items():
            grad = grads[name] * 0.05 / (norm + 1e-6)
            first[name].lerp_(grad, 0.1)
            second[name].lerp_(grad.square(), 0.01)
            value.mul_(1 - rate * (0.3 if name in ("0.weight", "2.weight") else 0))
            root = (second[name] / (1 - 0.99 ** (step + 1))).sqrt() + 1e-8
            value.sub_(rate * first[name] / (1 - 0.9 ** (step + 1)) / root)
    for name, value in module.named_parameters():
        torch.testing.assert_close(value, expected[name], rtol=1e-10, atol=1e-12)


def test_only_weights_of_layers_decay() -> None:
    parts = {
        "transformer": RegionTransformer(**{**TINY, "layer_slots": 4, "use_additional_t_cond": True}),
        "text": ByteText(),
    }
    module = nn.ModuleDict(parts)
    module["transformer"].proj_out.requires_grad_(False)
    before = {name: value.detach().clone() for name, value in module.named_parameters()}
    optimiser = Optimiser(module, OptimiserConfig(lr=0.5, weight_decay=1.0), 1)
    for value in module.parameters():
        value.grad = torch.zeros_like(value) if value.requires_grad else None
    assert optimiser.norm() == 0
    optimiser.update(0)
    halved = set()
    for name, value in module.named_parameters():
        if before[name].any() and torch.equal(value, before[name] / 2):
            halved.add(name)
        else:
            assert torch.equal(value, before[name])
    kept = {name for name, value in before.items() if value.any()} - halved
    assert "transformer.transformer_blocks.0.attn.to_out.0.weight" in halved and "text.convolution.weight" in halved
    assert {"text.embedding.weight", "text.positions", "transformer.proj_out.weight"} <= kept
    assert all(before[name].ndim > 1 for name in halved) and not any("norm_q" in name for name in halved)
    assert "transformer.time_text_embed.addition_t_embedding.weight" in kept


def test_no_clip_leaves_the_gradient_alone() -> None:
    module = network()
    backward(module, 0)
    before = [value.grad.clone() for value in module.parameters() if value.grad is not None]
    assert Optimiser(module, OptimiserConfig(clip=None), 1).norm() > 0
    assert all(torch.equal(p.grad, grad) for p, grad in zip(module.parameters(), before, strict=True))


def test_a_gradient_that_is_not_finite_is_seen_before_anything_moves() -> None:
    module = network()
    optimiser = Optimiser(module, CONFIG, STEPS)
    before = [value.clone() for value in [*module.parameters(), *optimiser.tensors().values()]]
    backward(module, 0)
    module[0].weight.grad[0, 0] = math.inf
    assert not math.isfinite(optimiser.norm())
    after = [*module.parameters(), *optimiser.tensors().values()]
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))


def test_a_weight_without_a_gradient_stays() -> None:
    module = network()
    optimiser = Optimiser(module, OptimiserConfig(lr=0.5, weight_decay=1.0), STEPS)
    before = module[0].weight.clone()
    module[2].weight.square().sum().backward()
    optimiser.norm()
    optimiser.update(0)
    states = optimiser.tensors()
    assert torch.equal(module[0].weight, before)
    assert states["step.0.weight"] == 0 and states["step.2.weight"] == 1


def copied(values: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in values.items()}


def test_a_resumed_run_is_the_same_to_the_bit() -> None:
    module = network()
    optimiser = Optimiser(module, CONFIG, STEPS)
    assert not any(value.any() for value in optimiser.tensors().values())
    for step in range(STEPS):
        if step == 2:
            weights, states = copied(dict(module.named_parameters())), copied(optimiser.tensors())
        backward(module, step)
        optimiser.norm()
        optimiser.update(step)
    again = network()
    resumed = Optimiser(again, CONFIG, STEPS)
    with torch.no_grad():
        for into, saved in ((dict(again.named_parameters()), weights), (resumed.tensors(), states)):
            assert into.keys() == saved.keys()
            for name, value in into.items():
                value.copy_(saved[name])
    for step in range(2, STEPS):
        backward(again, step)
        resumed.norm()
        resumed.update(step)
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), again.parameters(), strict=True))
    assert all(torch.equal(value, resumed.tensors()[name]) for name, value in optimiser.tensors().items())


def test_other_settings_go_on_with_the_same_states() -> None:
    other = OptimiserConfig(lr=3e-2, betas=(0.5, 0.8), eps=1e-3, weight_decay=0.2, clip=0.1)
    changed, made = network(), network()
    optimiser = Optimiser(changed, CONFIG, STEPS)
    backward(changed, 0)
    optimiser.norm()
    optimiser.update(0)
    anew = Optimiser(made, other, 9)
    with torch.no_grad():
        for value, like in zip(made.parameters(), changed.parameters(), strict=True):
            value.copy_(like)
        for name, value in anew.tensors().items():
            value.copy_(optimiser.tensors()[name])
    optimiser.configure(other, 9)
    for module, each in ((changed, optimiser), (made, anew)):
        backward(module, 1)
        each.norm()
        each.update(1)
    assert all(torch.equal(a, b) for a, b in zip(changed.parameters(), made.parameters(), strict=True))


def test_a_world_of_one_in_shards_is_the_plain_one_to_the_bit() -> None:
    alone = run(network())
    with world_of_one():
        found = run(sharded(network()))
    assert found.keys() == alone.keys()
    for name, value in alone.items():
        assert torch.equal(found[name], value), name


@pytest.mark.slow
def test_two_ranks_are_one(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.training.shards"]
    ranks = [subprocess.Popen([*command, str(rank), "2", str(tmp_path)], cwd=ROOT) for rank in range(2)]
    assert [rank.wait(timeout=120) for rank in ranks] == [0, 0] and BATCH % 2 == 0
    found, alone = torch.load(tmp_path / "out.pt", weights_only=True), run(network())
    for name, value in alone.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6)
