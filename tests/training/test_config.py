"""One file is the union of what the components own; a stage is that file with a few keys changed."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from training.config import MAX_HANG_S, TrainConfig, load_config
from training.errors import UsageError

LEAST = {"run.out": "out", "data.dataset": "data"}


def stages(*some: dict[str, Any]) -> dict[str, Any]:
    return {**LEAST, "stages": list(some)}


def test_a_file_and_what_is_laid_over_it(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("run: {out: a, steps: 5}\ndata:\n  dataset: b\noptimiser:\nstages: []\n", encoding="utf-8")
    found = load_config(path, {"run.steps": 7, "noise.timesteps": "shifted"})
    assert (found.run.out, found.run.steps, found.data.dataset) == ("a", 7, "b")
    assert found.noise.timesteps == "shifted"
    assert found.optimiser == TrainConfig.model_fields["optimiser"].default


def test_without_stages_there_is_one() -> None:
    config = load_config(None, LEAST)
    assert config.staged() == [("train", config)]


def test_a_stage_changes_keys_of_its_sections_alone() -> None:
    given = stages(
        {"name": "small", "steps": 3},
        {
            "name": "large",
            "steps": 4,
            "data": {"resolution": 1024, "tasks": {"image-to-layers": 1}},
            "optimiser": {"lr": 1e-5},
            "noise": {"timesteps": "shifted"},
            "examples": {"empty_prompt": 0.0},
        },
    ) | {"data.resolution": 640, "data.token_budget": 999, "optimiser.warmup": 5, "optimiser.lr": 1e-3}
    config = load_config(None, given)
    (first, small), (second, large) = config.staged()
    assert (first, second) == ("small", "large")
    assert small.run.steps == 3 and small.data == config.data and small.optimiser == config.optimiser
    assert large.run.steps == 4
    assert (large.data.resolution, large.data.token_budget, large.data.dataset) == (1024, 999, "data")
    assert list(large.data.tasks.values()) == [1]
    assert (large.optimiser.lr, large.optimiser.warmup) == (1e-5, 5)
    assert (large.noise.timesteps, large.examples.empty_prompt) == ("shifted", 0.0)
    assert large.model == config.model and not large.stages


def test_a_stage_changes_a_key_of_a_section_below_and_replaces_a_mapping() -> None:
    stage = {"read": {"connections": 2}, "tasks": {"restyle": 1}, "storage_options": {"b": 2}}
    given = stages({"name": "a", "steps": 1, "data": stage})
    more = {"data.read": {"attempts": 9}, "data.tasks": {"add-layer": 1}, "data.storage_options": {"a": 1}}
    [(_, config)] = load_config(None, given | more).staged()
    assert (config.data.read.connections, config.data.read.attempts) == (2, 9)
    assert [str(task) for task in config.data.tasks] == ["restyle"] and config.data.storage_options == {"b": 2}


def test_each_stage_draws_by_a_seed_of_its_own_and_the_first_by_that_of_the_run() -> None:
    given = stages(*({"name": name, "steps": 1} for name in "abc"))
    found = [[stage.run.seed for _, stage in load_config(None, given | {"run.seed": seed}).staged()] for seed in (0, 1)]
    assert [seeds[0] for seeds in found] == [0, 1]
    assert len({seed for seeds in found for seed in seeds}) == 6
    config = load_config(None, given | {"run.seed": 0})
    assert [stage.run.seed for _, stage in config.staged()] == found[0] and config.run.seed == 0


@pytest.mark.parametrize(
    "more",
    [
        {"run.steps": 7, "data.tasks": {"restyle": 1}, "model.weights": "w", "model.lora": {"rank": 2}},
        {"stages": [{"name": "a", "steps": 3, "data": {"resolution": 32}}]},
    ],
)
def test_what_is_written_is_all_of_it_and_reads_back(more: dict[str, Any]) -> None:
    config = load_config(None, LEAST | more)
    tree = yaml.safe_load(yaml.safe_dump(config.written()))
    assert tree["run"]["dtype"] == "float32" and tree["noise"]["timesteps"]
    assert ("preset" in tree["model"]) == ("model.weights" not in more)
    again = TrainConfig.model_validate(tree)
    assert again == config and again.written() == tree


def test_steps_of_the_run_do_not_stand_beside_stages() -> None:
    with pytest.raises(UsageError, match=r"run\.steps stands beside stages") as told:
        load_config(None, stages({"name": "a", "steps": 1}) | {"run.steps": 1})
    assert "\n" not in str(told.value)


def test_the_folder_of_a_run_has_a_name() -> None:
    with pytest.raises(UsageError, match=r"run\.out: String should have at least 1 character"):
        load_config(None, LEAST | {"run.out": ""})


@pytest.mark.parametrize(("key", "values"), [("seed", [-1, 2**64, 2**80]), ("hang", [0, 1e300])])
def test_seeds_and_patience_are_what_draws_and_timers_take(key: str, values: list[float]) -> None:
    for value in values:
        with pytest.raises(UsageError, match=rf"run\.{key}: Input should be (greater|less) than"):
            load_config(None, LEAST | {f"run.{key}": value})
    most = load_config(None, LEAST | {"run.seed": 2**64 - 1, "run.hang": MAX_HANG_S}).run
    torch.Generator().manual_seed(most.seed)
    assert most.hang + 60 < threading.TIMEOUT_MAX


MISTAKES: dict[str, tuple[list[dict[str, Any]], str]] = {
    "two of a name": (
        [{"name": "a", "steps": 1}, {"name": "a", "steps": 2}],
        "two stages have one name: a, a",
    ),
    "no name of a folder": ([{"name": "a/b", "steps": 1}], "stages.0.name"),
    "no steps": ([{"name": "a"}], "stages.0.steps: Field required"),
    "0 steps": ([{"name": "a", "steps": 0}], "stages.0.steps: Input should be greater than or equal to 1"),
    "a section that no stage changes": ([{"name": "a", "steps": 1, "model": {}}], "unknown key 'stages.0.model'"),
    "a key": ([{"name": "a", "stesp": 1}], "unknown key 'stages.0.stesp'; did you mean 'stages.steps'?"),
    "a key of a section": (
        [{"name": "a", "steps": 1, "optimiser": {"lrr": 1}}],
        "optimiser: unknown key 'lrr'; did you mean 'lr'?",
    ),
    "a deep key": (
        [{"name": "a", "steps": 1, "examples": {"jitter": {"shar": 1}}}],
        "examples: unknown key 'jitter.shar'; did you mean 'jitter.",
    ),
    "a value": ([{"name": "a", "steps": 1, "noise": {"std": 0}}], "noise: std: Input should be greater than 0"),
    "the codec's": ([{"name": "a", "steps": 1, "data": {"token_px": 8}}], "the codec says how large a token is"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_a_stage_is_named(name: str) -> None:
    given, message = MISTAKES[name]
    with pytest.raises(UsageError) as told:
        load_config(None, stages(*given))
    assert message in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("key", ["run.out", "data.dataset"])
def test_what_has_no_default_must_be_said(key: str) -> None:
    more = {"run.steps": 1, "data.resolution": 64}
    with pytest.raises(UsageError, match=f"{key}: Field required"):
        load_config(None, {name: value for name, value in LEAST.items() if name != key} | more)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no configuration file"):
        load_config(tmp_path / "c.yaml", {})


def test_a_stream_is_told_what_the_section_says() -> None:
    config = load_config(None, {**LEAST, "data.resolution": 64, "data.workers": 2, "data.read.connections": 3})
    found = config.data.stream_settings(8, seed=5, workers=0)
    assert (found["dataset_url"], found["token_px"], found["seed"]) == ("data", 8, 5)
    assert (found["resolution"], found["workers"], found["read"].connections) == (64, 0, 3)
