"""A step has the same micro-batches at every world size, and moves the weights only by a gradient that is finite."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor

from model.tasks import Task
from pipelines.storage import Store
from tests.training.example_batches import key, micro_batch
from tests.training.small_learner import small_learner
from tests.training.stepping import ALONE, DESIGNS, stepper_of, weights_of
from training.batch import MicroBatch
from training.errors import NonFiniteError
from training.learner import Learner
from training.parallel import World
from training.steps import Fetched, fetched
from training.stream import DesignStream

SHARED = 6
"""Micro-batches of a step."""


@pytest.fixture
def learner() -> Learner:
    return small_learner()


def stream(designs: Store, rank: int = 0, size: int = 1) -> DesignStream:
    plans = f"{designs.root}-plans"
    return DesignStream(
        designs.root, resolution=16, token_px=8, token_budget=80, rank=rank, world_size=size, plan_dir=plans
    )


def steps_of(designs: Store, size: int, count: int, state: dict[str, Any] | None = None) -> list[list[Fetched]]:
    """``count`` steps of each rank."""
    out = []
    for rank in range(size):
        own = stream(designs, rank, size)
        if state is not None:
            own.load_state_dict(state)
        with closing(fetched(own, SHARED, World(rank, size, rank, torch.device("cpu")))) as steps:
            out.append(list(islice(steps, count)))
    return out


Contents = list[dict[tuple[int, int], tuple[str, ...]]]
"""Of each step: the keys of every micro-batch that has any, by epoch and position."""


def contents(ranks: list[list[Fetched]]) -> Contents:
    return [
        {(batch.epoch, batch.position): batch.keys for step in steps for batch in step.batches if batch.keys}
        for steps in zip(*ranks, strict=True)
    ]


@pytest.fixture(scope="module")
def alone(designs: Store) -> Contents:
    """Seven steps of a world of one: two epochs of three, and the first of the next."""
    return contents(steps_of(designs, 1, 7))


def test_the_last_step_of_an_epoch_is_short(designs: Store, alone: Contents) -> None:
    total = len(stream(designs).plan())
    assert (total, [len(step) for step in alone]) == (13, [6, 6, 1, 6, 6, 1, 6])
    assert set().union(*alone[:3]) == {(0, position) for position in range(total)}
    assert [{epoch for epoch, _ in step} for step in alone] == [{0}] * 3 + [{1}] * 3 + [{2}]


@pytest.mark.parametrize("size", [2, 3, 6])
def test_a_step_has_the_same_micro_batches_at_every_world_size(designs: Store, alone: Contents, size: int) -> None:
    ranks = steps_of(designs, size, 4)
    assert contents(ranks) == alone[:4]
    assert all(len({len(step.batches) for step in steps}) == 1 for steps in zip(*ranks, strict=True))


@pytest.mark.parametrize(("began", "after", "done"), [(1, 2, 1), (1, 3, 3), (2, 1, 2), (2, 1, 3), (3, 2, 3)])
def test_the_state_after_a_step_goes_on_with_the_next(
    designs: Store, alone: Contents, began: int, after: int, done: int
) -> None:
    """Also from the short step at the end of an epoch."""
    states = [steps[-1].state for steps in steps_of(designs, began, done)]
    assert all(state == states[0] for state in states)
    assert contents(steps_of(designs, after, 2, states[0])) == alone[done : done + 2]


def batches() -> list[MicroBatch]:
    return [micro_batch(some, position=position) for position, some in enumerate(DESIGNS)]


def test_the_loss_is_that_of_all_noised_tokens_together(learner: Learner) -> None:
    stepper = stepper_of(learner, ALONE)
    examples = [stepper.prepare(batch) for batch in batches()]
    with torch.no_grad():
        errors = [learner(example, stepper.noise(example)) for example in examples]
    targets = sum(example.targets for example in examples)
    wanted = sum(float(error.double().sum()) for error in errors) / targets
    report = stepper(batches(), 0)
    assert report.loss == pytest.approx(wanted, rel=1e-6)
    assert (report.targets, report.designs) == (targets, sum(map(len, DESIGNS)))
    assert report.tokens == sum(example.regions.tokens for example in examples)
    for task, loss in report.losses.items():
        chosen = [
            (error, count)
            for example, errors_D in zip(examples, errors, strict=True)
            for has, error, count in zip(example.tasks, errors_D.tolist(), example.target_counts.tolist(), strict=True)
            if has is task
        ]
        assert loss == pytest.approx(sum(e for e, _ in chosen) / sum(n for _, n in chosen), rel=1e-5)
    assert set(report.losses) == {task for some in DESIGNS for _, task in some}


def test_how_designs_are_packed_changes_no_step() -> None:
    packed, apart = small_learner(), small_learner()
    several = stepper_of(packed, ALONE)(batches(), 0)
    single = stepper_of(apart, ALONE)([micro_batch([each]) for some in DESIGNS for each in some], 0)
    assert several.loss == pytest.approx(single.loss, rel=1e-5)
    assert several.norm == pytest.approx(single.norm, rel=1e-4)
    for name, value in weights_of(packed).items():
        torch.testing.assert_close(weights_of(apart)[name], value, rtol=0, atol=5e-6)


def test_an_empty_micro_batch_adds_nothing(learner: Learner) -> None:
    other = small_learner()
    report = stepper_of(learner, ALONE)(batches(), 0)
    assert stepper_of(other, ALONE)([micro_batch([]), *batches(), micro_batch([])], 0) == report
    assert all(torch.equal(value, weights_of(other)[name]) for name, value in weights_of(learner).items())


def test_a_step_without_designs_changes_nothing(learner: Learner) -> None:
    before = weights_of(learner)
    stepper = stepper_of(learner, ALONE, weight_decay=0.5)
    report = stepper([micro_batch([])], 0)
    assert (report.loss, report.losses, report.targets, report.designs, report.norm) == (0.0, {}, 0, 0, 0.0)
    assert unchanged(before, learner)
    assert all(not bool(state.any()) for state in stepper.optimiser.tensors().values())


def unchanged(before: dict[str, Tensor], learner: Learner) -> bool:
    return all(torch.equal(value, before[name]) for name, value in weights_of(learner).items())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_names_its_designs_and_changes_nothing(learner: Learner, value: float) -> None:
    stepper = stepper_of(learner, ALONE)

    def spoiled(batch: MicroBatch) -> Any:
        example = stepper.prepare(batch)
        if batch.position != 1:
            return example
        tokens = example.tokens.clone()
        tokens[example.regions.target_T] *= value
        return replace(example, tokens=tokens)

    before = weights_of(learner)
    with pytest.raises(NonFiniteError, match=f"the loss is not finite for design {key(2)}; the weights are as") as told:
        replace(stepper, prepare=spoiled)(batches(), 0)
    assert "\n" not in str(told.value)
    assert unchanged(before, learner)
    assert all(not bool(state.any()) for state in stepper.optimiser.tensors().values())


def test_a_weight_that_is_not_finite_ends_the_step(learner: Learner) -> None:
    with torch.no_grad():
        learner.transformer.proj_out.weight[0, 0] = torch.inf
    before = weights_of(learner)
    many = [[(number, Task.TEXT_TO_LAYERS) for number in range(10)]]
    with pytest.raises(NonFiniteError, match=f"for designs {key(0)}, .*, {key(7)} and 2 more; the weights"):
        stepper_of(learner, ALONE)([micro_batch(some) for some in many], 0)
    assert unchanged(before, learner)


@pytest.mark.parametrize("clip", [1.0, None])
def test_a_gradient_that_is_not_finite_ends_the_step_before_its_update(learner: Learner, clip: float | None) -> None:
    """The loss is finite."""
    learner.transformer.img_in.weight.register_hook(lambda grad: grad * torch.inf)
    before = weights_of(learner)
    stepper = stepper_of(learner, ALONE, clip=clip)
    with pytest.raises(NonFiniteError, match=f"the gradient is (nan|inf) at step 3, of designs {key(0)}, {key(1)}, "):
        stepper(batches(), 3)
    assert unchanged(before, learner)
    assert all(not bool(state.any()) for state in stepper.optimiser.tensors().values())
