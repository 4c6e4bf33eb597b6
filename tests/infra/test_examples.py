"""The configurations that training is shown with: each can be used as it is, and an ablation changes what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("diffusers")

import torch

from model import presets
from model.codecs.pca import Mode
from model.variants import SETTINGS, Variant
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
    "gray": (TINY, {"model.codec"}),
    "grouping-off": (TINY, {"data.grouping"}),
    "layer3d-least": (TINY, {"model.settings"}),
    "multi-task": (TINY, {"data.tasks"}),
    "overflow-off": (ABLATIONS / "overflow-on.yaml", {"model.variant"}),
    "overflow-on": (ABLATIONS / "overflow-off.yaml", {"model.variant"}),
    "resolutions": (TINY, {"run.steps", "stages"}),
    "single-task": (ABLATIONS / "multi-task.yaml", {"run.steps", "data.tasks"}),
    "size-double": (TINY, {"model.settings"}),
    "size-half": (TINY, {"model.settings"}),
    "stages": (ABLATIONS / "full-canvas.yaml", {"run.steps", "stages"}),
}
"""What each ablation is compared with, and the keys in which the two differ."""


def name(path: Path) -> str:
    return path.stem


def loaded(path: Path, folder: Path) -> TrainConfig:
    return load_config(path, {"run.out": str(folder / "run"), "data.dataset": str(folder / "dataset")})


def keys(path: Path) -> dict[str, Any]:
    """What a file says, by section and key."""
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    sections = {name: value if isinstance(value, dict) else {"": value} for name, value in tree.items()}
    return {f"{section}.{key}".rstrip("."): value for section, some in sections.items() for key, value in some.items()}


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
    folders = [keys(path)["run.out"] for path in TRAININGS]
    assert len(set(folders)) == len(folders)


def test_there_is_an_ablation_for_each_that_is_listed() -> None:
    assert {path.stem for path in ABLATIONS.glob("*.yaml")} == set(CHANGED)


@pytest.mark.parametrize("ablation", CHANGED)
def test_an_ablation_changes_one_thing(ablation: str) -> None:
    other, wanted = CHANGED[ablation]
    ours, theirs = keys(ABLATIONS / f"{ablation}.yaml"), keys(other)
    assert {key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)} == {"run.out", *wanted}


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
    assert loaded(ABLATIONS / "gray.yaml", tmp_path).model.codec.mode is Mode.GRAY
