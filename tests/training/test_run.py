"""What is done between two steps, and what a run's folder holds of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image

from model.bundle import Bundle
from pipelines.storage import Store
from tests.pipelines.dataset_builder import Entry, make_sample, publish
from tests.training.tiny_runs import config, files, saved
from training.checkpoint import Checkpoints
from training.config import TrainConfig
from training.errors import TrainingError, UsageError
from training.parallel import join
from training.run import opened
from training.train import train

WATCH = {"log_every": 2, "validate_every": 3, "samples_every": 4, "sample_designs": 2, "tensorboard": True}
TASKS = {"text-to-layers": 1, "image-to-layers": 1}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """24 designs to learn from and 4 to validate with."""
    entries = [Entry(make_sample(number, side=48, layers=2 + number % 3), unit=number // 6) for number in range(24)]
    entries += [Entry(make_sample(40 + number, side=48, layers=3), split="validation") for number in range(4)]
    return publish(tmp_path_factory.mktemp("designs"), entries)


@pytest.fixture(scope="module")
def done(dataset: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of six steps that validates and samples."""
    out = tmp_path_factory.mktemp("done") / "run"
    given: dict[str, Any] = {"watch": WATCH, "checkpoint__every": 2, "checkpoint__keep_every": 4}
    sized = {"validation__designs": 4, "validation__sigmas": [0.2, 0.8]}
    assert train(config(dataset, out, run__steps=6, data__tasks=TASKS, **given, **sized))
    return out


