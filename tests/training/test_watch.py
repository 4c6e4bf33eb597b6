"""What a run writes of itself, read back as its readers do."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from model.tasks import Task
from training.errors import TrainingError, UsageError
from training.progress import Pace
from training.run_folder import METRICS, RunFolder
from training.steps import Report
from training.watch import Watch, WatchConfig, of_step

ALL = WatchConfig()
PICTURE = np.arange(6 * 5 * 3, dtype=np.uint8).reshape(6, 5, 3)


def curve(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]


def board(folder: Path) -> EventAccumulator:
    found = EventAccumulator(str(folder / "tensorboard"), purge_orphaned_data=True)
    found.Reload()
    return found


def losses(folder: Path) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in board(folder).Scalars("loss")]


def write(folder: Path, steps: range, *, step: int | None = None, value: float = 0.0) -> None:
    """Log ``value`` plus the step at each of ``steps``, going on from ``step``."""
    watch = Watch(RunFolder(str(folder)), ALL, step=step)
    for number in steps:
        watch.scalars(number, {"loss": value + number})
    watch.close()


def test_scalars_and_pictures_are_there_for_every_reader(tmp_path: Path) -> None:
    watch = Watch(RunFolder(str(tmp_path)), ALL)
    watch.scalars(10, {"loss": 0.5, "loss/restyle": 0.25})
    watch.scalars(10, {"validation/restyle": math.nan})
    watch.image(20, "samples/restyle", PICTURE)
    watch.close()
    watch.close()
    assert curve(tmp_path) == [
        {"step": 10, "loss": 0.5, "loss/restyle": 0.25},
        {"step": 10, "validation/restyle": None},
    ]
    found = board(tmp_path)
    assert [(event.step, event.value) for event in found.Scalars("loss/restyle")] == [(10, 0.25)]
    [image] = found.Images("samples/restyle")
    assert (image.step, image.width, image.height) == (20, 5, 6)
    with Image.open(tmp_path / "samples" / "step-00000020-samples-restyle.png") as png:
        assert np.array_equal(np.asarray(png), PICTURE)


def test_a_line_is_on_disk_before_the_run_ends(tmp_path: Path) -> None:
    watch = Watch(RunFolder(str(tmp_path)), ALL)
    watch.scalars(1, {"loss": 1.0})
    assert curve(tmp_path) == [{"step": 1, "loss": 1.0}]
    assert losses(tmp_path) == [(1, 1.0)]
    watch.close()


def test_a_run_that_goes_on_repeats_nothing(tmp_path: Path) -> None:
    write(tmp_path, range(1, 8))
    write(tmp_path, range(5, 11), step=4, value=100)
    steps = list(range(1, 11))
    values = [number if number < 5 else 100 + number for number in steps]
    assert [(line["step"], line["loss"]) for line in curve(tmp_path)] == list(zip(steps, values, strict=True))
    assert losses(tmp_path) == list(zip(steps, values, strict=True))
    assert not list(tmp_path.glob(".tmp-*"))


def test_a_run_that_begins_anew_keeps_nothing(tmp_path: Path) -> None:
    write(tmp_path, range(5))
    write(tmp_path, range(3), value=100)
    assert [line["loss"] for line in curve(tmp_path)] == [100, 101, 102]
    assert losses(tmp_path) == [(0, 100), (1, 101), (2, 102)]


def test_a_torn_line_goes(tmp_path: Path) -> None:
    write(tmp_path, range(1, 4))
    with (tmp_path / METRICS).open("a") as out:
        out.write('{"step": 2, "lo')
    write(tmp_path, range(4, 5), step=3)
    assert [line["step"] for line in curve(tmp_path)] == [1, 2, 3, 4]


def test_a_run_goes_on_where_no_curve_was(tmp_path: Path) -> None:
    write(tmp_path, range(5, 7), step=4)
    assert [line["step"] for line in curve(tmp_path)] == [5, 6]


def test_an_object_store_has_all_after_the_upload() -> None:
    url = "memory://watched"
    for first, step in ((1, None), (4, 3)):
        folder = RunFolder(url)
        watch = Watch(folder, ALL, step=step)
        for number in range(first, first + 5):
            watch.scalars(number, {"loss": number})
        watch.image(first, "samples/restyle", PICTURE)
        watch.close()
        folder.close()
    store = fsspec.filesystem("memory")
    lines = store.cat_file(f"/watched/{METRICS}").decode().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [*range(1, 9)]
    assert len(store.ls("/watched/tensorboard")) == 2
    assert len(store.ls("/watched/samples")) == 2


def test_other_ranks_write_nothing(tmp_path: Path) -> None:
    watch = Watch(RunFolder(str(tmp_path)), ALL, rank=1)
    watch.scalars(1, {"loss": 1.0})
    watch.image(1, "samples/restyle", PICTURE)
    watch.close()
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_wanted_is_not_written(tmp_path: Path) -> None:
    watch = Watch(RunFolder(str(tmp_path)), WatchConfig(tensorboard=False, curve=False))
    watch.scalars(1, {"loss": 1.0})
    watch.image(1, "samples/restyle", PICTURE)
    watch.close()
    assert [path.name for path in tmp_path.iterdir()] == ["samples"]


@pytest.mark.parametrize(("name", "only"), [("metrics.jsonl", "curve"), ("tensorboard/events", "tensorboard")])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_a_full_disk_is_one_line_that_names_the_file(
    name: str, only: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Path.open

    def on_a_full_disk(path: Path, mode: str, *more: Any, **options: Any) -> Any:
        return opened(Path("/dev/full"), mode.replace("a", "w"), *more, **options)

    chosen = {"curve": False, "tensorboard": False, only: True}
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", on_a_full_disk)
        watch = Watch(RunFolder(str(tmp_path)), WatchConfig(**chosen))
    for end in (lambda: watch.scalars(1, {"loss": 1.0}), watch.close):
        with pytest.raises(TrainingError, match=rf"^cannot write {tmp_path}/{name}\S*: No space left on device$"):
            end()
    watch.close()


def test_a_missing_package_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UsageError, match=r"pip install wandb, or leave watch\.wandb out"):
        Watch(RunFolder(str(tmp_path)), WatchConfig(wandb="project"))


REPORTS = """
import numpy as np, sys
from training.run_folder import RunFolder
from training.watch import Watch, WatchConfig
for step in (None, 3):
    watch = Watch(RunFolder(sys.argv[1]), WatchConfig(wandb="tests", tensorboard=False), step=step)
    watch.scalars(1 if step is None else 4, {"loss": 0.5})
    watch.image(5, "samples/restyle", np.zeros((4, 4, 3), np.uint8))
    watch.close()
"""


def test_weights_and_biases_goes_on_under_one_identity(tmp_path: Path, repository: Path) -> None:
    pytest.importorskip("wandb")
    environment = {**os.environ, "WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    words = [sys.executable, "-c", REPORTS, str(tmp_path)]
    subprocess.run(words, env=environment, cwd=repository, check=True, timeout=120)
    identity = (tmp_path / "wandb.txt").read_text().strip()
    runs = list((tmp_path / "wandb").glob("offline-run-*"))
    assert runs and all(run.name.endswith(identity) for run in runs)


def test_the_scalars_of_a_step() -> None:
    report = Report(loss=0.5, losses={Task.RESTYLE: 0.25}, targets=30, tokens=100, designs=2, norm=1.5)
    found = of_step(report, lr=1e-3, pace=Pace(steps=2.0, tokens=200.0, wait=0.1))
    assert found["loss"] == 0.5 and found["loss/restyle"] == 0.25
    assert found["gradient_norm"] == 1.5 and found["learning_rate"] == 1e-3
    assert (found["tokens"], found["tokens_per_second"], found["data_wait"]) == (100, 200, 0.1)
