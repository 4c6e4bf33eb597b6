"""Keyed draws: shares near the weights, and nothing that depends on order, rank or another draw."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pytest

from schemas.design import LayerKind, RestylePair
from tests.pipelines.dataset_builder import make_sample, with_design
from training.errors import DamageError
from training.streaming.config import TASKS, PlanConfig, Task
from training.streaming.draws import (
    draw_partitions,
    draw_subset,
    draw_tasks,
    generator,
    hashed,
    key64,
    salt,
    uniform,
)

COUNT = 20_000
NAMES = [hashlib.sha256(f"design {i}".encode()).hexdigest()[:32] for i in range(COUNT)]
KEYS = key64(NAMES)
MANY, NONE = np.full(COUNT, 5), np.zeros(COUNT, np.int64)


def shares(tasks: np.ndarray) -> dict[Task, float]:
    return {task: float((tasks == i).mean()) for i, task in enumerate(TASKS)}


def draws(config: PlanConfig, foregrounds: np.ndarray = MANY, restyles: np.ndarray = MANY) -> dict[Task, float]:
    return shares(draw_tasks(KEYS, 1, 2, config, foregrounds=foregrounds, restyles=restyles))


def test_keys_are_their_first_64_bits_in_any_container() -> None:
    assert KEYS.dtype == np.uint64 and KEYS.tolist() == [int(name[:16], 16) for name in NAMES]
    array = pa.array(NAMES[:50])
    assert (key64(array[7:20]) == KEYS[7:20]).all()
    assert (key64(array.cast(pa.large_string())[3:]) == KEYS[3:50]).all()
    assert (key64(array.dictionary_encode()) == KEYS[:50]).all()
    assert (key64(pa.chunked_array([array[:9], array[9:]])) == KEYS[:50]).all()
    assert len(key64([])) == 0 and len(key64(pa.chunked_array([], pa.string()))) == 0


@pytest.mark.parametrize("bad", ["", "0" * 31, "0" * 33, "g" * 32, " " * 32, "é" * 16, None])
def test_what_is_no_key_is_damage(bad: str | None) -> None:
    with pytest.raises(DamageError, match="32 hex digits"):
        key64(pa.array([NAMES[0], bad]))


def test_hashes_are_even_and_change_with_seed_epoch_and_purpose() -> None:
    salts = [salt(*key) for key in [(0, 0, "task"), (1, 0, "task"), (0, 1, "task"), (0, 0, "order"), (10, 0, "task")]]
    assert len(set(salts)) == len(salts)
    values = np.stack([uniform(hashed(KEYS, s)) for s in salts])
    assert (values >= 0).all() and (values < 1).all()
    counts = np.stack([np.histogram(row, 10, (0, 1))[0] for row in values])
    assert (abs(counts - COUNT / 10) < 5 * (COUNT / 10) ** 0.5).all()
    correlation = np.corrcoef(values) - np.eye(len(salts))
    assert (abs(correlation) < 5 / COUNT**0.5).all()


def test_the_finaliser_is_that_of_splitmix64() -> None:
    """The first outputs of the published generator from seed 0, whose state moves by the golden gamma."""
    gamma = 0x9E3779B97F4A7C15
    states = np.array([gamma * i % 2**64 for i in (0, 1, 2)], np.uint64)
    assert hashed(states, gamma).tolist() == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


def test_uniform_reaches_neither_below_zero_nor_one() -> None:
    assert uniform(np.array([0, 2**64 - 1], np.uint64)).tolist() == [0.0, 1 - 2**-53]


def test_tasks_come_by_their_weights() -> None:
    got = draws(PlanConfig())
    for task, weight in PlanConfig().tasks.items():
        assert got[task] == pytest.approx(weight, abs=0.01)


def test_a_restyle_that_cannot_be_goes_to_add_layer() -> None:
    got = draws(PlanConfig(), restyles=NONE)
    assert got[Task.RESTYLE] == 0 and got[Task.ADD_LAYER] == pytest.approx(0.15, abs=0.01)
    alone = draws(PlanConfig(tasks={Task.TEXT_TO_LAYERS: 3, Task.IMAGE_TO_LAYERS: 1, Task.RESTYLE: 4}), restyles=NONE)
    assert alone[Task.RESTYLE] == alone[Task.ADD_LAYER] == 0
    assert alone[Task.IMAGE_TO_LAYERS] == pytest.approx(0.25, abs=0.02)


def test_without_foregrounds_layers_to_layers_is_shared_out() -> None:
    got = draws(PlanConfig(), NONE, NONE)
    assert got[Task.ADD_LAYER] == got[Task.RESTYLE] == 0
    assert got[Task.TEXT_TO_LAYERS] == pytest.approx(0.70 / 0.85, abs=0.01)


def test_each_sample_is_judged_by_itself() -> None:
    pairs = np.arange(COUNT) % 2
    tasks = draw_tasks(KEYS, 0, 0, PlanConfig(), foregrounds=MANY, restyles=pairs)
    restyle = tasks == TASKS.index(Task.RESTYLE)
    assert not restyle[pairs == 0].any() and restyle[pairs == 1].mean() == pytest.approx(0.075, abs=0.01)


def test_a_sample_that_no_task_can_use_has_none() -> None:
    config = PlanConfig(tasks={Task.ADD_LAYER: 1, Task.RESTYLE: 1})
    tasks = draw_tasks(KEYS[:4], 0, 0, config, foregrounds=np.array([0, 1, 2, 0]), restyles=np.array([0, 0, 1, 0]))
    assert tasks[[0, 3]].tolist() == [-1, -1] and (tasks[1:3] >= 2).all() and tasks.dtype == np.int8
    assert draws(PlanConfig(tasks={Task.RESTYLE: 1}))[Task.RESTYLE] == 1


def test_draws_do_not_depend_on_order_but_on_seed_and_epoch() -> None:
    def tasks(keys: np.ndarray, seed: int, epoch: int) -> np.ndarray:
        return draw_tasks(keys, seed, epoch, PlanConfig(), foregrounds=MANY[: len(keys)], restyles=MANY[: len(keys)])

    order = np.random.default_rng(0).permutation(COUNT)
    first = tasks(KEYS, 0, 0)
    assert (tasks(KEYS[order], 0, 0) == first[order]).all() and (tasks(KEYS[:7], 0, 0) == first[:7]).all()
    assert (tasks(KEYS, 0, 1) != first).any() and (tasks(KEYS, 1, 0) != first).any()


def test_only_image_to_layers_is_merged_and_as_often_as_asked() -> None:
    tasks = (np.arange(COUNT) % 4).astype(np.int8)
    stored = np.where(np.arange(COUNT) % 8 < 4, 3, 0)
    config = PlanConfig(grouping=0.25)
    got = draw_partitions(KEYS, 0, 0, config, tasks, stored)
    eligible = (tasks == TASKS.index(Task.IMAGE_TO_LAYERS)) & (stored > 0)
    assert got.dtype == np.int16 and (got[~eligible] == -1).all()
    assert (got[eligible] >= 0).mean() == pytest.approx(0.25, abs=0.04)
    everything = draw_partitions(KEYS, 0, 0, PlanConfig(grouping=1), tasks, stored)[eligible]
    counts = np.bincount(everything, minlength=3) / len(everything)
    assert len(counts) == 3 and counts.tolist() == pytest.approx([1 / 3] * 3, abs=0.04)
    assert (draw_partitions(KEYS, 0, 0, PlanConfig(grouping=0), tasks, stored) == -1).all()
    assert (draw_partitions(KEYS, 0, 1, config, tasks, stored) != got).any()


def test_more_partitions_than_the_plan_can_number_are_not_an_overflow() -> None:
    tasks = np.full(COUNT, TASKS.index(Task.IMAGE_TO_LAYERS), np.int8)
    got = draw_partitions(KEYS, 0, 0, PlanConfig(grouping=1), tasks, np.full(COUNT, 10**6))
    assert got.min() >= 0


def test_added_layers_are_foregrounds_of_every_number() -> None:
    design = make_sample(3, layers=4).design
    subsets = [draw_subset(design, Task.ADD_LAYER, 0, epoch) for epoch in range(600)]
    assert subsets[0] == draw_subset(design, Task.ADD_LAYER, 0, 0)
    sizes = np.bincount([len(subset) for subset in subsets], minlength=4) / 600
    assert sizes.tolist() == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3], abs=0.07)
    assert all(subset <= {1, 2, 3} for subset in subsets) and len(set(subsets)) == 7


def test_restyled_layers_are_all_foregrounds_with_a_pair() -> None:
    sample = make_sample(4, layers=4)
    pairs = tuple(RestylePair(layer=layer, method="palette") for layer in (0, 3, 1))
    design = with_design(sample, restyles=pairs).design
    assert draw_subset(design, Task.RESTYLE, 0, 0) == {1, 3}
    layers = (design.layers[0].model_copy(update={"kind": LayerKind.IMAGE}), *design.layers[1:])
    assert draw_subset(design.model_copy(update={"layers": layers}), Task.RESTYLE, 0, 0) == {0, 1, 3}
    assert draw_subset(design, Task.TEXT_TO_LAYERS, 0, 0) == draw_subset(design, Task.IMAGE_TO_LAYERS, 0, 0) == set()


def test_generators_of_any_two_names_differ() -> None:
    names = [("k", 0, 0, "a"), ("k", 0, 0, "b"), ("k", 0, 1, "a"), ("k", 1, 0, "a"), ("l", 0, 0, "a")]
    assert len({generator(*name).integers(2**63) for name in names}) == len(names)
    assert generator(*names[0]).integers(2**63) == generator(*names[0]).integers(2**63)
