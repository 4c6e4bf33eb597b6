"""The command: a run that ended goes on as if nothing had been, and a mistake is one line before anything is loaded."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file

from pipelines.storage import Store
from tests.conftest import S3
from tests.pipelines.dataset_builder import Entry, make_sample, publish
from tests.training.processes import environment
from tests.training.tiny_runs import config, corrupted, files, losses, saved, settings, words, written
from training.train import main, train

ENDLESS = 100_000
NEXT = 20


class Ended(NamedTuple):
    """A run whose process ended: its folder, exit code and stderr, and the step that it goes on from.

    ``second``: what another process said that was to train in the same folder meanwhile, and its exit code.
    """

    out: Path
    code: int
    log: str
    step: int
    second: tuple[int, str]


def until(process: subprocess.Popen[str], done: Callable[[], bool]) -> None:
    end = time.monotonic() + 200
    while not done():
        assert process.poll() is None and time.monotonic() < end, process.communicate(timeout=20)[1]
        time.sleep(0.02)


@pytest.fixture(scope="module")
def ended(designs: Store, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Ended]:
    """Two endless runs, one of which was told to end and one killed, by signal."""
    folder, processes = tmp_path_factory.mktemp("ended"), {}
    for number, every in ((signal.SIGTERM, 0), (signal.SIGKILL, 3)):
        given = settings(designs, folder / str(int(number)), run__steps=ENDLESS, checkpoint__every=every)
        path = written(folder / f"{int(number)}.yaml", given)
        processes[number] = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "training.train", str(path)],
            env=environment(), stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    found = {}
    for number, process in processes.items():
        out = folder / str(int(number))
        until(process, lambda out=out: len(losses(out)) >= 5)  # type: ignore[misc]
        if number == signal.SIGKILL:
            until(process, lambda out=out: bool(saved(out)) and len(losses(out)) > max(saved(out)))  # type: ignore[misc]
        with contextlib.redirect_stderr(io.StringIO()) as said:
            code = main([str(folder / f"{int(number)}.yaml")])
        process.send_signal(number)
        log = process.communicate(timeout=100)[1]
        second = (code, said.getvalue().replace(f"process {process.pid}", "that process"))
        found[int(number)] = Ended(out, process.returncode, log, max(saved(out)), second)
    return found


@pytest.fixture(scope="module")
def undisturbed(designs: Store, ended: dict[int, Ended]) -> dict[int, float]:
    """The losses of a run that nothing ended."""
    out = next(iter(ended.values())).out.parent / "undisturbed"
    assert train(config(designs, out, run__steps=max(run.step for run in ended.values()) + NEXT))
    return losses(out)


def test_sigterm_saves_and_ends_well(ended: dict[int, Ended]) -> None:
    run = ended[signal.SIGTERM]
    assert run.code == 0, run.log
    assert run.step == max(losses(run.out)) < ENDLESS
    assert f"interrupted after step {run.step}, which is saved" in (run.out / "log.txt").read_text(encoding="utf-8")


def test_a_second_run_in_the_folder_is_refused(ended: dict[int, Ended]) -> None:
    for out, _, _, _, (code, said) in ended.values():
        assert code == 2 and said.startswith(f"acetate: {out} is in use by that process on "), said
        assert said.count("\n") == 1 and "set run.out to another folder" in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_goes_on_makes_the_same_steps(
    number: signal.Signals, designs: Store, ended: dict[int, Ended], undisturbed: dict[int, float]
) -> None:
    out, code, log, step, _ = ended[number]
    assert code == (0 if number == signal.SIGTERM else -number), log
    before = losses(out)
    assert train(config(designs, out, run__steps=step + NEXT, checkpoint__every=3))
    after = losses(out)
    assert sorted(after) == list(range(1, step + NEXT + 1))
    assert after == {step: undisturbed[step] for step in after}
    assert before == {step: undisturbed[step] for step in before}


def test_more_steps_go_on_from_the_end(designs: Store, tmp_path: Path) -> None:
    assert train(config(designs, tmp_path / "once", run__steps=7))
    for steps in (3, 3, 7):
        assert train(config(designs, tmp_path / "parts", run__steps=steps))
    assert losses(tmp_path / "parts") == losses(tmp_path / "once")
    models = [load_file(path) for path in sorted(tmp_path.glob("*/model/transformer/*.safetensors"))]
    assert len(models) == 2
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])


STAGES = [
    {"name": "first", "steps": 3, "data": {"resolution": 16}},
    {"name": "second", "steps": 5, "data": {"resolution": 32, "token_budget": 250}, "optimiser": {"lr": 0.0002}},
]


def rates(out: Path) -> list[float]:
    return [json.loads(line)["learning_rate"] for line in (out / "metrics.jsonl").read_text("utf-8").splitlines()]


def test_two_stages_go_on_in_the_second(designs: Store, tmp_path: Path) -> None:
    """A checkpoint in the middle of each stage: what came after it is lost, as where a process was killed."""
    given = {"stages": STAGES, "checkpoint__every": 2, "checkpoint__keep": 9}
    assert train(config(designs, tmp_path / "whole", **given))
    whole = losses(tmp_path / "whole")
    assert sorted(whole) == list(range(1, 9))
    assert rates(tmp_path / "whole") == [1e-3] * 3 + [2e-4] * 5
    assert set(saved(tmp_path / "whole")) == {2, 3, 4, 6, 8}
    for step in (2, 3, 6):
        out = tmp_path / f"from {step}"
        shutil.copytree(tmp_path / "whole", out)
        shutil.rmtree(out / "model")
        for later in (folder for folder in out.glob("checkpoints/step-*") if int(folder.name.split("-")[1]) > step):
            shutil.rmtree(later)
        assert train(config(designs, out, **given))
        assert losses(out) == whole
        assert (out / "model" / "acetate.json").is_file()


def test_a_stage_does_not_draw_again_what_the_one_before_it_drew(designs: Store, tmp_path: Path) -> None:
    """Weights that stay as they are: the same draws would be the same losses."""
    still = {"optimiser__lr": 1e-30}
    assert train(config(designs, tmp_path / "stages", stages=[{"name": n, "steps": 3} for n in "ab"], **still))
    assert train(config(designs, tmp_path / "one", run__steps=3, **still))
    found, first = losses(tmp_path / "stages"), losses(tmp_path / "one")
    assert {step: found[step] for step in first} == first
    assert not {found[step] for step in (4, 5, 6)} & set(first.values())


def test_a_run_in_stages_goes_on_with_more_of_them(designs: Store, tmp_path: Path) -> None:
    """More steps in the last stage, then one more; as long as one that had them from the beginning."""
    first, second = STAGES[0] | {"steps": 1}, STAGES[1]
    for stages in ([first, second | {"steps": 1}], [first, second | {"steps": 2}],
                   [first, second | {"steps": 2}, second | {"name": "third", "steps": 1}]):  # fmt: skip
        assert train(config(designs, tmp_path / "parts", stages=stages))
        assert train(config(designs, tmp_path / "once", stages=stages)) if len(stages) == 3 else True
    assert losses(tmp_path / "parts") == losses(tmp_path / "once")
    assert sorted(losses(tmp_path / "once")) == [1, 2, 3, 4]


def test_a_run_that_is_done_writes_a_model_that_is_gone(designs: Store, tmp_path: Path) -> None:
    """As where it was killed after its last checkpoint, before the model was whole."""
    given = config(designs, tmp_path / "run", run__steps=2)
    assert train(given)
    kept = files(tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "model")
    assert train(given)
    assert files(tmp_path / "run") == kept


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Designs of one layer, which have nothing to restyle or to add."""
    entries = [Entry(make_sample(number, side=48, layers=1)) for number in range(6)]
    return publish(tmp_path_factory.mktemp("bare"), entries)


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "no steps": ({"run__steps": 0}, "run.steps: Input should be greater than or equal to 1"),
    "dtype": ({"run__dtype": "float16"}, "run.dtype: Input should be 'float32' or 'bfloat16'"),
    "key": ({"data__resolutoin": 32}, "unknown key 'data.resolutoin'; did you mean 'data.resolution'?"),
    "section": ({"optimizer__lr": 1}, "unknown key 'optimizer'; did you mean 'optimiser'?"),
    "key of a stage": ({"stages": [{"name": "a", "stepss": 1}]}, "did you mean 'stages.steps'?"),
    "key of a section of a stage": (
        {"stages": [{"name": "a", "steps": 1, "data": {"resoluton": 32}}]},
        "unknown key 'resoluton'; did you mean 'resolution'?",
    ),
    "task": ({"data__tasks": {"restlye": 1}}, "data.tasks.restlye"),
    "preset": ({"model__preset": "huge"}, "there is no preset 'huge'; choose from tiny, small"),
    "setting of the model": ({"model__settings": {"num_layer": 1}}, "no 'num_layer'; did you mean 'num_layers'?"),
    "size of the model": ({"model__settings": {"num_layers": 0}}, "num_layers: Input should be greater"),
    "no dataset": ({"data__dataset": "/nothing/here"}, "'/nothing/here' names no tars, and no dataset.json"),
    "no split": ({"data__split": "trian"}, "the split 'trian' of"),
    "variant": ({"model__variant": "art"}, "the variant art does not know image-to-layers: give weights"),
    "task of a stage": (
        {"model__variant": "art", "data__tasks": {"text-to-layers": 1},
         "stages": [{"name": "a", "steps": 1, "data": {"tasks": {"restyle": 1}}}]},
        "a: the variant art does not know restyle",
    ),
    "no such store": ({"run__out": "nowhere://a/b"}, "cannot use 'nowhere://a/b'"),
}  # fmt: skip


