"""The whole evaluation of an untrained model, its command, and what it refuses before anything heavy is loaded."""

from __future__ import annotations

import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
import yaml

from model.bundle import Bundle
from model.tasks import Task
from model.variants import SETTINGS, Variant
from pipelines.storage import Store
from tests.model.tiny_models import stock
from tests.pipelines.dataset_builder import spoil_json
from tests.training.evaluation import bench
from training.errors import UsageError
from training.evaluation import checkpoints
from training.evaluation import evaluate as command
from training.evaluation.config import EvaluateConfig
from training.evaluation.evaluate import evaluate
from training.evaluation.layouts import Layout
from training.evaluation.results import Results, Row, markdown
from training.evaluation.sets import Which

EVERY = [Task.IMAGE_TO_LAYERS, Task.TEXT_TO_LAYERS, Task.ADD_LAYER, Task.RESTYLE]


def config(url: str, checkpoint: Path | str, out: Path, **changes: Any) -> EvaluateConfig:
    known = {"resolution": bench.RESOLUTION, "steps": [1, 2], "cases": 1, "device": "cpu", "guidance": 1.0}
    where = {"checkpoint": str(checkpoint), "dataset": url, "out": str(out)}
    return EvaluateConfig.load(None, {**where, **known, **changes})


@pytest.fixture(scope="module")
def results(benchmark_url: str, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Results:
    return evaluate(config(benchmark_url, checkpoint, tmp_path_factory.mktemp("out"), tasks=EVERY))


def row(results: Results, method: str, layout: Layout = Layout.TRUE, control: bool = False) -> Row:
    """Of image-to-layers over the designs that overflow."""
    found = [
        one
        for one in results.rows
        if (one.task, one.which) == (Task.IMAGE_TO_LAYERS, Which.OVERFLOW)
        and (one.method, one.layout, one.control) == (method, layout, control)
    ]
    assert len(found) == 1
    return found[0]


def test_image_to_layers_has_every_method_and_layout(results: Results) -> None:
    for method in ("exact crop", "colour key", "codec ceiling", "model, 1 step", "model, 2 steps"):
        row(results, method)
    for steps in ("model, 1 step", "model, 2 steps"):
        row(results, steps, Layout.JITTERED)
        row(results, steps, Layout.DETECTED)
        row(results, steps, control=True)


def test_rows_say_what_their_designs_say(results: Results) -> None:
    for one in results.rows:
        assert all(math.isfinite(value) for value in one.values.values())
        if one.costs:
            assert len(one.costs) == one.designs
            mean = sum(one.costs.values()) / len(one.costs)
            assert one.values["cost"] == pytest.approx(mean)
            assert one.values["cost_low"] <= mean <= one.values["cost_high"]
            rgb, iou = one.values["rgb_l1"], one.values["alpha_iou"]
            assert one.values["cost"] == pytest.approx((rgb + 1 - iou) / 2)


def test_methods_are_ordered_as_they_must_be(results: Results) -> None:
    ceiling, cropped, model = (row(results, name) for name in ("codec ceiling", "exact crop", "model, 2 steps"))
    assert ceiling.values["cost"] == 0 < cropped.values["cost"] < model.values["cost"]
    assert ceiling.values["frechet"] < 1e-6 < cropped.values["frechet"]
    assert ceiling.values["edit_0"] == 0 and ceiling.values["overflow_cost"] == 0
    assert cropped.values["overflow_cost"] > cropped.values["cost"]
    assert cropped.values["merged_psnr"] > 60


def test_a_detected_layout_has_no_numbers_to_compare_by(results: Results) -> None:
    values = row(results, "model, 2 steps", Layout.DETECTED).values
    assert "cost" not in values and {"merged_psnr", "edit_0", "edit_5", "frechet"} <= set(values)
    assert values["edit_5"] <= values["edit_0"]


def test_text_to_layers_is_judged_by_its_own_picture_and_its_distribution(results: Results) -> None:
    rows = [one for one in results.rows if one.task is Task.TEXT_TO_LAYERS]
    assert {one.method for one in rows} == {"codec ceiling", "model, 1 step", "model, 2 steps"}
    for one in rows:
        assert set(one.values) == {"merged_psnr", "merged_ssim", "frechet"}


@pytest.mark.parametrize("task", [Task.ADD_LAYER, Task.RESTYLE])
def test_other_tasks_are_judged_by_the_layers_that_they_make(results: Results, task: Task) -> None:
    rows = [one for one in results.rows if one.task is task]
    assert all("cost" in one.values and "edit_0" not in one.values for one in rows)
    assert all(one.values["cost"] == 0 for one in rows if one.method == "codec ceiling")


def test_small_sets_and_the_control_are_told(results: Results) -> None:
    assert "image-to-layers, inside: 3 designs, not 100; the split has 3 that fit" in results.notes
    assert sum("given another picture the cost is" in note for note in results.notes) == 4


def test_seeds_change_the_noise_and_not_the_designs(benchmark_url: str, checkpoint: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"steps": [1], "layouts": ["true"]}
    one, again, other = (
        evaluate(config(benchmark_url, checkpoint, tmp_path, seed=seed, **changes)) for seed in (0, 0, 1)
    )
    assert one.rows == again.rows
    ours, theirs = (row(results, "model, 1 step") for results in (one, other))
    assert ours.costs.keys() == theirs.costs.keys() and ours.costs != theirs.costs
    assert row(one, "exact crop") == row(other, "exact crop")


def test_qwen_image_layered_is_a_row_of_its_own(benchmark_url: str, checkpoint: Path, tmp_path: Path) -> None:
    bench.bundle(**SETTINGS[Variant.LAYERED]).save(tmp_path / "layered")
    found = evaluate(
        config(
            benchmark_url, checkpoint, tmp_path / "out", layered=str(tmp_path / "layered"), layered_steps=2, steps=[1]
        )
    )
    assert row(found, "Qwen-Image-Layered, 2 steps").values["cost"] > 0
    assert all("Qwen-Image-Layered, 2 steps" in shown.made for shown in found.shown)


def test_a_model_without_overflow_makes_nothing_outside_of_the_picture(benchmark_url: str, tmp_path: Path) -> None:
    replace(bench.bundle(), overflow=False).save(tmp_path / "framed")
    changes: dict[str, Any] = {"steps": [1], "designs": 2}
    found = evaluate(config(benchmark_url, tmp_path / "framed", tmp_path / "out", **changes))
    assert found.about["overflow"] == "off"
    ceiling, model = (row(found, method).values for method in ("codec ceiling", "model, 1 step"))
    assert 0 < ceiling["cost"] < model["cost"]
    assert ceiling["overflow_alpha_iou"] == model["overflow_alpha_iou"] == 0


def test_the_weights_that_layered_began_with_are_refused(tmp_path: Path) -> None:
    stock().save_pretrained(tmp_path / "transformer")
    with pytest.raises(UsageError, match=r"began with: give Qwen/Qwen-Image-Layered") as caught:
        checkpoints.layered(str(tmp_path), {}, tmp_path / "copy", torch.device("cpu"))
    assert "\n" not in str(caught.value)


def test_the_command_writes_and_prints(
    benchmark_url: str, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = config(benchmark_url, checkpoint, tmp_path / "out").model_dump(mode="json")
    path = tmp_path / "evaluate.yaml"
    path.write_text(yaml.safe_dump(settings))
    assert command.main([str(path), "--set", "designs=2", "--set", "steps=[1]"]) == 0
    printed = capsys.readouterr().out
    assert "exact crop" in printed and "image-to-layers: 2 designs that overflow their visible box" in printed
    document = json.loads((tmp_path / "out" / "results.json").read_text())
    assert document["about"]["fingerprint"] and document["about"]["variant"] == "mrt"
    assert {one["designs"] for one in document["sets"]} == {2}
    table = (tmp_path / "out" / "table.md").read_text()
    assert table.count("| exact crop | true |") == 2
    assert (tmp_path / "out" / "index.html").is_file()


def test_a_checkpoint_on_a_store_is_fetched(benchmark_url: str, checkpoint: Path, tmp_path: Path) -> None:
    store = fsspec.filesystem("memory")
    store.put(f"{checkpoint}/", "/models/one/", recursive=True)
    found = evaluate(config(benchmark_url, "memory://models/one", tmp_path, steps=[1], layouts=["true"], designs=2))
    assert row(found, "model, 1 step").designs == 2
    with pytest.raises(UsageError, match=r"memory://models/none has no acetate\.json"):
        evaluate(config(benchmark_url, "memory://models/none", tmp_path))


@pytest.fixture
def nothing_heavy(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Bundle:
        raise AssertionError("weights were loaded before the mistake was told")

    monkeypatch.setattr(Bundle, "load", refuse)


@pytest.mark.usefixtures("nothing_heavy")
def test_mistakes_are_told_before_weights_are_loaded(benchmark_url: str, checkpoint: Path, tmp_path: Path) -> None:
    art = tmp_path / "art"
    bench.bundle(**SETTINGS[Variant.ART]).save(art)
    other = tmp_path / "schema"
    shutil.copytree(benchmark_url, other)
    spoil_json(Store(str(other)), schema=99)
    plain = tmp_path / "plain"
    (plain / "folder").mkdir(parents=True)
    for changes, said in (
        ({"dataset": str(other)}, r"dataset\.json cannot be used"),
        ({"dataset": str(plain)}, "is no dataset"),
        ({"checkpoint": str(plain)}, r"has no acetate\.json"),
        ({"checkpoint": str(art)}, "variant art, which knows text-to-layers, not image-to-layers"),
        ({"split": "validation"}, "no sample for image-to-layers"),
        ({"layered": str(plain)}, "give a checkpoint, the folder of a pipeline, or a repository"),
        ({"layered": str(plain / "none")}, "give a checkpoint"),
        ({"features": "no.such:thing"}, "features: no network 'no.such:thing'"),
    ):
        with pytest.raises(UsageError, match=said) as caught:
            evaluate(config(**{"url": benchmark_url, "checkpoint": checkpoint, "out": tmp_path, **_named(changes)}))
        assert "\n" not in str(caught.value)


def _named(changes: dict[str, str]) -> dict[str, str]:
    return {"url" if name == "dataset" else name: value for name, value in changes.items()}


def test_a_mistyped_key_and_values_that_do_not_fit_name_the_remedy(tmp_path: Path) -> None:
    for changes, said in (
        ({"stepps": [1]}, "unknown key 'stepps'; did you mean 'steps'"),
        ({"tasks": ["text-to-rgb"]}, "there is no benchmark for text-to-rgb"),
        ({"steps": [1, 1]}, "steps lists something twice"),
        ({"tasks": ["add-layer"], "layered": "a/b"}, "layered is a row of image-to-layers"),
        ({"layouts": ["jittered"]}, "layouts is without true"),
        ({"dataset": ""}, "dataset: String should have at least 1 character"),
    ):
        with pytest.raises(UsageError, match=said):
            config("data", "model", tmp_path, **changes)


def test_the_command_ends_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([str(tmp_path / "none.yaml")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: no configuration file") and said.count("\n") == 1


def test_markdown_has_a_dash_where_a_measure_does_not_apply(results: Results) -> None:
    lines = [line for line in markdown(results).splitlines() if line.startswith("| model, 2 steps | detected")]
    assert lines and all(" – " in line for line in lines)


def test_layouts_read_as_they_are_written_and_jitter_is_of_all_designs(tmp_path: Path) -> None:
    read = config("data", "model", tmp_path, **yaml.safe_load("{layouts: [true, jittered], jitter: {grow: 2}}"))
    assert read.layouts == [Layout.TRUE, Layout.JITTERED]
    assert (read.jitter.share, read.jitter.grow) == (1, 2)
    assert config("data", "model", tmp_path, jitter={"share": 0.5}).jitter.share == 0.5


def test_a_folder_that_cannot_be_written_to_is_told_before_the_work(
    benchmark_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    settings = config(benchmark_url, "no checkpoint", tmp_path / "file").model_dump(mode="json")
    (tmp_path / "evaluate.yaml").write_text(yaml.safe_dump(settings))
    assert command.main([str(tmp_path / "evaluate.yaml")]) == 1
    assert "cannot write" in capsys.readouterr().err


def test_a_model_that_has_diverged_is_told_in_one_line(benchmark_url: str, checkpoint: Path, tmp_path: Path) -> None:
    broken = bench.bundle()
    with torch.no_grad():
        broken.transformer.proj_out.bias.fill_(math.nan)
    broken.save(tmp_path / "broken")
    with pytest.raises(UsageError, match="the model that made them has diverged"):
        evaluate(config(benchmark_url, tmp_path / "broken", tmp_path / "out", steps=[1], designs=2))


def test_what_opens_a_store_is_not_written_down(benchmark_url: str, checkpoint: Path, tmp_path: Path) -> None:
    fsspec.filesystem("memory").put(f"{checkpoint}/", "/user:secret@host/model/", recursive=True)
    changes: dict[str, Any] = {"steps": [1], "designs": 1, "layouts": ["true"], "storage_options": {}}
    found = evaluate(config(benchmark_url, "memory://user:secret@host/model", tmp_path, **changes))
    assert found.about["checkpoint"] == "memory://***@host/model"
    assert b"secret" not in found.to_json([])


def test_a_control_that_is_hardly_worse_is_told() -> None:
    def rows(cost: float) -> list[Row]:
        own, control = (
            Row(Task.IMAGE_TO_LAYERS, Which.INSIDE, "model, 1 step", Layout.TRUE, 9, {"cost": value}, {}, control)
            for value, control in ((0.2, False), (cost, True))
        )
        return [own, control]

    (clear,), (faint,) = (Results({}, [], rows(cost), []).notes for cost in (0.4, 0.24))
    assert clear.endswith("2.00 times as high")
    assert faint.endswith("1.20 times as high, less than 1.5: it hardly looks at the picture")


def test_the_readme_has_every_key() -> None:
    readme = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    section = readme.partition("\n## Evaluate")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`[^|]+) \|", section, re.MULTILINE)
    assert {key for row in rows for key in re.findall(r"`(\w+)`", row)} == set(EvaluateConfig.model_fields)