def lines(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def test_everything_is_done_when_it_is_due(done: Path) -> None:
    assert [line["step"] for line in lines(done) if "loss" in line] == [2, 4, 6]
    assert [line["step"] for line in lines(done) if "validation/text-to-layers" in line] == [3, 6]
    sheets = {f"samples/step-00000004-samples-{task}.png" for task in TASKS}
    found = files(done)
    assert {name for name in found if name.startswith("samples/")} == sheets
    for sheet in sheets:
        with Image.open(done / sheet) as picture:
            assert picture.width > 500 and picture.height > 400
    assert saved(done) == [4, 6]
    assert {"config.yaml", "environment.json", "log.txt", "model/acetate.json", "codec/config.json"} <= found
    assert any(name.startswith("tensorboard/events") for name in found)


def test_scalars_are_of_each_task_and_sigma(done: Path) -> None:
    last = lines(done)[-1]
    assert {name for name in last if name.startswith("validation/")} == {
        *(f"validation/{task}" for task in TASKS),
        *(f"validation/{task}/{sigma}" for task in TASKS for sigma in (0.2, 0.8)),
    }
    step = lines(done)[0]
    assert {"loss/text-to-layers", "loss/image-to-layers", "gradient_norm", "learning_rate", "data_wait"} <= set(step)


def test_the_folder_says_what_was_asked_for(done: Path, dataset: Store) -> None:
    kept = yaml.safe_load((done / "config.yaml").read_text(encoding="utf-8"))
    assert kept["run"]["steps"] == 6 and kept["data"]["tasks"] == TASKS
    facts = json.loads((done / "environment.json").read_text(encoding="utf-8"))
    [found] = facts["datasets"]
    assert found["url"] == dataset.root and len(found["fingerprint"]) > 10 and facts["packages"]["torch"]


def test_a_run_without_overflow_has_fewer_tokens_and_its_model_says_so(
    done: Path, dataset: Store, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    assert train(config(dataset, out, run__steps=2, data__tasks=TASKS, examples={"overflow": False}, watch=WATCH))
    [line], first = lines(out), lines(done)[0]
    assert line["step"] == first["step"] == 2
    assert line["designs"] == first["designs"] and line["tokens"] < first["tokens"]
    assert Bundle.load(done / "model").overflow and not Bundle.load(out / "model").overflow


def test_what_is_watched_changes_no_step(done: Path, dataset: Store, tmp_path: Path) -> None:
    assert train(config(dataset, tmp_path / "run", run__steps=6, data__tasks=TASKS))
    watched = {line["step"]: line["loss"] for line in lines(done) if "loss" in line}
    plain = {line["step"]: line["loss"] for line in lines(tmp_path / "run")}
    assert watched == {step: plain[step] for step in watched}
    first, second = (Bundle.load(path / "model").transformer.state_dict() for path in (done, tmp_path / "run"))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_the_codec_is_fitted_once(done: Path, dataset: Store, tmp_path: Path) -> None:
    shutil.copytree(done, tmp_path / "run")
    before = (tmp_path / "run" / "codec" / "basis.safetensors").stat().st_mtime_ns
    assert train(config(dataset, tmp_path / "run", run__steps=7, data__tasks=TASKS, watch=WATCH,
                        validation__designs=4, validation__sigmas=[0.2, 0.8]))  # fmt: skip
    assert (tmp_path / "run" / "codec" / "basis.safetensors").stat().st_mtime_ns == before
    kept = [(path / "model" / "codec" / "basis.safetensors").read_bytes() for path in (done, tmp_path / "run")]
    assert kept[0] == kept[1]


def test_a_run_that_is_done_says_so_and_leaves_its_model_alone(
    done: Path, dataset: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The configuration is that of ``done`` but for what may change, and a default that is said."""
    shutil.copytree(done, tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "model").rglob("*")}
    given: dict[str, Any] = {"data__tasks": TASKS, "validation__designs": 4, "validation__sigmas": [0.2, 0.8]}
    assert train(config(dataset, tmp_path / "run", run__steps=6, run__dtype="float32", **given))
    said = " ".join(capsys.readouterr().err.split())
    assert "goes on from step 6" in said
    assert said.count("the run of 6 steps is finished; raise run.steps to go on") == 1
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "model").rglob("*")} == before


def test_validation_without_a_design_is_said_once_and_left_out(
    dataset: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given: dict[str, Any] = {"validation__split": "test", "watch": WATCH | {"validate_every": 1, "samples_every": 0}}
    assert train(config(dataset, tmp_path / "run", run__steps=2, **given))
    log = (tmp_path / "run" / "log.txt").read_text(encoding="utf-8")
    assert log.count("the split 'test' has no sample for") == 1 and "validation \n" not in log
    assert "warning: the split 'test' has no sample for" in capsys.readouterr().err
    assert not any("validation" in name for line in lines(tmp_path / "run") for name in line)


def test_a_step_is_saved_once(dataset: Store, tmp_path: Path) -> None:
    """The end of a run falls on a step that was due to be saved."""
    assert train(config(dataset, tmp_path / "run", run__steps=2, checkpoint__every=2, checkpoint__keep=9))
    assert saved(tmp_path / "run") == [2]


def test_an_error_loses_nothing_that_was_saved(dataset: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = config(dataset, tmp_path / "run", run__steps=4, checkpoint__every=2)
    with join("cpu") as world, pytest.raises(TrainingError, match="out of paper"), opened(given, world) as run:
        [stage] = [stage for stage, _ in zip(run.stages(), range(1), strict=False)]
        assert (stage.name, stage.step, stage.steps) == ("train", 0, 4)
        raise TrainingError("out of paper")
    assert saved(tmp_path / "run") == []
    assert train(given)
    assert saved(tmp_path / "run") == [2, 4]
    with join("cpu"):
        checkpoints = Checkpoints(str(tmp_path / "run"), given.checkpoint, rank=0, world_size=1)
        latest = checkpoints.latest()
        checkpoints.close()
    assert latest is not None and latest.step == 4


def test_an_adapter_goes_on_over_the_weights_that_it_began_with(done: Path, dataset: Store, tmp_path: Path) -> None:
    """Wherever they are now; over others of the same shape the loss would be another without a word."""
    given: dict[str, Any] = {"model__settings": {}, "model__lora": {"rank": 2}, "model__codec__designs": 300}

    def adapted(weights: Path, steps: int) -> TrainConfig:
        return config(dataset, tmp_path / "run", run__steps=steps, model__weights=str(weights), **given)

    moved, other = tmp_path / "moved", tmp_path / "other"
    shutil.copytree(done / "model", moved)
    bundle = Bundle.load(moved)
    with torch.no_grad():
        bundle.transformer.img_in.weight[0, 0] += 1
    bundle.save(other)
    assert train(adapted(done / "model", 1))
    with pytest.raises(UsageError, match=r"holds a run over other weights: set model\.weights"):
        train(adapted(other, 2))
    assert train(adapted(moved, 2))
    assert saved(tmp_path / "run") == [1, 2]