def refused(capsys: pytest.CaptureFixture[str], path: Path, given: dict[str, Any]) -> str:
    """The line that the command ends with."""
    capsys.readouterr()
    assert main(words(path, given)) == 2
    said = capsys.readouterr().err
    assert said.startswith("acetate: ") and said.count("\n") == 1, said
    return said


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_before_anything_is_loaded(
    name: str, designs: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes, message = MISTAKES[name]
    assert message in refused(capsys, tmp_path / "c.yaml", settings(designs, tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("tasks", [{"restyle": 1}, {"text-to-layers": 0.9, "restyle": 0.1}])
def test_a_task_without_samples_is_refused(
    tasks: dict[str, float], bare: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, tmp_path / "c.yaml", settings(bare, tmp_path / "run", data__tasks=tasks))
    assert f"the split 'train' of {bare.root} has no sample for restyle: give it no weight in data.tasks" in said
    assert not (tmp_path / "run").exists()


def test_a_task_that_an_epoch_has_none_of_by_chance_is_no_mistake(designs: Store, tmp_path: Path) -> None:
    tasks = {"image-to-layers": 1, "restyle": 1e-9}
    assert train(config(designs, tmp_path / "run", run__steps=1, data__tasks=tasks))


def test_a_dataset_of_another_schema_is_refused(
    bare: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(bare.root, tmp_path / "data")
    path = tmp_path / "data" / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), "schema": 99}), encoding="utf-8")
    said = refused(capsys, tmp_path / "c.yaml", settings(tmp_path / "data", tmp_path / "run"))
    assert "dataset.json cannot be used: Dataset: schema" in said


