"""The configurations that training is shown with: each can be used as it is, and an ablation changes what it says."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("diffusers")

import torch

from model import presets
from model.codecs.pca import Mode
from model.variants import SETTINGS, Variant
from training.codec_training import CODEC
from training.config import TrainConfig, load_config
from training.examples import TASKS_OF

EXAMPLES = Path(__file__).resolve().parents[2] / "infra" / "examples"
ABLATIONS = EXAMPLES / "ablations"
TRAININGS = sorted(
    path
    for path in [*EXAMPLES.glob("train-*.yaml"), *ABLATIONS.glob("*.yaml")]
    if not path.name.startswith("train-codec-")
)

TINY = EXAMPLES / "train-tiny.yaml"
CHANGED = {
    "full-canvas": (TINY, {"model.variant"}),
    "gray": (TINY, {"model.codec.mode"}),
    "grouping-off": (TINY, {"data.grouping"}),
    "layer3d-off": (TINY, {"model.settings.axes_dims_rope"}),
    "multi-task": (TINY, {"data.tasks"}),
    "overflow-off": (TINY, {"examples.overflow"}),
    "resolutions": (TINY, {"run.steps", "stages"}),
    "single-task": (ABLATIONS / "multi-task.yaml", {"run.steps", "data.tasks"}),
    "size-double": (TINY, {"model.settings.num_layers"}),
    "size-half": (TINY, {"model.settings.num_layers"}),
    "stages": (ABLATIONS / "full-canvas.yaml", {"run.steps", "stages"}),
}
"""What each ablation is compared with, and the keys in which the two differ, defaults included."""


def name(path: Path) -> str:
    return path.stem


def loaded(path: Path, folder: Path, **changes: Any) -> TrainConfig:
    return load_config(path, {"run.out": str(folder / "run"), "data.dataset": str(folder / "dataset"), **changes})


def keys(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Every value by its dotted key; the weights of tasks are one."""
    for key, value in tree.items():
        if isinstance(value, dict) and key != "tasks":
            yield from keys(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def differing(one: TrainConfig, other: TrainConfig) -> set[str]:
    ours, theirs = (dict(keys(config.written())) for config in (one, other))
    return {key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)}


@pytest.mark.parametrize("path", TRAININGS, ids=name)
def test_every_stage_is_a_configuration_whose_tasks_its_model_knows(path: Path, tmp_path: Path) -> None:
    stages = loaded(path, tmp_path).staged()
    assert stages
    for _, config in stages:
        assert {task for task, weight in config.data.tasks.items() if weight} <= set(TASKS_OF[config.model.variant])


@pytest.mark.parametrize("path", TRAININGS, ids=name)
def test_its_transformer_can_be_made(path: Path, tmp_path: Path) -> None:
    model = loaded(path, tmp_path).model
    with torch.device("meta"):
        made = presets.transformer(model.preset, **{**SETTINGS[model.variant], **model.settings})
    blocks = model.settings.get("num_layers", presets.preset(model.preset).settings["num_layers"])
    assert len(made.transformer_blocks) == blocks


def test_every_run_has_a_folder_of_its_own() -> None:
    folders = [yaml.safe_load(path.read_text(encoding="utf-8"))["run"]["out"] for path in TRAININGS]
    assert len(set(folders)) == len(folders)


def test_there_is_an_ablation_for_each_that_is_listed() -> None:
    assert {path.stem for path in ABLATIONS.glob("*.yaml")} == set(CHANGED)


@pytest.mark.parametrize("ablation", CHANGED)
def test_an_ablation_changes_one_thing(ablation: str, tmp_path: Path) -> None:
    other, wanted = CHANGED[ablation]
    assert differing(loaded(ABLATIONS / f"{ablation}.yaml", tmp_path), loaded(other, tmp_path)) == wanted


@pytest.mark.parametrize(
    ("key", "value"),
    [("optimiser.lr", 2e-3), ("examples.jitter.grow", 2), ("model.settings", {"num_layers": 8})],
)
def test_a_change_is_seen_wherever_it_is(key: str, value: Any, tmp_path: Path) -> None:
    (found,) = differing(loaded(TINY, tmp_path, **{key: value}), loaded(TINY, tmp_path))
    assert found.startswith(key)


@pytest.mark.parametrize("ablation", CHANGED)
def test_its_header_says_what_it_is_compared_with(ablation: str) -> None:
    text = (ABLATIONS / f"{ablation}.yaml").read_text(encoding="utf-8")
    header = re.findall(r"^# (.*)$", text, re.MULTILINE)
    named = re.findall(r"[\w/-]+\.yaml", " ".join(header))
    assert any(line.startswith("Compared") for line in header)
    assert CHANGED[ablation][0].name in {Path(found).name for found in named}
    for found in named:
        assert (EXAMPLES.parents[1] / found).is_file() or (ABLATIONS / found).is_file(), found


def test_stages_and_resolutions_have_the_steps_of_what_they_are_compared_with(tmp_path: Path) -> None:
    for ablation in ("stages", "resolutions"):
        other = loaded(CHANGED[ablation][0], tmp_path)
        stages = loaded(ABLATIONS / f"{ablation}.yaml", tmp_path).staged()
        assert sum(config.run.steps for _, config in stages) == other.run.steps
        last = stages[-1][1]
        assert last.data.tasks == other.data.tasks and last.data.resolution == other.data.resolution


def test_the_published_recipes_are_as_published(tmp_path: Path) -> None:
    mrt = loaded(EXAMPLES / "train-mrt.yaml", tmp_path)
    assert [(config.run.steps, config.data.resolution) for _, config in mrt.staged()] == [(70_000, 512), (20_000, 1024)]
    assert sum(mrt.data.tasks.values()) == pytest.approx(1) and mrt.noise.timesteps == "uniform"
    layered = loaded(EXAMPLES / "train-layered.yaml", tmp_path)
    assert [config.run.steps for _, config in layered.staged()] == [500_000, 400_000, 400_000]
    assert layered.model.variant is Variant.LAYERED and layered.noise.timesteps == "logit-normal"
    assert layered.optimiser.lr == 1e-5 and layered.optimiser.weight_decay == 0
    assert layered.model.weights == "Qwen/Qwen-Image" and layered.model.codec.kind == "rgba"
    out = yaml.safe_load((EXAMPLES / "train-codec-rgba.yaml").read_text(encoding="utf-8"))["run"]["out"]
    assert layered.model.codec.path == f"{out}/{CODEC}"
    assert loaded(ABLATIONS / "gray.yaml", tmp_path).model.codec.mode is Mode.GRAY