def test_a_folder_of_another_run_is_refused(designs: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert train(config(designs, out, run__steps=1))
    kept = (out / "config.yaml").read_bytes()
    wider = {"run__steps": 2, "model__settings": {"num_layers": 2}}
    said = refused(capsys, tmp_path / "c.yaml", settings(designs, out, run__steps=2, optimiser__lr=0.5))
    assert "holds a run with optimiser.lr = 0.001, not 0.5: set it back to go on with that run" in said
    said = refused(capsys, tmp_path / "c.yaml", settings(designs, out, **wider))
    assert "model.settings.num_layers = 1, not 2" in said
    assert (out / "config.yaml").read_bytes() == kept

    (out / "config.yaml").unlink()
    said = refused(capsys, tmp_path / "c.yaml", settings(designs, out, **wider))
    assert "is of another model" in said and "give run.out another folder" in said
    assert saved(out) == [1]


def test_a_codec_of_a_run_that_saved_nothing_is_made_anew(designs: Store, tmp_path: Path) -> None:
    (tmp_path / "run" / "codec").mkdir(parents=True)
    (tmp_path / "run" / "codec" / "config.json").write_text("{", encoding="utf-8")
    assert train(config(designs, tmp_path / "run", run__steps=1))


@pytest.fixture
def corrupt(designs: Store, tmp_path: Path) -> tuple[Path, str]:
    """The dataset with a shard that has a run of other bytes, and the name of that shard."""
    return tmp_path / "corrupt", corrupted(designs, tmp_path / "corrupt")


def test_a_corrupt_shard_ends_the_run_with_its_name(
    corrupt: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, name = corrupt
    assert main(words(tmp_path / "c.yaml", settings(folder, tmp_path / "run", run__steps=7))) == 1
    assert name in capsys.readouterr().err.splitlines()[-1]


def test_a_corrupt_shard_is_left_out_and_counted(
    corrupt: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, name = corrupt
    given = settings(folder, tmp_path / "run", run__steps=7, data__on_error="skip")
    assert main(words(tmp_path / "c.yaml", given)) == 0
    log = (tmp_path / "run" / "log.txt").read_text(encoding="utf-8")
    assert "samples were skipped, the first: " in log and name in log
    assert re.search(r"WARNING training\.steps: \d+ samples were skipped in all, on 1 ranks", log)
    assert len(losses(tmp_path / "run")) == 7


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
@pytest.mark.parametrize("name", ["metrics.jsonl", "log.txt"])
def test_a_run_goes_on_after_a_full_disk(
    name: str, designs: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    given = [words(tmp_path / "c.yaml", settings(designs, out, run__steps=steps)) for steps in (2, 4)]
    assert main(given[0]) == 0
    (out / name).rename(tmp_path / name)
    (out / name).symlink_to("/dev/full")
    assert main(given[1]) == 1
    said = capsys.readouterr().err
    assert said.splitlines()[-1] == f"acetate: cannot write {out / name}: No space left on device"
    assert "Traceback" not in said
    (tmp_path / name).replace(out / name)
    assert main(given[1]) == 0
    assert max(saved(out)) == 4


def test_a_loss_that_is_not_finite_ends_the_run(
    designs: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first step takes the weights beyond what the second can compute with."""
    given = settings(designs, tmp_path / "run", optimiser__lr=1e30, optimiser__eps=1e-30, checkpoint__every=1)
    assert main(words(tmp_path / "c.yaml", given)) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("acetate: the loss is not finite for designs ")
    assert "the weights are as they were before this step" in said
    assert list(losses(tmp_path / "run")) == saved(tmp_path / "run") == [1]


@pytest.mark.slow
def test_a_run_on_a_store_goes_on_and_leaves_everything_there(
    designs: Store, tmp_path: Path, s3_environment: S3
) -> None:
    import s3fs

    out = f"{s3_environment.bucket()}/run"
    watch = {"log_every": 1, "validate_every": 0, "samples_every": 2, "sample_designs": 2, "tensorboard": True}
    for steps in (2, 4):
        given = config(designs, out, run__steps=steps, watch=watch, data__plan_dir=str(tmp_path / "plans"))
        assert train(given)
    store = s3fs.S3FileSystem(**s3_environment.options)
    lines = store.cat(f"{out}/metrics.jsonl").decode().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4]
    assert {"config.yaml", "environment.json", "log.txt", "metrics.jsonl", "model", "codec", "tensorboard"} <= {
        path.rpartition("/")[2] for path in store.ls(out)
    }
    assert store.exists(f"{out}/model/acetate.json")
    assert train(config(designs, tmp_path / "local", run__steps=4, watch=watch))
    assert [json.loads(line)["loss"] for line in lines] == list(losses(tmp_path / "local").values())
